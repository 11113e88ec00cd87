package peerlink

import (
	"encoding/binary"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// Proto is the version of the protocol between relays.
const Proto = 1

// MaxPlugin bounds the name of a plugin in a Hello.
const MaxPlugin = 64

// helloSize is the length of a HELLO without the bytes of its texts.
const helloSize = 2 + 1 + 1 + stateSize + 8 + 1 + 32

// Hello is the HELLO frame, the first one of each side. That both ends speak the same protocol
// and run the same plugin is checked by its reader, who can then say what differs.
type Hello struct {
	Proto   uint16
	Plugin  string // its name
	Version string // of the plugin
	State   peersync.State
	Unix    uint64 // the sender's clock, in seconds
	Takes   bool   // the sender stores what the receiver sends
	// Nonce is random. A side that receives its own one is connected with itself.
	Nonce [32]byte
}

func (f *Hello) appendPayload(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, f.Proto)
	b = append(append(b, byte(len(f.Plugin))), f.Plugin...)
	b = append(append(b, byte(len(f.Version))), f.Version...)
	b = appendState(b, f.State)
	b = binary.BigEndian.AppendUint64(b, f.Unix)
	b = append(b, flagByte(f.Takes))
	return append(b, f.Nonce[:]...)
}

func (d *decoder) decodeHello() *Hello {
	f := &Hello{Proto: d.takeUint16()}
	f.Plugin = d.takeText(1, MaxPlugin)
	f.Version = d.takeText(0, peersync.MaxVersion)
	f.State = d.decodeState()
	f.Unix = d.takeUint64()
	f.Takes = d.takeFlag()
	copy(f.Nonce[:], d.takeBytes(32))
	return f
}
