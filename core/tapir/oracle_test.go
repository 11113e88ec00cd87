package tapir

import (
	"bytes"
	"crypto/ecdh"
	"crypto/sha512"
	"testing"

	"filippo.io/edwards25519"
	gtank "github.com/gtank/merlin"
	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// TestTranscriptOracle runs the same operations on a Transcript and on the
// library that upstream uses.
func TestTranscriptOracle(t *testing.T) {
	label := rapid.StringN(0, 40, 300)
	rapid.Check(t, func(t *rapid.T) {
		ours, theirs := NewTranscript(), gtank.NewTranscript(transcriptLabel)
		for range rapid.IntRange(1, 20).Draw(t, "operations") {
			l := label.Draw(t, "label")
			switch rapid.SampledFrom([]string{"append", "protocol", "commit"}).Draw(t, "operation") {
			case "append":
				// Longer than the 166 bytes of a STROBE block, too.
				data := rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "data")
				ours.Append(l, data)
				theirs.AppendMessage([]byte(l), data)
			case "protocol":
				ours.Protocol(l)
				theirs.AppendMessage([]byte("protocol"), []byte(l))
			case "commit":
				got, want := ours.Commit(l), theirs.ExtractBytes([]byte(l), 64)
				if !bytes.Equal(got[:], want) {
					t.Fatalf("commit %x, want %x", got, want)
				}
			}
		}
		got, want := ours.Commit("end"), theirs.ExtractBytes([]byte("end"), 64)
		if !bytes.Equal(got[:], want) {
			t.Fatalf("commit %x, want %x", got, want)
		}
	})
}

// TestDiffieHellmanOracle compares with the conversion of filippo.io/edwards25519,
// which upstream uses, and the X25519 of the standard library.
func TestDiffieHellmanOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 32, 32)
		own := identity.KeyFromSeed([32]byte(seed.Draw(t, "own")))
		peer := identity.KeyFromSeed([32]byte(seed.Draw(t, "peer")))

		ownSeed := own.Seed()
		hash := sha512.Sum512(ownSeed[:])
		scalar, err := ecdh.X25519().NewPrivateKey(hash[:32])
		if err != nil {
			t.Fatal(err)
		}
		point, err := new(edwards25519.Point).SetBytes(peer.Public())
		if err != nil {
			t.Fatal(err)
		}
		montgomery, err := ecdh.X25519().NewPublicKey(point.BytesMontgomery())
		if err != nil {
			t.Fatal(err)
		}
		want, err := scalar.ECDH(montgomery)
		if err != nil {
			t.Fatal(err)
		}
		got, err := diffieHellman(own, peer.Public())
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("shared secret %x, %v, want %x", got, err, want)
		}
	})
}
