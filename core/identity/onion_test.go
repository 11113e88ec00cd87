package identity

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"pgregory.net/rapid"
)

// Names of real Cwtch servers, from their published key bundles.
var realOnions = []string{
	"isbr2t6bflul2zyi6hjtnuezb2xvfr42svzjg2q3gyqfgg3wmnrbkkqd",
	"li53q6juafu4avr7rtyltmsq2ujyy7scrr3ftnkrlicsxew67xq64syd",
	"ur33edbwvbevcls5ue6jpkoubdptgkgl5bedzfyau2ibf5276lyp4uid",
	"cxjx5sr3op2i6hjrjsfzjbuefhiyq3tel5ulxnbj26vtvorphlemslid",
}

func TestOnionVectors(t *testing.T) {
	for _, name := range realOnions {
		o, err := ParseOnion(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := OnionOf(o.PublicKey()); got != o {
			t.Errorf("%s becomes %s", o, got)
		}
	}
	for seed, want := range map[byte]Onion{
		1: "rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5optfad",
		3: "5vesrrri2hbmn2xjam4jawmvmeuvsjz2lrr7snrwyfdbjlehg7iuvmyd",
	} {
		if got := seedKey(seed).Onion(); got != want {
			t.Errorf("seed %02x: %s, want %s", seed, got, want)
		}
	}
}

func seedKey(b byte) Key {
	return KeyFromSeed([32]byte(bytes.Repeat([]byte{b}, 32)))
}

func TestParseOnionRefuses(t *testing.T) {
	good := realOnions[0]
	for name, s := range map[string]string{
		"empty":         "",
		"suffix":        good + ".onion",
		"short":         good[1:],
		"long":          good + "a",
		"upper case":    strings.ToUpper(good),
		"alphabet":      "1" + good[1:],
		"line break":    good[:55] + "\n",
		"padding":       good[:55] + "=",
		"checksum":      "j" + good[1:],
		"not ASCII":     "é" + good[2:],
		"version 2":     onionEncoding.EncodeToString(append(raw(good)[:34], 2)),
		"low order":     string(OnionOf(curveBytes(curve.EIGHT_TORSION[1]))),
		"identity":      string(OnionOf(curveBytes(curve.NewEdwardsPoint()))),
		"mixed order":   string(OnionOf(mixedOrder())),
		"not canonical": string(OnionOf(nonCanonical(t))),
		"no point":      string(OnionOf(noPoint())),
	} {
		if o, err := ParseOnion(s); err == nil {
			t.Errorf("%s: %q is accepted as %s", name, s, o)
		}
	}
}

func raw(name string) []byte {
	b, err := onionEncoding.DecodeString(name)
	if err != nil {
		panic(err)
	}
	return b
}

func TestCheckPublicKeyRefuses(t *testing.T) {
	if err := CheckPublicKey(seedKey(1).Public()); err != nil {
		t.Fatal(err)
	}
	for i, p := range curve.EIGHT_TORSION {
		if CheckPublicKey(curveBytes(p)) == nil {
			t.Errorf("point %d of small order is accepted", i)
		}
	}
	minusZero := curveBytes(curve.NewEdwardsPoint())
	minusZero[31] |= 0x80
	for name, key := range map[string]ed25519.PublicKey{
		"nil": nil, "short": make([]byte, 31), "long": make([]byte, 33),
		"zero": make([]byte, 32), "ones": bytes.Repeat([]byte{0xff}, 32),
		"identity with sign": minusZero,
		"mixed order":        mixedOrder(), "not canonical": nonCanonical(t), "no point": noPoint(),
	} {
		if CheckPublicKey(key) == nil {
			t.Errorf("%s key is accepted", name)
		}
	}
}

func curveBytes(p *curve.EdwardsPoint) ed25519.PublicKey {
	var c curve.CompressedEdwardsY
	return ed25519.PublicKey(c.SetEdwardsPoint(p)[:])
}

// mixedOrder is an honest key plus a point of order 8: on the curve, not of low
// order, and a twin of the honest key.
func mixedOrder() ed25519.PublicKey {
	c, err := curve.NewCompressedEdwardsYFromBytes(seedKey(1).Public())
	if err != nil {
		panic(err)
	}
	var p curve.EdwardsPoint
	if _, err := p.SetCompressedY(c); err != nil {
		panic(err)
	}
	return curveBytes(p.Add(&p, curve.EIGHT_TORSION[1]))
}

// nonCanonical is a point of more than low order whose y is spelled as y + p.
func nonCanonical(t *testing.T) ed25519.PublicKey {
	t.Helper()
	for y := range byte(19) {
		for _, sign := range []byte{0x7f, 0xff} {
			b := bytes.Repeat([]byte{0xff}, 32)
			b[0], b[31] = 0xed+y, sign
			var p curve.EdwardsPoint
			if _, err := p.SetCompressedY((*curve.CompressedEdwardsY)(b)); err == nil && !p.IsSmallOrder() {
				return b
			}
		}
	}
	t.Fatal("no such point")
	return nil
}

// noPoint encodes y = 2, for which the curve has no x.
func noPoint() ed25519.PublicKey {
	b := make([]byte, 32)
	b[0] = 2
	return b
}

func TestOnionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed")
		k := KeyFromSeed([32]byte(seed))
		o, err := ParseOnion(string(k.Onion()))
		if err != nil {
			t.Fatal(err)
		}
		if !o.PublicKey().Equal(k.Public()) || OnionOf(k.Public()) != o {
			t.Fatalf("%s does not come back", o)
		}
		broken := []byte(o)
		i := rapid.IntRange(0, OnionLen-1).Draw(t, "position")
		c := rapid.SampledFrom([]byte("abcdefghijklmnopqrstuvwxyz234567")).Draw(t, "character")
		if broken[i] != c {
			broken[i] = c
			if _, err := ParseOnion(string(broken)); err == nil {
				t.Skip("one name in 65536 has this checksum")
			}
		}
	})
}

func FuzzParseOnion(f *testing.F) {
	for _, name := range realOnions {
		f.Add(name)
	}
	f.Add(string(OnionOf(mixedOrder())))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOnion(s)
		if err == nil && (string(o) != s || OnionOf(o.PublicKey()) != o) {
			t.Errorf("%q parses as %q", s, o)
		}
	})
}
