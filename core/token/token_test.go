package token

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
)

// groupOrder is the order of the group, the smallest scalar that is not canonical.
var groupOrder = [32]byte{
	0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
	31: 0x10,
}

func TestNewKeyRefuses(t *testing.T) {
	tooLarge := groupOrder
	tooLarge[31] |= 0x80
	for name, secret := range map[string][32]byte{
		"zero": {}, "the order": groupOrder, "above the order": fill32(0xff), "high bit": tooLarge,
	} {
		if _, err := NewKey(secret); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	largest := groupOrder
	largest[0]--
	if _, err := NewKey(largest); err != nil {
		t.Errorf("order - 1: %v", err)
	}
}

func TestCheckPublic(t *testing.T) {
	if err := CheckPublic(vectorServiceKey(t).Public()); err != nil {
		t.Error(err)
	}
	for name, public := range map[string][32]byte{
		"identity":     {},
		"odd":          {1},
		"out of field": fill32(0xff),
	} {
		if CheckPublic(public) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestVerify(t *testing.T) {
	k, purchase := vectorServiceKey(t), newPurchase(2)
	r, err := k.signBatch(vectorTranscript(t), purchase.blinded, randomScalar())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := purchase.unblindTokens(vectorTranscript(t), k.Public(), r)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewKey(encodeScalar(uniformScalar(8)))
	if err != nil {
		t.Fatal(err)
	}
	data, board := []byte("envelope"), []byte(vectorBoard)
	spent := tokens[0].Spend(data, board)
	if !k.Verify(spent, data, board) {
		t.Fatal("good token refused")
	}
	if !k.Verify(tokens[0].Spend()) {
		t.Error("token over nothing refused")
	}
	for name, ok := range map[string]bool{
		"other data":   k.Verify(spent, []byte("envelopf"), board),
		"no board":     k.Verify(spent, data),
		"other key":    other.Verify(spent, data, board),
		"other T":      k.Verify(Spent{T: tokens[1].T, MAC: spent.MAC}, data, board),
		"zero MAC":     k.Verify(Spent{T: spent.T}, data, board),
		"zero":         k.Verify(Spent{}, data, board),
		"made up W":    k.Verify(Token{T: spent.T}.Spend(data, board), data, board),
		"data swapped": k.Verify(spent, board, data),
	} {
		if ok {
			t.Errorf("%s: accepted", name)
		}
	}
	for i := range spent.MAC {
		spent.MAC[i] ^= 1
		if k.Verify(spent, data, board) {
			t.Errorf("byte %d of the MAC does not matter", i)
		}
		spent.MAC[i] ^= 1
	}
}

// TestTamperedReply changes a reply in every way that a client must refuse.
func TestTamperedReply(t *testing.T) {
	k := vectorServiceKey(t)
	tracker, err := NewKey(encodeScalar(uniformScalar(8)))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(k *Key, p *purchase) reply {
		r, err := k.signBatch(vectorTranscript(t), p.blinded, randomScalar())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, change := range map[string]func(p *purchase, r *reply){
		"another key for all": func(p *purchase, r *reply) { *r = sign(tracker, p) },
		"another key for one": func(p *purchase, r *reply) { r.signed[2] = sign(tracker, p).signed[2] },
		"not multiplied":      func(p *purchase, r *reply) { r.signed[0] = p.blinded[0] },
		"order":               func(p *purchase, r *reply) { r.signed[0], r.signed[1] = r.signed[1], r.signed[0] },
		"proof of another":    func(p *purchase, r *reply) { o := sign(k, newPurchase(3)); r.c, r.s = o.c, o.s },
		"c":                   func(p *purchase, r *reply) { r.c[0] ^= 1 },
		"s":                   func(p *purchase, r *reply) { r.s[0] ^= 1 },
		"c not canonical":     func(p *purchase, r *reply) { r.c = groupOrder },
		"s not canonical":     func(p *purchase, r *reply) { r.s = fill32(0xff) },
		"zero proof":          func(p *purchase, r *reply) { r.c, r.s = [32]byte{}, [32]byte{} },
		"identity":            func(p *purchase, r *reply) { r.signed[1] = element{} },
		"not canonical":       func(p *purchase, r *reply) { r.signed[1] = fill32(0xff) },
		"one less":            func(p *purchase, r *reply) { r.signed = r.signed[:2] },
		"one more":            func(p *purchase, r *reply) { r.signed = append(r.signed, r.signed[0]) },
		"none":                func(p *purchase, r *reply) { r.signed = nil },
	} {
		p := newPurchase(3)
		r := sign(k, p)
		if _, err := p.unblindTokens(vectorTranscript(t), k.Public(), r); err != nil {
			t.Fatalf("before: %v", err)
		}
		change(p, &r)
		if tokens, err := p.unblindTokens(vectorTranscript(t), k.Public(), r); err == nil || tokens != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p := newPurchase(3)
	r := sign(k, p)
	if _, err := p.unblindTokens(vectorTranscript(t), tracker.Public(), r); !errors.Is(err, ErrProof) {
		t.Errorf("other service: %v", err)
	}
	if _, err := p.unblindTokens(beginPurchase(newPuzzle([]byte("other")), fill32(0)), k.Public(), r); !errors.Is(err, ErrProof) {
		t.Errorf("other connection: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	good := newPurchase(1).blinded[0]
	for name, bad := range map[string]element{"identity": {}, "odd": {1}, "out of field": fill32(0xff)} {
		if _, err := vectorServiceKey(t).signBatch(vectorTranscript(t), []element{good, bad}, randomScalar()); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

// TestNonceIsFresh shows that nonces are random, and why they must be: from two proofs
// with one nonce follows k = (s1 - s2) / (c2 - c1).
func TestNonceIsFresh(t *testing.T) {
	seen := map[[32]byte]bool{}
	for range 1000 {
		seen[encodeScalar(randomScalar())] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different scalars of 1000", len(seen))
	}

	k, blinded := vectorServiceKey(t), newPurchase(1).blinded
	nonce := randomScalar()
	one, err := k.signBatch(vectorTranscript(t), blinded, nonce)
	if err != nil {
		t.Fatal(err)
	}
	two, err := k.signBatch(beginPurchase(newPuzzle([]byte("other")), fill32(0)), blinded, nonce)
	if err != nil {
		t.Fatal(err)
	}
	c1, _ := decodeScalar(one.c)
	c2, _ := decodeScalar(two.c)
	s1, _ := decodeScalar(one.s)
	s2, _ := decodeScalar(two.s)
	stolen := scalar.New().Invert(scalar.New().Sub(c2, c1))
	stolen.Mul(stolen, scalar.New().Sub(s1, s2))
	if stolen.Equal(k.k) != 1 {
		t.Error("the reason to keep nonces fresh is gone: the proof changed")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	k, token := vectorServiceKey(t), Token{T: fill32(1), W: fill32(2)}
	var log strings.Builder
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "secret", k)
		slog.New(h).Info("x", "secret", *k)
		slog.New(h).Info("x", "secret", token)
	}
	if n := strings.Count(log.String(), redacted); n != 6 {
		t.Errorf("%d of 6 redacted in %s", n, log.String())
	}
	for _, v := range []any{k, *k, token, &token} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			if got := fmt.Sprintf(verb, v); got != redacted {
				t.Errorf("%s of %T prints %s", verb, v, got)
			}
		}
	}
}
