package main

import (
	"context"
	"crypto/rand"
	"crypto/sha3"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// boltConfig is the configuration of a relay to compare with.
const boltConfig = `data_dir = "data"
network "loopback" { registry = "net" }
log { level = "warn" }
server "club" {
}
`

// benchClients is how many clients each relay has. Every one has one post under way.
const benchClients = 128

// BenchmarkPosts measures how many posts of 4 KiB relays acknowledge, as "make bench" does:
// one with bolt, one with PostgreSQL, and two with PostgreSQL. Relays, clients and database
// share the processors. Run it with "go test -run '^$' -bench Posts -benchtime 20000x".
func BenchmarkPosts(b *testing.B) {
	program, plugin := programs(b)
	for _, c := range []struct {
		name   string
		relays int
		bolt   bool
	}{{"bolt", 1, true}, {"postgres", 1, false}, {"postgres-two-relays", 2, false}} {
		b.Run(c.name, func(b *testing.B) {
			text := boltConfig
			if !c.bolt {
				text = fmt.Sprintf(relayConfig, plugin, startServer(b, "shared_buffers=128MB").socketDir())
			}
			var relays []*relay
			var keys []byte
			for range c.relays {
				r := newRelay(b.Context(), b, program, text, keys)
				r.start()
				keys = r.keys()
				relays = append(relays, r)
			}
			benchPosts(b, relays)
		})
	}
}

// benchPosts has the clients of all relays make b.N posts.
func benchPosts(b *testing.B, relays []*relay) {
	tokens := relays[0].mintTokens(b.N)
	var next atomic.Int64
	var wg sync.WaitGroup
	boards := make([]*client.Board, benchClients*len(relays))
	for i := range boards {
		boards[i] = relays[i%len(relays)].connect()
	}
	b.ResetTimer()
	for _, board := range boards {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if err := postOnce(b.Context(), board, tokens[n-1]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "posts/s")
}

// postOnce posts an envelope and waits for the answer, on a connection that has not asked for
// a replay.
func postOnce(ctx context.Context, board *client.Board, t token.Token) error {
	body := make([]byte, 2900) // 4 KiB of JSON
	rand.Read(body)
	if _, err := board.Submit(wire.Envelope{Signature: body[:64:64], Ciphertext: body[64:]}, t); err != nil {
		return err
	}
	e, err := board.Next(ctx)
	if err == nil && !e.Success {
		err = client.ErrRefused
	}
	return err
}

// mintTokens makes tokens without a proof of work, from the key of the server.
func (r *relay) mintTokens(n int) []token.Token {
	r.Helper()
	keys, err := identity.Load(filepath.Join(r.dir, "data", "servers", "club", "keys"))
	if err != nil {
		r.Fatal(err)
	}
	k, err := scalar.NewFromCanonicalBytes(keys.Scalar[:])
	if err != nil {
		r.Fatal(err)
	}
	tokens := make([]token.Token, n)
	for i := range tokens {
		t := &tokens[i]
		rand.Read(t.T[:])
		uniform := sha3.Sum512(t.T[:])
		p, err := curve.NewRistrettoPoint().SetUniformBytes(uniform[:])
		if err != nil {
			r.Fatal(err)
		}
		(*curve.CompressedRistretto)(&t.W).SetRistrettoPoint(p.Mul(p, k))
	}
	return tokens
}

// BenchmarkAppend measures the store as a relay calls it, by one caller who waits for each
// batch: in a process in the sandbox.
func BenchmarkAppend(b *testing.B) {
	s := startServer(b, "shared_buffers=128MB")
	for _, size := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			dir, err := os.MkdirTemp("", "storage-postgres-")
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { os.RemoveAll(dir) })
			opened, err := inSandbox(b, s.socketDir()).Open(b, dir, s.config(dir))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				batch := newRecords(size)
				for i := range batch {
					batch[i].Ciphertext = append(batch[i].Ciphertext, make([]byte, 2600)...)
				}
				b.StartTimer()
				if _, err := opened.Store.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "envelopes/s")
		})
	}
}
