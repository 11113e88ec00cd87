package identity

import (
	"bytes"
	"testing"
)

// If the content of the file changes, the format needs another number.
func TestKeyFileFormatIsFrozen(t *testing.T) {
	s := &Server{Board: keyFromSeed(bytes.Repeat([]byte{1}, 32)), Token: keyFromSeed(bytes.Repeat([]byte{2}, 32)), Scalar: [32]byte{3}}
	want := `{
  "format": 1,
  "board_seed": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
  "token_seed": "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
  "token_scalar": "AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
  "checksum": "iiFR5mNpJVg8ic1vf4ZMsbn8FrKsKvDKrSAmtpqq/l4="
}
`
	if got := string(encodeServer(s)); got != want {
		t.Errorf("the file is %s; want %s, or another number", got, want)
	}
	if back, err := decodeServer([]byte(want)); err != nil || back.Board.Onion() != s.Board.Onion() || back.Token.Onion() != s.Token.Onion() || back.Scalar != s.Scalar {
		t.Errorf("read back: %v", err)
	}
}
