package mesh

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// sampleMessages has each type, with small and large fields.
func sampleMessages() []message {
	window := storage.Range{Lo: storage.Key{Born: 480_000, ID: storage.ID{1, 0, 2}}, Hi: storage.Key{Born: 480_000, ID: storage.ID{31: 1}}}
	window.Lo, window.Hi = window.Hi, storage.Key{Born: 480_001}
	return []message{
		{kind: typeAsk},
		{kind: typeCompare, repair: 1, perPart: 6250, payload: []byte{0x61}},
		{kind: typeCompare, repair: 1 << 40, in: storage.Range{Lo: storage.Key{Born: 1}, Hi: storage.Key{Born: 1<<32 - 1}}, payload: make([]byte, maxCompare)},
		{kind: typeDiffer},
		{kind: typeDiffer, repair: 300, sessions: maxWindows, flag: true, copies: []storage.Range{{}, window}},
		{kind: typeSession, repair: 2, in: window, payload: make([]byte, negentropy.MaxMessage)},
		{kind: typeAnswer, repair: 2, in: window},
		{kind: typeAnswer, repair: 2, payload: []byte{0x61}},
		{kind: typeCopied, repair: 7},
		{kind: typeDone, repair: 7, flag: true},
		{kind: typeOffer, ids: []storage.ID{{1}, {2}}},
		{kind: typeOffer, ids: make([]storage.ID, peersync.MaxIDs)},
	}
}

func TestMessagesSurviveTheirEncoding(t *testing.T) {
	for _, m := range sampleMessages() {
		data := m.encode()
		got, err := decodeMessage(data)
		if err != nil || !bytes.Equal(got.encode(), data) {
			t.Errorf("type %d: %v, decoded as %+.200v", m.kind, err, got)
		}
		if len(data) > peersync.MaxMessage {
			t.Errorf("type %d has %d bytes", m.kind, len(data))
		}
		if got.repair != m.repair || got.in != m.in || got.perPart != m.perPart || got.sessions != m.sessions || got.flag != m.flag ||
			!slices.Equal(got.copies, m.copies) || !slices.Equal(got.ids, m.ids) || !bytes.Equal(got.payload, m.payload) {
			t.Errorf("type %d is decoded with other fields", m.kind)
		}
	}
}

// TestMessagesHaveOneEncoding cuts messages, and gives them other forms of the same fields.
func TestMessagesHaveOneEncoding(t *testing.T) {
	for name, data := range map[string]string{
		"nothing":                "",
		"no type":                "\x01",
		"ask with more":          "\x01\x01\x00",
		"long number":            "\x01\x06\x87\x00",
		"endless number":         "\x01\x06" + strings.Repeat("\xff", 11),
		"hour beyond 32 bits":    "\x01\x02\x01\x80\x80\x80\x80\x10\x00\x00\x61",
		"compare without ranges": "\x01\x02\x01\x00\x00\x00",
		"long comparison":        "\x01\x02\x01\x00\x00\x00" + strings.Repeat("a", maxCompare+1),
		"too many sessions":      "\x01\x03\x01\x81\x08\x00\x00",
		"flag of 2":              "\x01\x07\x01\x02",
		"ranges that are absent": "\x01\x03\x01\x00\x00\x05\x00\x00\x00\x00",
		"empty window":           "\x01\x05\x01\x05\x00\x05\x00a",
		"window going backwards": "\x01\x05\x01\x05\x00\x04\x00a",
		"prefix with a zero":     "\x01\x05\x01\x05\x01\x00\x06\x00a",
		"prefix of 33 bytes":     "\x01\x05\x01\x05\x21" + strings.Repeat("a", 40),
		"prefix that is absent":  "\x01\x05\x01\x05\x20a",
		"session without a word": "\x01\x04\x01\x05\x00\x06\x00",
		"offer of nothing":       "\x01\x08",
		"half an id":             "\x01\x08" + strings.Repeat("a", 48),
		"too many ids":           "\x01\x08" + strings.Repeat("a", 32*(peersync.MaxIDs+1)),
	} {
		if m, err := decodeMessage([]byte(data)); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v, %+.100v", name, err, m)
		}
	}
	if _, err := decodeMessage([]byte{2, 1}); !errors.Is(err, errVersion) {
		t.Errorf("version 2: %v", err)
	}
	for _, kind := range []byte{0, byte(typeOffer) + 1, 255} {
		if _, err := decodeMessage([]byte{version, kind, 1, 2, 3}); !errors.Is(err, errUnknown) {
			t.Errorf("type %d: %v", kind, err)
		}
	}
}

// FuzzMessage: what is accepted has one encoding, and decoding takes no more memory than a few
// times the message.
func FuzzMessage(f *testing.F) {
	for _, m := range sampleMessages() {
		if data := m.encode(); len(data) < 1<<12 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMessage(data)
		if err != nil {
			return
		}
		if again := m.encode(); !bytes.Equal(again, data) {
			t.Fatalf("%x is also encoded as %x", data, again)
		}
		if size := 72*cap(m.copies) + 32*cap(m.ids); size > 72+18*len(data) {
			t.Fatalf("%d bytes take %d bytes in memory", len(data), size)
		}
	})
}
