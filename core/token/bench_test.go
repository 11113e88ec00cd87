package token

import (
	"encoding/binary"
	"fmt"
	"testing"
)

func BenchmarkVerify(b *testing.B) {
	k, purchase := vectorServiceKey(b), newPurchase(1)
	r, err := k.signBatch(vectorTranscript(b), purchase.blinded, randomScalar())
	if err != nil {
		b.Fatal(err)
	}
	tokens, err := purchase.unblindTokens(vectorTranscript(b), k.Public(), r)
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 4096)
	spent := tokens[0].Spend(data)
	b.ReportAllocs()
	for b.Loop() {
		if !k.Verify(spent, data) {
			b.Fatal("refused")
		}
	}
}

// BenchmarkIssue is what a purchase costs the server, from the solution to the
// encoded reply.
func BenchmarkIssue(b *testing.B) {
	for _, n := range []int{1, DefaultBatch, MaxBatch} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			k, request := vectorServiceKey(b), appendRequest(nil, newPurchase(n).blinded)
			solution := hex32(b, vectorSolution)
			b.ReportAllocs()
			for b.Loop() {
				p := newPuzzle([]byte(vectorSeed))
				if !p.isSolvedBy(solution) {
					b.Fatal("refused")
				}
				blinded, err := decodeRequest(request)
				if err != nil {
					b.Fatal(err)
				}
				r, err := k.signBatch(beginPurchase(p, solution), blinded, randomScalar())
				if err != nil {
					b.Fatal(err)
				}
				r.encodeJSON()
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

func BenchmarkUnblind(b *testing.B) {
	k, purchase := vectorServiceKey(b), newPurchase(DefaultBatch)
	r, err := k.signBatch(vectorTranscript(b), purchase.blinded, randomScalar())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := purchase.unblindTokens(vectorTranscript(b), k.Public(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSolve has a new seed each time: the number of tries varies a lot, the
// time of one does not.
func BenchmarkSolve(b *testing.B) {
	var seed [8]byte
	tries := 0
	count := func(n int) {
		if n > 0 {
			tries += progressEvery
		}
	}
	for i := 0; b.Loop(); i++ {
		binary.BigEndian.PutUint64(seed[:], uint64(i))
		if _, err := newPuzzle(seed[:]).findSolution(b.Context(), count); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(tries, 1)), "ns/try")
}
