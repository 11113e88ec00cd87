package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha3"
	"fmt"
	"hash"
	"math/big"
	"slices"
	"testing"

	"github.com/gtank/merlin"
	"github.com/gtank/ristretto255"
	"github.com/oasisprotocol/curve25519-voi/curve"
	"pgregory.net/rapid"
)

// The oracle is a second implementation of the scheme, written from its description
// with the libraries that Cwtch uses instead of ours.

type oracleTranscript struct{ *merlin.Transcript }

func (o oracleTranscript) append(label string, data []byte) {
	o.AppendMessage([]byte(label), data)
}

func (o oracleTranscript) element(label string, e *ristretto255.Element) {
	o.append(label, e.Encode(nil))
}

func (o oracleTranscript) commit(label string) []byte { return o.ExtractBytes([]byte(label), 64) }

// oracleWork returns the transcript before the solution and its challenge.
func oracleWork(seed []byte) (oracleTranscript, []byte, *sha3.SHAKE) {
	o := oracleTranscript{merlin.NewTranscript("tapir-transcript")}
	o.append("protocol", []byte("pow-app"))
	o.append("pow-seed", seed)
	challenge := o.commit("pow-challenge")
	shake := sha3.NewSHAKE256()
	shake.Write(o.commit("pow-prng"))
	return o, challenge, shake
}

func oraclePurchase(seed, solution []byte) oracleTranscript {
	o, _, _ := oracleWork(seed)
	o.append("pow-solution", solution)
	o.append("protocol", []byte("token-app"))
	return o
}

type (
	oracleBlinded struct{ P *ristretto255.Element }
	oracleSigned  struct{ Q *ristretto255.Element }
)

// oracleWeightedSums absorbs a batch and returns the weighted sums of its points.
func oracleWeightedSums(o oracleTranscript, y *ristretto255.Element, ps []oracleBlinded, qs []oracleSigned) (m, z *ristretto255.Element) {
	o.append("protocol", []byte("privacy-pass-batch-proof"))
	o.element("X-batch", ristretto255.NewElement().Base())
	o.element("Y-batch", y)
	o.append("P-vector", fmt.Appendf(nil, "%v", ps))
	o.append("Q-vector", fmt.Appendf(nil, "%v", qs))
	shake := sha3.NewSHAKE256()
	shake.Write(o.commit("w"))
	m, z = ristretto255.NewElement(), ristretto255.NewElement()
	for i := range ps {
		block := make([]byte, 64)
		shake.Read(block)
		c := ristretto255.NewScalar().FromUniformBytes(block)
		m.Add(m, ristretto255.NewElement().ScalarMult(c, ps[i].P))
		z.Add(z, ristretto255.NewElement().ScalarMult(c, qs[i].Q))
	}
	return m, z
}

func oracleChallenge(o oracleTranscript, y, m, z, a, b *ristretto255.Element) *ristretto255.Scalar {
	o.element("X", ristretto255.NewElement().Base())
	o.element("Y", y)
	o.element("P", m)
	o.element("Q", z)
	o.element("A", a)
	o.element("B", b)
	return ristretto255.NewScalar().FromUniformBytes(o.commit("c"))
}

func oraclePoint(t interface{ Fatal(...any) }, encoding []byte) *ristretto255.Element {
	e := ristretto255.NewElement()
	if err := e.Decode(encoding); err != nil {
		t.Fatal(err)
	}
	return e
}

func oracleHash(token []byte) *ristretto255.Element {
	sum := sha3.Sum512(token)
	return ristretto255.NewElement().FromUniformBytes(sum[:])
}

func drawBytes(t *rapid.T, name string, n int) []byte {
	return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name)
}

func TestOracleEncodings(t *testing.T) {
	// Values at the limits of the field and of the scalars, which random bytes never
	// reach.
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	l, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	base := rapid.SampledFrom([]*big.Int{new(big.Int), p, l, new(big.Int).Lsh(p, 1), new(big.Int).Lsh(big.NewInt(1), 255)})
	nearLimit := rapid.Custom(func(t *rapid.T) []byte {
		n := new(big.Int).Add(base.Draw(t, "base"), big.NewInt(rapid.Int64Range(-40, 40).Draw(t, "offset")))
		b := n.Abs(n).Mod(n, new(big.Int).Lsh(big.NewInt(1), 256)).FillBytes(make([]byte, 32))
		slices.Reverse(b)
		return b
	})
	valid := rapid.Custom(func(t *rapid.T) []byte { return oracleHash(drawBytes(t, "hashed", 8)).Encode(nil) })
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.OneOf(nearLimit, valid, rapid.SliceOfN(rapid.Byte(), 32, 32)).Draw(t, "encoding")
		e := ristretto255.NewElement()
		want := e.Decode(b) == nil && e.Equal(ristretto255.NewElement()) != 1
		point, err := decodePoint([32]byte(b))
		if (err == nil) != want {
			t.Fatalf("point %x: error %v, the oracle accepts it: %v", b, err, want)
		}
		if err == nil && [32]byte(encodePoint(point)) != [32]byte(b) {
			t.Fatalf("point %x encodes to %x", b, encodePoint(point))
		}
		s := ristretto255.NewScalar()
		want = s.Decode(b) == nil
		ours, err := decodeScalar([32]byte(b))
		if (err == nil) != want {
			t.Fatalf("scalar %x: error %v, the oracle accepts it: %v", b, err, want)
		}
		if err == nil && encodeScalar(ours) != [32]byte(b) {
			t.Fatalf("scalar %x encodes to %x", b, encodeScalar(ours))
		}
		_, err = NewKey([32]byte(b))
		if want := want && [32]byte(b) != [32]byte{}; (err == nil) != want {
			t.Fatalf("key %x: %v", b, err)
		}
	})
}

func TestOracleGroup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		token, wide := drawBytes(t, "token", 32), drawBytes(t, "wide", 64)
		h, s := hashToGroup([32]byte(token)), wideScalar([64]byte(wide))
		oracleH, oracleS := oracleHash(token), ristretto255.NewScalar().FromUniformBytes(wide)
		if got := encodePoint(h); [32]byte(got) != [32]byte(oracleH.Encode(nil)) {
			t.Fatalf("hash to group: %x", got)
		}
		if got := encodeScalar(s); got != [32]byte(oracleS.Encode(nil)) {
			t.Fatalf("wide scalar: %x", got)
		}
		if got := encodePoint(mulBase(s)); [32]byte(got) != [32]byte(ristretto255.NewElement().ScalarBaseMult(oracleS).Encode(nil)) {
			t.Fatalf("times generator: %x", got)
		}
		got := encodePoint(curve.NewRistrettoPoint().Mul(h, s))
		if [32]byte(got) != [32]byte(ristretto255.NewElement().ScalarMult(oracleS, oracleH).Encode(nil)) {
			t.Fatalf("times point: %x", got)
		}
	})
}

// TestOracleWork solves no puzzle. It compares what a solver draws and checks.
func TestOracleWork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "seed")
		p := newPuzzle(seed)
		_, challenge, shake := oracleWork(seed)
		if string(p.challenge[:]) != string(challenge) {
			t.Fatal("challenges differ")
		}
		for range 3 {
			block := make([]byte, 64)
			shake.Read(block)
			want := ristretto255.NewScalar().FromUniformBytes(block).Encode(nil)
			got := encodeScalar(p.candidates.nextScalar())
			if string(got[:]) != string(want) {
				t.Fatal("candidates differ")
			}
			sum := sha256.Sum256(append(want, challenge...))
			if p.isSolvedBy(got) != (sum[0] == 0 && sum[1] == 0) {
				t.Fatal("they disagree whether it is solved")
			}
		}
	})
}

// TestOracleBatch computes everything from the seed to a spent token twice.
func TestOracleBatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "seed")
		solution := drawBytes(t, "solution", 32)
		wideK, wideNonce := drawBytes(t, "k", 64), drawBytes(t, "nonce", 64)
		n := rapid.IntRange(1, 12).Draw(t, "tokens")

		k, err := NewKey(encodeScalar(wideScalar([64]byte(wideK))))
		if err != nil {
			t.Skip("zero key")
		}
		oracleK := ristretto255.NewScalar().FromUniformBytes(wideK)
		y := ristretto255.NewElement().ScalarBaseMult(oracleK)
		if k.Public() != [32]byte(y.Encode(nil)) {
			t.Fatal("public keys differ")
		}
		purchase := newPurchase(n)
		transcript := func() oracleTranscript { return oraclePurchase(seed, solution) }
		ours := func() reply {
			r, err := k.signBatch(beginPurchase(newPuzzle(seed), [32]byte(solution)), purchase.blinded, wideScalar([64]byte(wideNonce)))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}()

		// What the oracle signs is the same, byte for byte.
		var ps []oracleBlinded
		var qs []oracleSigned
		for i, b := range purchase.blinded {
			p := oraclePoint(t, b[:])
			q := ristretto255.NewElement().ScalarMult(oracleK, p)
			if ours.signed[i] != [32]byte(q.Encode(nil)) {
				t.Fatalf("token %d signed differently", i)
			}
			ps, qs = append(ps, oracleBlinded{p}), append(qs, oracleSigned{q})
		}
		o := transcript()
		m, z := oracleWeightedSums(o, y, ps, qs)
		nonce := ristretto255.NewScalar().FromUniformBytes(wideNonce)
		c := oracleChallenge(o, y, m, z,
			ristretto255.NewElement().ScalarBaseMult(nonce), ristretto255.NewElement().ScalarMult(nonce, m))
		s := ristretto255.NewScalar().Multiply(c, oracleK)
		s.Subtract(nonce, s)
		if ours.c != [32]byte(c.Encode(nil)) || ours.s != [32]byte(s.Encode(nil)) {
			t.Fatal("proofs differ")
		}

		// The oracle verifies our proof from its two scalars.
		o = transcript()
		m, z = oracleWeightedSums(o, y, ps, qs)
		a := ristretto255.NewElement().VarTimeDoubleScalarBaseMult(c, y, s)
		b := ristretto255.NewElement().VarTimeMultiScalarMult([]*ristretto255.Scalar{s, c}, []*ristretto255.Element{m, z})
		if oracleChallenge(o, y, m, z, a, b).Equal(c) != 1 {
			t.Fatal("the oracle refuses the proof")
		}

		// The tokens are those that the server computes from T.
		tokens, err := purchase.unblindTokens(beginPurchase(newPuzzle(seed), [32]byte(solution)), k.Public(), ours)
		if err != nil {
			t.Fatal(err)
		}
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		for _, token := range tokens {
			w := ristretto255.NewElement().ScalarMult(oracleK, oracleHash(token.T[:])).Encode(nil)
			if string(w) != string(token.W[:]) {
				t.Fatal("unblinded points differ")
			}
			key := sha3.Sum256(append(token.T[:], w...))
			mac := hmac.New(func() hash.Hash { return sha3.New512() }, key[:])
			mac.Write(data)
			if token.Spend(data).MAC != [64]byte(mac.Sum(nil)) {
				t.Fatal("MACs differ")
			}
		}
	})
}
