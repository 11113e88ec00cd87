package tapir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/primitives/merlin"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// seedKey is the key whose seed is one byte, repeated.
func seedKey(b byte) identity.Key {
	return identity.KeyFromSeed([32]byte(bytes.Repeat([]byte{b}, 32)))
}

func checkHex(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != want {
		t.Errorf("%s = %x, want %s", what, got, want)
	}
}

// The vector that the authors of Merlin published.
func TestMerlinVector(t *testing.T) {
	m := &Transcript{merlin.NewTranscript("test protocol")}
	m.Append("some label", []byte("some data"))
	var got [32]byte
	m.merlin.ExtractBytes(got[:], "challenge")
	checkHex(t, "challenge", got[:], "d5a21972d0d5fe320c0d263fac7fffb8145aa640af6e9bca177c03c7efcf0615")
}

// The vector in the tests of upstream's tapir.
func TestTapirTranscriptVector(t *testing.T) {
	m := &Transcript{merlin.NewTranscript("label")}
	m.Append("action", []byte("test data"))
	m.Commit("first commit")
	m.Commit("second commit")
	m.Append("action", []byte("test data"))
	got := m.Commit("third commit")
	checkHex(t, "third commit", got[:], "ef0556a68b46f7bb892524b73533727318676e4152be586a04725bc25a726b13"+
		"032167bb7a369cd5cb28841acb827537a1f51e667f97e99474d4ebba2e3b0108")
}

// The root label and the protocol label, against the bare Merlin calls.
func TestTranscriptLabels(t *testing.T) {
	m := NewTranscript()
	m.Protocol("auth-app")
	bare := merlin.NewTranscript("tapir-transcript")
	bare.AppendMessage("protocol", []byte("auth-app"))
	var want [64]byte
	bare.ExtractBytes(want[:], "c")
	if m.Commit("c") != want {
		t.Error("Protocol does not append under the label \"protocol\"")
	}
}

const (
	vectorClientHost = "rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5optfad"
	vectorServerHost = "5vesrrri2hbmn2xjam4jawmvmeuvsjz2lrr7snrwyfdbjlehg7iuvmyd"
	vectorClientAuth = `{"LongTermPublicKey":"iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=","EphemeralPublicKey":"gTl3Dqh9F19Wo1Rmw0x+zMuNipG07jeiXfYPW4/Js5Q="}`
	vectorServerAuth = `{"LongTermPublicKey":"7UkoxijRwsbq6QM4kFmVYSlZJzpcY/k2NsFGFKyHN9E=","EphemeralPublicKey":"ypOsFwUYcHHWe4PH/w7+gQjo7EUwV113JoeTM9vavnw="}`
	vectorSession    = "5d3eceb591cc4b074d1e0c34eea1897f13ed45f61f5830e0dcbf697119921ecc"
	vectorChallenge  = "3368fecdfa7f48e2788c72dcaed61d4714e2856fb2158eb88c1ff4a78935b62e56d4f109b466c39aedab0ea2f68f4bd75bfeaedb6dae78d0d518e720d905c36c"
)

// vectorHandshakes are both sides of the self-derived vector, after the exchange
// of their first messages.
func vectorHandshakes(t testing.TB) (client, server *handshake) {
	t.Helper()
	client = newHandshake(outbound, seedKey(1), seedKey(2))
	client.wantPeer = vectorServerHost
	server = newHandshake(inbound, seedKey(3), seedKey(4))
	if err := client.readMessage(server.ownMessage()); err != nil {
		t.Fatal(err)
	}
	if err := server.readMessage(client.ownMessage()); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestHandshakeVector(t *testing.T) {
	client, server := vectorHandshakes(t)
	if got := string(client.ownMessage()); got != vectorClientAuth {
		t.Errorf("auth message of the client is %s", got)
	}
	if got := string(server.ownMessage()); got != vectorServerAuth {
		t.Errorf("auth message of the server is %s", got)
	}
	for _, h := range []*handshake{client, server} {
		a, err := h.deriveAgreement()
		if err != nil {
			t.Fatal(err)
		}
		checkHex(t, "session key", a.session[:], vectorSession)
		clientProof, serverProof, peer := a.ownProof, a.peerProof, identity.Onion(vectorServerHost)
		if h.role == inbound {
			clientProof, serverProof, peer = a.peerProof, a.ownProof, vectorClientHost
		}
		checkHex(t, "challenge", clientProof[:64], vectorChallenge)
		checkHex(t, "challenge", serverProof[:64], vectorChallenge)
		if got := string(clientProof[64:]); got != vectorClientHost {
			t.Errorf("proof of the client names %s", got)
		}
		if got := string(serverProof[64:]); got != vectorServerHost {
			t.Errorf("proof of the server names %s", got)
		}
		if a.peer != peer {
			t.Errorf("peer is %s, want %s", a.peer, peer)
		}
	}
}

func TestDiffieHellmanVector(t *testing.T) {
	for _, v := range []struct {
		a, b byte
		want string
	}{
		{1, 4, "ae397cbe2b2cfbdb5db3c2cf74272f95c9b37b86f2e2cc958e7c976d879c1768"},
		{3, 2, "4d5f27f64f1c94fcca0e645500ec6a382b2ff9b83db4d341a4a0d3abf5461277"},
		{2, 4, "2969a667d97af7b552c20b952c21872167d50edee856f5413475e710f5d73919"},
	} {
		for _, pair := range [][2]byte{{v.a, v.b}, {v.b, v.a}} {
			got, err := diffieHellman(seedKey(pair[0]), seedKey(pair[1]).Public())
			if err != nil {
				t.Fatal(err)
			}
			checkHex(t, "shared secret", got, v.want)
		}
	}
}

func TestProofPacketVector(t *testing.T) {
	client, server := vectorHandshakes(t)
	a, err := client.deriveAgreement()
	if err != nil {
		t.Fatal(err)
	}
	var nonce [nonceSize]byte
	for i := range nonce {
		nonce[i] = byte(i)
	}
	var out, scratch packet
	out.putSealedWith(&a.session, &nonce, a.ownProof, &scratch)
	checkHex(t, "plain prefix", scratch[:2], "7800")
	sum := sha256.Sum256(out[:])
	checkHex(t, "SHA-256 of the packet", sum[:], "c48dc214ed03b3362af82d18449e95d900cf47424f3f36c785e7013aefe181e8")
	checkHex(t, "start of the box", out[24:48], "bf536a32805f3db32058172f05c5d6f9668a95682911b860")

	b, err := server.deriveAgreement()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := out.openSealed(&b.session, &scratch); err != nil || !bytes.Equal(got, b.peerProof) {
		t.Errorf("server opens the proof as %x, %v", got, err)
	}
}
