package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// The vectors in this file were computed from our reading of the protocol with
// gtank/merlin and gtank/ristretto255, by another program. They show that two
// implementations of that reading agree, not that Cwtch does.

const (
	vectorSeed      = "00112233445566778899"
	vectorChallenge = "9dd9d084653ceddf95e4ef5fd91c9ad4caf62eba998949dff1d41cd943af1d028027d7286a4464c7d6613ff705b86e6d6521cdd1479c4d2fd435d80d2eaf0004"
	vectorSolution  = "3e8904f6653ca66fc50c5ef0da00293e0097c4b4670052f780a75f7b606f7b02"
	vectorTries     = 38085
	vectorHash      = "0000241028d2add4e0a6257ab03f4dd97f8ac85f6d114aff2392de75ea56f6b2"

	vectorScalar = "T4ik5u6JRIppT3F5+UDVNmcyetIT6XHJGOGMJ2efbgU="
	vectorPublic = "UFwaw3fAOpngJFQJdJaSXOK3hc0Nu/NnGdRE+WS5XBU="
	vectorP0     = "ROZZiRzOwbdQUi02W64Z4PiGXk7UXlSzu42V83Zc8S0="
	vectorP1     = "3jkkTYHz/uVoAp4PpDGXlnviBhnQ79OfKa+ggsWfVjo="
	vectorM      = "6ceea31e1d59d98b390c12e63ee066239793ec69709d0256c2690920fef62048"
	vectorZ      = "a26d43190a24554c14401e131a6c444e4ae2cbd8fa6ad878b9b027d72361744f"
	vectorC      = "m9XBkiomCHvXkIOewzYZpo/DWyzZcE7WSeSEk4MdrQo="
	vectorS      = "MvxQHsBheg0q4uLw/HlZdtz2ppNG/GdCHb3rzytfSw8="
	vectorReply  = "35e27e2567fc3e16dfa0f009fd4f16e034dcf296bff043dfa6378ff88c14ed90"
	vectorW      = "84a2f69d0b9925fe347a3324a932a82b6caf70308a489a9420501154a4f0690f"
	vectorKey    = "71d4906e69ac6ce414cdbb0ff74a4d51c1ac53db761b57e8db20f3a352d9e127"
	vectorMAC    = "/BVJ3QC8HcxsDO7MBAEdX6Ebj09jgraFZ00GbjDJoy5tXJdW5SOhqMqWxtgfbvO//dYJAZpkShDP6/uzZeQLJQ=="
	vectorBoard  = "5vesrrri2hbmn2xjam4jawmvmeuvsjz2lrr7snrwyfdbjlehg7iuvmyd"
)

// uniformScalar returns the scalar to which 64 times the byte b reduces.
func uniformScalar(b byte) *scalar.Scalar {
	return wideScalar([64]byte(bytes.Repeat([]byte{b}, 64)))
}

func fill32(b byte) [32]byte { return [32]byte(bytes.Repeat([]byte{b}, 32)) }

func hex32(t testing.TB, s string) [32]byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		t.Fatalf("bad test data %q", s)
	}
	return [32]byte(b)
}

func encodeBase64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func checkEqual(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s\n got %s\nwant %s", what, got, want)
	}
}

func vectorServiceKey(t testing.TB) *Key {
	t.Helper()
	k, err := NewKey(encodeScalar(uniformScalar(7)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func vectorPurchase() *purchase {
	p := &purchase{}
	for i := range byte(10) {
		p.addToken(fill32(0x20+i), uniformScalar(0x40+i))
	}
	return p
}

func vectorTranscript(t testing.TB) *tapir.Transcript {
	return beginPurchase(newPuzzle([]byte(vectorSeed)), hex32(t, vectorSolution))
}

func TestVectorProofOfWork(t *testing.T) {
	p := newPuzzle([]byte(vectorSeed))
	checkEqual(t, "challenge", hex.EncodeToString(p.challenge[:]), vectorChallenge)
	var last int
	solution, err := p.findSolution(t.Context(), func(tries int) { last = tries })
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "solution", hex.EncodeToString(solution[:]), vectorSolution)
	if want := vectorTries / progressEvery * progressEvery; last != want {
		t.Errorf("last progress %d, want %d", last, want)
	}
	sum := sha256.Sum256(append(solution[:], p.challenge[:]...))
	checkEqual(t, "hash", hex.EncodeToString(sum[:]), vectorHash)
	if !p.isSolvedBy(solution) {
		t.Error("solution refused")
	}

	p = newPuzzle([]byte(vectorSeed))
	for range vectorTries - 1 {
		p.candidates.nextScalar()
	}
	if got := encodeScalar(p.candidates.nextScalar()); got != solution {
		t.Errorf("candidate %d is %x", vectorTries, got)
	}
}

func TestVectorBatch(t *testing.T) {
	k, purchase := vectorServiceKey(t), vectorPurchase()
	secret, public := encodeScalar(k.k), k.Public()
	checkEqual(t, "k", encodeBase64(secret[:]), vectorScalar)
	checkEqual(t, "Y", encodeBase64(public[:]), vectorPublic)
	checkEqual(t, "P_0", encodeBase64(purchase.blinded[0][:]), vectorP0)
	checkEqual(t, "P_1", encodeBase64(purchase.blinded[1][:]), vectorP1)

	r, err := k.signBatch(vectorTranscript(t), purchase.blinded, uniformScalar(9))
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "C", encodeBase64(r.c[:]), vectorC)
	checkEqual(t, "S", encodeBase64(r.s[:]), vectorS)

	weights := batchWeights(vectorTranscript(t), public, purchase.blinded, r.signed)
	for _, v := range []struct {
		name   string
		points []element
		want   string
	}{{"M", purchase.blinded, vectorM}, {"Z", r.signed, vectorZ}} {
		points, err := decodePoints(v.points)
		if err != nil {
			t.Fatal(err)
		}
		sum := encodePoint(weightedSum(weights, points))
		checkEqual(t, v.name, hex.EncodeToString(sum[:]), v.want)
	}

	short := append(r.appendSpelling([]byte{'{'}, "st", "dp"), '}')
	sum := sha256.Sum256(short)
	checkEqual(t, "reply", hex.EncodeToString(sum[:]), vectorReply)
	if len(short) != 647 {
		t.Errorf("short reply has %d bytes, want 647", len(short))
	}
	if !bytes.HasPrefix(r.encodeJSON(), short[:len(short)-1]) {
		t.Error("reply does not begin with its short spelling")
	}

	tokens, err := purchase.unblindTokens(vectorTranscript(t), public, r)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "W", hex.EncodeToString(tokens[0].W[:]), vectorW)
}

func TestVectorSpend(t *testing.T) {
	token := Token{T: fill32(0x20), W: hex32(t, vectorW)}
	key := spendKey(token.T, token.W)
	checkEqual(t, "spend key", hex.EncodeToString(key[:]), vectorKey)
	envelope := wire.Envelope{Ciphertext: []byte("ciphertext"), Signature: []byte("signature")}.AppendJSON(nil)
	spent := token.Spend(envelope, []byte(vectorBoard))
	checkEqual(t, "MAC", encodeBase64(spent.MAC[:]), vectorMAC)
	if !vectorServiceKey(t).Verify(spent, envelope, []byte(vectorBoard)) {
		t.Error("spent token refused")
	}
	if !vectorServiceKey(t).Verify(spent, append(envelope, vectorBoard...)) {
		t.Error("how the data is cut matters")
	}
}

func TestVectorGenerator(t *testing.T) {
	// RFC 9496, appendix A.1, multiple 1.
	const want = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"
	checkEqual(t, "X", hex.EncodeToString(generator[:]), want)
	if encodePoint(mulBase(scalar.One())) != generator {
		t.Error("table and constant differ")
	}
	if encodePoint(curve.NewRistrettoPoint()) != (curve.CompressedRistretto{}) {
		t.Error("the identity does not encode to zero")
	}
}
