package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// spellings are the ways in which s could leak into text.
func spellings(s []byte) []string {
	decimal := fmt.Sprint(s)
	return []string{
		string(s),
		hex.EncodeToString(s),
		strings.ToUpper(hex.EncodeToString(s)),
		base64.StdEncoding.EncodeToString(s)[:40],
		base64.RawURLEncoding.EncodeToString(s)[:40],
		decimal[1 : len(decimal)-1],
		strings.ReplaceAll(decimal[1:len(decimal)-1], " ", ","),
		strings.ReplaceAll(decimal[1:len(decimal)-1], " ", ", "),
		strings.TrimSuffix(fmt.Sprintf("%#v", s)[7:], "}"),
		strings.Trim(fmt.Sprintf("% x", s), " "),
		strings.Trim(fmt.Sprintf("%o", s), "[]"),
		strings.Trim(fmt.Sprintf("%b", s), "[]"),
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	s := newServer()
	board, token := s.Board.Seed(), s.Token.Seed()
	private := s.Board.Private()
	type wrapped struct {
		Server *Server
		Key    Key
		hidden Key // fmt does not call methods on this one
		Keys   []Key
		Map    map[string]Key
	}
	w := wrapped{s, s.Board, s.Board, []Key{s.Token}, map[string]Key{"k": s.Token}}
	values := []any{s, *s, s.Board, &s.Board, w, &w, []any{s}, []Server{*s}, map[string]any{"k": s.Board}, fmt.Errorf("wrap %v %+v", s, w)}

	var out bytes.Buffer
	for _, v := range values {
		for _, verb := range "vTtbcdoOqxXUeEfFgGs" { // not %p and %w, for which fmt calls no methods
			for _, flags := range []string{"", "+", "#", " ", "0", "-80.70", "+#"} {
				fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", v)
			}
		}
		fmt.Fprintln(&out, v)
		for _, log := range []*slog.Logger{
			slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil)),
		} {
			log.Info("m", "v", v)
			log.With("v", v).WithGroup("g").Info("m", slog.Any("v", v))
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		out.Write(text)
	}
	if !strings.Contains(out.String(), redacted) {
		t.Errorf("nothing is redacted in %.500s", &out)
	}
	for _, secret := range [][]byte{board[:], token[:], s.Scalar[:], private} {
		for i, text := range spellings(secret) {
			if strings.Contains(out.String(), text) {
				t.Errorf("spelling %d of a secret is printed", i)
			}
		}
	}
}

// The test above can fail: every spelling is found where bytes are printed bare.
func TestSpellingsOfASecret(t *testing.T) {
	seed := NewKey().Seed()
	text, _ := json.Marshal(seed[:])
	array, _ := json.Marshal(seed)
	all := fmt.Sprintf("%s %x %X %v %#v % x %o %b", seed, seed, seed, seed, seed[:], seed, seed, seed) +
		string(text) + string(array)
	for i, s := range spellings(seed[:]) {
		if i != 4 && i != 7 && !strings.Contains(all, s) {
			t.Errorf("spelling %d (%.20q) does not occur", i, s)
		}
	}
}

func TestKeysAreCopies(t *testing.T) {
	k := NewKey()
	onion, private := k.Onion(), k.Private()
	clear(k.Private())
	clear(k.Public())
	clear(onion.PublicKey())
	if k.Onion() != onion || !k.Private().Equal(private) {
		t.Error("a Key changed through what its methods returned")
	}
}
