package exchange

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
)

// BenchmarkBodies moves envelopes of 4 KiB through two engines, encoded between them, without any
// store or cipher. One operation is one envelope, from Offer or Push to Sent.
func BenchmarkBodies(b *testing.B) {
	for _, offer := range []bool{false, true} {
		b.Run(map[bool]string{false: "Push", true: "Offer"}[offer], func(b *testing.B) { moveBodies(b, offer) })
	}
}

func moveBodies(b *testing.B, offer bool) {
	const batch = 1024
	from, to := newSolo(b), newSolo(b)
	from.up(1)
	to.up(1)
	ids := from.hold(0, batch, 4088)
	b.SetBytes(4096)
	for done := 0; done < b.N; done += batch {
		clear(to.log)
		n := min(batch, b.N-done)
		var err error
		if offer {
			err = from.e.Offer(1, ids[:n])
		} else {
			err = from.e.Push(1, ids[:n])
		}
		if err != nil {
			b.Fatal(err)
		}
		for moved := true; moved; {
			moved = pump(b, from, to)
			moved = pump(b, to, from) || moved
		}
		if len(to.log) != n {
			b.Fatalf("%d of %d envelopes arrive", len(to.log), n)
		}
	}
}

// pump carries all frames from one engine to the other.
func pump(b *testing.B, from, to *solo) (moved bool) {
	from.work()
	from.jobs = nil
	for {
		f, ok := from.e.Next(1)
		if !ok {
			break
		}
		encoded := peerlink.AppendFrame(nil, f)
		var header [peerlink.HeaderSize]byte
		copy(header[:], encoded)
		kind, _, err := peerlink.ParseHeader(header)
		if err == nil {
			f, err = peerlink.DecodePayload(kind, encoded[peerlink.HeaderSize:])
		}
		if err != nil {
			b.Fatal(err)
		}
		to.e.Receive(1, f)
		to.work()
		moved = true
		from.work()
	}
	for len(from.e.Events()) > 0 {
		moved = true
	}
	return moved
}
