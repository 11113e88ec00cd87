package tapir

import (
	"io"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

func BenchmarkSeal(b *testing.B) {
	var key sessionKey
	var out, scratch packet
	payload := make([]byte, 5600) // a post of 4 KiB
	b.SetBytes(PacketSize)
	for b.Loop() {
		out.putSealed(&key, payload, &scratch)
	}
}

func BenchmarkOpen(b *testing.B) {
	var key sessionKey
	var p, scratch packet
	p.putSealed(&key, make([]byte, 5600), &scratch)
	b.SetBytes(PacketSize)
	for b.Loop() {
		if _, err := p.openSealed(&key, &scratch); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHandshake is the work of one side, without the network.
func BenchmarkHandshake(b *testing.B) {
	client := newHandshake(outbound, seedKey(1), seedKey(2)).ownMessage()
	key := identity.NewKey()
	b.ReportAllocs()
	for b.Loop() {
		h := newHandshake(inbound, key, identity.NewKey())
		h.ownMessage()
		if err := h.readMessage(client); err != nil {
			b.Fatal(err)
		}
		if _, err := h.deriveAgreement(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAuthenticate is both sides over TCP, connecting included.
func BenchmarkAuthenticate(b *testing.B) {
	clientKey, serverKey := identity.NewKey(), identity.NewKey()
	for b.Loop() {
		dialled, accepted := tcpPair(b)
		client, server := authenticateBoth(b, dialled, accepted, clientKey, serverKey, serverKey.Onion())
		checkError(b, client.err)
		checkError(b, server.err)
		dialled.Close()
		accepted.Close()
	}
}

// BenchmarkSend is sealing and writing to TCP, by packets in one call.
func BenchmarkSend(b *testing.B) {
	for name, n := range map[string]int{"1": 1, "8": 8} {
		b.Run(name, func(b *testing.B) {
			client, server := authenticatedPair(b)
			go io.Copy(io.Discard, server.nc)
			messages := make([][]byte, n)
			for i := range messages {
				messages[i] = make([]byte, 5600)
			}
			b.SetBytes(int64(n) * PacketSize)
			b.ReportAllocs()
			for b.Loop() {
				checkError(b, client.Send(messages...))
			}
		})
	}
}
