package tapir

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
	"pgregory.net/rapid"
)

func TestSizes(t *testing.T) {
	if PacketSize != 8192 || MaxPayload != 8150 || maxClearPayload != 8189 || MaxBurst*PacketSize != 64<<10 {
		t.Errorf("PacketSize %d, MaxPayload %d, maxClearPayload %d, a burst %d",
			PacketSize, MaxPayload, maxClearPayload, MaxBurst*PacketSize)
	}
}

func TestLengthEncoding(t *testing.T) {
	for n, want := range map[int]string{1: "0100", 120: "7800", 127: "7f00", 128: "8001", 136: "8801", 300: "ac02", 8150: "d63f"} {
		for name, put := range map[string]func([]byte, int){"clear": putClearLength, "sealed": putSealedLength} {
			got := []byte{0xff, 0xff}
			put(got, n)
			if hex.EncodeToString(got) != want {
				t.Errorf("%s length %d is %x, want %s", name, n, got, want)
			}
		}
	}
}

func drawPayload(t *rapid.T) []byte {
	n := rapid.OneOf(rapid.IntRange(1, MaxPayload), rapid.SampledFrom([]int{1, 127, 128, MaxPayload})).Draw(t, "length")
	return bytes.Repeat([]byte{rapid.ByteRange(1, 255).Draw(t, "byte")}, n)
}

func TestClearPacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payload := drawPayload(t)
		p := packet(bytes.Repeat([]byte{0xee}, PacketSize)) // dirty, as from the pool
		p.putClear(payload)
		got, err := p.openClear()
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("comes back with %d bytes, %v", len(got), err)
		}
		if rest := p[lengthSize+len(payload):]; !bytes.Equal(rest, make([]byte, len(rest))) {
			t.Fatal("padding is not zero")
		}
	})
}

func TestSealedPacket(t *testing.T) {
	key := sessionKey{1, 2, 3}
	rapid.Check(t, func(t *rapid.T) {
		payload := drawPayload(t)
		var p packet
		scratch := packet(bytes.Repeat([]byte{0xee}, PacketSize))
		p.putSealed(&key, payload, &scratch)

		plain, ok := secretbox.Open(nil, p[24:], (*[24]byte)(p[:24]), (*[32]byte)(&key))
		if !ok || len(plain) != 8152 {
			t.Fatalf("secretbox opens %d bytes, %v", len(plain), ok)
		}
		if rest := plain[lengthSize+len(payload):]; !bytes.Equal(rest, make([]byte, len(rest))) {
			t.Fatal("padding is not zero")
		}
		got, err := p.openSealed(&key, &scratch)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("comes back with %d bytes, %v", len(got), err)
		}
		bit := rapid.IntRange(0, PacketSize*8-1).Draw(t, "bit")
		p[bit/8] ^= 1 << (bit % 8)
		if _, err := p.openSealed(&key, &scratch); err == nil {
			t.Fatalf("opens although bit %d is wrong", bit)
		}
	})
}

func TestNoncesDiffer(t *testing.T) {
	var a, b, scratch packet
	a.putSealed(&sessionKey{}, []byte("m"), &scratch)
	b.putSealed(&sessionKey{}, []byte("m"), &scratch)
	if a == b || bytes.Equal(a[:nonceSize], b[:nonceSize]) {
		t.Error("two packets have the same nonce")
	}
}

// sealPlain seals a plain text as it is, also one that no honest peer sends.
func sealPlain(key *sessionKey, plain []byte) *packet {
	var nonce [nonceSize]byte
	rand.Read(nonce[:])
	return (*packet)(secretbox.Seal(nonce[:], plain[:sealedPlainSize], &nonce, (*[32]byte)(key)))
}

func TestReceivedLengths(t *testing.T) {
	var key sessionKey
	for _, tc := range []struct {
		prefix        string
		clear, sealed int // length of the payload, -1: refused
	}{
		{prefix: "0000", clear: 0, sealed: 0},
		{prefix: "0100", clear: 1, sealed: 1},
		{prefix: "8100", clear: 1, sealed: 1}, // not minimal, upstream takes it
		{prefix: "d63f", clear: 8150, sealed: 8150},
		{prefix: "d73f", clear: 8151, sealed: -1},
		{prefix: "fd3f", clear: 8189, sealed: -1},
		{prefix: "fe3f", clear: -1, sealed: -1},
		{prefix: "ff7f", clear: -1, sealed: -1},
		{prefix: "8080", clear: -1, sealed: -1}, // does not end
		{prefix: "ffff", clear: -1, sealed: -1},
	} {
		prefix, err := hex.DecodeString(tc.prefix)
		checkError(t, err)
		p := packet(bytes.Repeat([]byte{0xaa}, PacketSize)) // padding need not be zero
		copy(p[:], prefix)
		length := func(payload []byte, err error) int {
			if err != nil {
				return -1
			}
			return len(payload)
		}
		if got := length(p.openClear()); got != tc.clear {
			t.Errorf("clear %s has length %d, want %d", tc.prefix, got, tc.clear)
		}
		if got := length(sealPlain(&key, p[:]).openSealed(&key, new(packet))); got != tc.sealed {
			t.Errorf("sealed %s has length %d, want %d", tc.prefix, got, tc.sealed)
		}
	}
}

func FuzzClearPacket(f *testing.F) {
	f.Add([]byte{0x78, 0})
	f.Add([]byte{0xd6, 0x3f, 1})
	f.Add([]byte{0x80, 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		var p, again packet
		copy(p[:], data)
		payload, err := p.openClear()
		if err != nil || len(payload) == 0 || len(payload) > MaxPayload {
			return
		}
		again.putClear(payload)
		if got, err := again.openClear(); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes do not come back: %v", len(payload), err)
		}
	})
}

// FuzzSealedPacket feeds the bytes both as a packet, which must not open, and as
// the plain text of one, which an authenticated but hostile peer can choose.
func FuzzSealedPacket(f *testing.F) {
	f.Add([]byte{0x78, 0})
	f.Add([]byte{0xd6, 0x3f, 1})
	f.Add([]byte{0xd7, 0x3f, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		key := sessionKey{7}
		var p, scratch, again packet
		copy(p[:], data)
		if _, err := p.openSealed(&key, &scratch); err == nil {
			t.Error("a forged packet opens")
		}
		payload, err := sealPlain(&key, p[:]).openSealed(&key, &scratch)
		if err != nil || len(payload) == 0 {
			return
		}
		payload = bytes.Clone(payload)
		again.putSealed(&key, payload, &scratch)
		if got, err := again.openSealed(&key, &scratch); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes do not come back: %v", len(payload), err)
		}
	})
}
