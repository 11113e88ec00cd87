package identity

import (
	"encoding/json"
	"testing"
)

// The file is what encoding/json would write, as it was when that wrote it.
func TestEncodeServer(t *testing.T) {
	s := newServer()
	board, token := s.Board.Seed(), s.Token.Seed()
	want, err := json.MarshalIndent(serverFile{
		Format: fileFormat, BoardSeed: board[:], TokenSeed: token[:], TokenScalar: s.Scalar[:],
		Checksum: checksum(board[:], token[:], s.Scalar[:]),
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(encodeServer(s)); got != string(want)+"\n" {
		t.Error("the key file has another form")
	}
}
