package group

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/nacl/secretbox"
	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// A real invite; the vector below is a message in its group.
const (
	testersKey    = "KyfOazc2n5FrKP3c5yjYay6iTCyMxJAHkOoXUjRWy8A="
	testersServer = "isbr2t6bflul2zyi6hjtnuezb2xvfr42svzjg2q3gyqfgg3wmnrbkkqd"
	testersID     = "940a798b8268c25b84fc3a8e5aa3db39"
)

func testersGroup(t testing.TB) Group {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(testersKey)
	if err != nil {
		t.Fatal(err)
	}
	server, err := identity.ParseOnion(testersServer)
	if err != nil {
		t.Fatal(err)
	}
	i, err := bundle.NewInvite("Cwtch Release Candidate Testers!", [32]byte(key), server)
	if err != nil {
		t.Fatal(err)
	}
	return FromInvite(i)
}

func senderKey(b byte) identity.Key {
	return identity.KeyFromSeed([32]byte(bytes.Repeat([]byte{b}, 32)))
}

func TestMessageMatchesVector(t *testing.T) {
	g := testersGroup(t)
	if got := hex.EncodeToString(g.ID[:]); got != testersID {
		t.Fatalf("group ID %s, want %s", got, testersID)
	}
	var nonce [nonceSize]byte
	for i := range nonce {
		nonce[i] = byte(i)
	}
	p := plainMessage{
		Text:               `{"o":1,"d":"hi"}`,
		Onion:              string(senderKey(1).Onion()),
		Timestamp:          1700000000,
		SignedGroupID:      g.ID[:],
		PreviousMessageSig: []byte{},
		Padding:            bytes.Repeat([]byte{0xaa}, 1784),
	}
	if n := len(p.marshalJSON()); n != 2583 {
		t.Errorf("message JSON has %d bytes, want 2583", n)
	}
	e := g.sealPlain(senderKey(1), nonce, p)
	if len(e.Ciphertext) != 2623 {
		t.Errorf("ciphertext has %d bytes, want 2623", len(e.Ciphertext))
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(e.Ciphertext)); got != "eecff8b78a6080b7d9e06d8dc7cd880c953fb9e81566a1fbd9b79a08250ddf64" {
		t.Errorf("SHA-256 of the ciphertext is %s", got)
	}
	const signature = "bw+djx6O85smltqZ0i5Rug0xfn72Vwd7/JG+u54/6qR0kVrfY77nt0KEQX6VX45zdy7UB6WTZMbmTiSc7r8ZCw=="
	if got := base64.StdEncoding.EncodeToString(e.Signature); got != signature {
		t.Errorf("signature is %s", got)
	}
	m, err := g.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Verified || m.From != senderKey(1).Onion() || m.Time.Unix() != 1700000000 || len(m.Previous) != 0 {
		t.Errorf("opened as %+v", m)
	}
	if chat, ok := UnwrapText(m.Text); chat != "hi" || !ok {
		t.Errorf("text unwraps to %q, %t", chat, ok)
	}
}

// The sizes follow from the formats; Cwtch's documentation says "about 4 kB".
func TestSizes(t *testing.T) {
	g := testersGroup(t)
	draft := func(text string) wire.Envelope {
		t.Helper()
		e, err := g.Seal(senderKey(1), Draft{Text: text, Time: time.Unix(1700000000, 0), Previous: make([]byte, 64)})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct {
		text                       string
		plain, egm, post, announce int
	}{
		{"", 2669, 3732, 3930, 3771},
		{strings.Repeat("a", MaxText), 2069, 2932, 3130, 2971},
		{strings.Repeat(`"`, MaxText), 0, 0, 5530, 0},
	} {
		e := draft(c.text)
		check := func(what string, got, want int) {
			t.Helper()
			if want != 0 && got != want {
				t.Errorf("%d characters: %s has %d bytes, want %d", len(c.text), what, got, want)
			}
		}
		egm := e.AppendJSON(nil)
		check("message", len(e.Ciphertext)-nonceSize-secretbox.Overhead, c.plain)
		check("envelope", len(egm), c.egm)
		check("post", postSize(e), c.post)
		check("announcement", len(wire.AppendNew(nil, egm)), c.announce)
	}
}

func TestSealRefuses(t *testing.T) {
	g := testersGroup(t)
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"one byte too many", strings.Repeat("a", MaxText+1), ErrTooLong},
		{"escapes fill the packet", strings.Repeat("<", MaxText), ErrTooLong},
		{"not UTF-8", "caf\xe9", ErrNotText},
	} {
		if _, err := g.Seal(senderKey(1), Draft{Text: c.text}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What can be sealed opens as the same message, verified, also when it is full of
// characters that Go's JSON escapes.
func TestRoundTrip(t *testing.T) {
	g := testersGroup(t)
	rapid.Check(t, func(t *rapid.T) {
		d := Draft{
			Text:     rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("<>&\"\\\u2028\u2029\ufffd\x00\x1b\x7f💬")))).Draw(t, "text"),
			Time:     time.Unix(rapid.Int64Range(0, maxTimestamp).Draw(t, "time"), 0),
			Previous: rapid.SliceOf(rapid.Byte()).Draw(t, "previous"),
		}
		key := senderKey(rapid.Byte().Draw(t, "sender"))
		e, err := g.Seal(key, d)
		if errors.Is(err, ErrTooLong) {
			t.Skip("too long")
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := g.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		if m.Text != d.Text || !m.Time.Equal(d.Time) || !bytes.Equal(m.Previous, d.Previous) {
			t.Fatalf("opened as %+v, sealed was %+v", m, d)
		}
		if !m.Verified || m.From != key.Onion() {
			t.Fatal("own message does not verify")
		}
	})
}

func TestChain(t *testing.T) {
	g := testersGroup(t)
	first, err := g.Seal(senderKey(1), Draft{Text: "first"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := g.Seal(senderKey(2), Draft{Text: "second", Previous: first.Signature})
	if err != nil {
		t.Fatal(err)
	}
	m, err := g.Open(second)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Previous, first.Signature) {
		t.Error("the second message does not name the first")
	}
}

// Every forged message opens, unverified.
func TestForgeriesAreUnverified(t *testing.T) {
	g := testersGroup(t)
	honest := plainMessage{
		Text: "pay me", Onion: string(senderKey(1).Onion()), Timestamp: 1700000000,
		SignedGroupID: g.ID[:], PreviousMessageSig: []byte{}, Padding: []byte{},
	}
	elsewhere := g
	elsewhere.Server = senderKey(9).Onion()
	for _, c := range []struct {
		name  string
		forge func() wire.Envelope
	}{
		{"another member's name", func() wire.Envelope { return g.sealPlain(senderKey(2), [nonceSize]byte{}, honest) }},
		{"signature cut", func() wire.Envelope {
			e := g.sealPlain(senderKey(1), [nonceSize]byte{}, honest)
			e.Signature = e.Signature[:63]
			return e
		}},
		{"no signature", func() wire.Envelope {
			e := g.sealPlain(senderKey(1), [nonceSize]byte{}, honest)
			e.Signature = nil
			return e
		}},
		{"for another server", func() wire.Envelope { return elsewhere.sealPlain(senderKey(1), [nonceSize]byte{}, honest) }},
		{"for another group", func() wire.Envelope {
			p := honest
			p.SignedGroupID = make([]byte, 16)
			return g.sealPlain(senderKey(1), [nonceSize]byte{}, p)
		}},
		{"text changed", func() wire.Envelope {
			e := g.sealPlain(senderKey(1), [nonceSize]byte{}, honest)
			p := honest
			p.Text = "pay him"
			e.Ciphertext = g.sealPlain(senderKey(1), [nonceSize]byte{}, p).Ciphertext
			return e
		}},
		{"sender is no onion", func() wire.Envelope {
			p := honest
			p.Onion = "root"
			return g.sealPlain(senderKey(1), [nonceSize]byte{}, p)
		}},
	} {
		m, err := g.Open(c.forge())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if m.Verified {
			t.Errorf("%s: verified", c.name)
		}
	}
	if m, err := g.Open(g.sealPlain(senderKey(1), [nonceSize]byte{}, honest)); err != nil || !m.Verified {
		t.Errorf("the honest message: %+v, %v", m, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	g := testersGroup(t)
	var nonce [nonceSize]byte
	box := func(text string) []byte { return secretbox.Seal(nonce[:], []byte(text), &nonce, &g.key) }
	for _, c := range []struct {
		name       string
		ciphertext []byte
		want       error
	}{
		{"empty", nil, ErrForeign},
		{"shorter than a nonce", make([]byte, 10), ErrForeign},
		{"not sealed with the key", make([]byte, 3000), ErrForeign},
		{"an empty box", box(""), ErrMalformed},
		{"not JSON", box("hello"), ErrMalformed},
		{"negative time", box(`{"Timestamp":-1}`), ErrMalformed},
		{"two values", box(`{} {}`), ErrMalformed},
	} {
		if _, err := g.Open(wire.Envelope{Ciphertext: c.ciphertext}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestFarFutureCanBeMarshalled(t *testing.T) {
	g := testersGroup(t)
	m, err := g.Open(g.sealPlain(senderKey(1), [nonceSize]byte{}, plainMessage{Timestamp: 1<<64 - 1}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(m.Time.UTC()); err != nil {
		t.Error(err)
	}
}

func newGroup(t *testing.T) Group {
	t.Helper()
	g, err := New("book club", senderKey(3).Onion())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestNewRefuses(t *testing.T) {
	if _, err := New("caf\xe9", senderKey(3).Onion()); err == nil {
		t.Error("a name that is not UTF-8 is accepted")
	}
	if _, err := New("book club", "somewhere"); err == nil {
		t.Error("a server that is no onion is accepted")
	}
}

func TestInviteRoundTrip(t *testing.T) {
	g := newGroup(t)
	if got := FromInvite(g.Invite()); got != g {
		t.Error("the group of its own invite is another")
	}
	if other := newGroup(t); other.ID == g.ID || other.key == g.key {
		t.Error("two groups share a key")
	}
}

func TestGroupDoesNotPrintItsKey(t *testing.T) {
	g := testersGroup(t)
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("group", "group", g)
	fmt.Fprintf(&out, "%v %+v %#v %s %q", g, g, g, g, g)
	for _, secret := range []string{testersKey, hex.EncodeToString(g.key[:]), fmt.Sprint(g.key)[1:20], fmt.Sprintf("%#v", g.key[:3])[8:20]} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("key is in %s", out.String())
		}
	}
}

func TestOverlay(t *testing.T) {
	for _, c := range []struct {
		raw, chat string
		ok        bool
	}{
		{`{"o":1,"d":"hi"}`, "hi", true},
		{`{"o":1,"d":""}`, "", true},
		{`{"o":1}`, `{"o":1}`, false},
		{`{"o":10,"d":"quote"}`, `{"o":10,"d":"quote"}`, false},
		{`plain`, `plain`, false},
		{``, ``, false},
		{`{"o":1,"d":5}`, `{"o":1,"d":5}`, false},
	} {
		if chat, ok := UnwrapText(c.raw); chat != c.chat || ok != c.ok {
			t.Errorf("%s unwraps to %q, %t", c.raw, chat, ok)
		}
	}
	if got := WrapText("a<b"); got != `{"o":1,"d":"a<b"}` {
		t.Errorf("wrapped as %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		chat := rapid.String().Draw(t, "chat")
		if got, ok := UnwrapText(WrapText(chat)); got != chat || !ok {
			t.Fatalf("%q came back as %q, %t", chat, got, ok)
		}
	})
}

// FuzzOpen feeds the decoder what a member with the key could seal: it must
// not panic, and must verify nothing that the named sender did not sign.
func FuzzOpen(f *testing.F) {
	g := testersGroup(f)
	f.Add([]byte(`{"Text":"x","Onion":"`+string(senderKey(1).Onion())+`","Timestamp":1,"SignedGroupID":"AA==","PreviousMessageSig":null,"Padding":""}`), []byte{})
	f.Add(plainMessage{Text: "x", Onion: string(senderKey(1).Onion()), SignedGroupID: g.ID[:]}.marshalJSON(), make([]byte, ed25519.SignatureSize))
	f.Add([]byte(`{"text":"x","TEXT":[]}`), []byte(nil))
	f.Fuzz(func(t *testing.T, text, signature []byte) {
		var nonce [nonceSize]byte
		m, err := g.Open(wire.Envelope{Ciphertext: secretbox.Seal(nonce[:], text, &nonce, &g.key), Signature: signature})
		if err == nil && m.Verified {
			t.Error("a message that nobody signed is verified")
		}
		UnwrapText(m.Text)
		g.Open(wire.Envelope{Ciphertext: text, Signature: signature})
	})
}
