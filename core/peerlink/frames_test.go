package peerlink

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// sample is a frame with a name in the golden vectors.
type sample struct {
	name  string
	frame Frame
}

func samples() []sample {
	id := func(b byte) (id storage.ID) {
		for i := range id {
			id[i] = b
		}
		return id
	}
	state := peersync.State{Epoch: storage.Epoch{1, 2, 3}, First: 4, Last: 500, Count: 490, Floor: 480_000}
	return []sample{
		{"HELLO", &Hello{Proto: 1, Plugin: "mesh", Version: "1.2.3", State: state, Unix: 1_800_000_000, Takes: true, Nonce: [32]byte{7}}},
		{"HELLO without texts", &Hello{Proto: 2, Plugin: "x"}},
		{"STATE", &State{state}},
		{"CREDIT", &Credit{Envelopes, 262144}},
		{"PING", &Ping{[8]byte{1, 2, 3, 4, 5, 6, 7, 8}}},
		{"PONG", &Pong{[8]byte{1, 2, 3, 4, 5, 6, 7, 8}}},
		{"MESSAGE", &Message{Data: []byte("message of a plugin")}},
		{"OFFER", &Offer{[]Offered{{storage.Key{Born: 480_001, ID: id(1)}, 4096}, {storage.Key{Born: 480_002, ID: id(2)}, 0}}}},
		{"WANT requested", &Want{false, []storage.ID{id(1), id(2)}}},
		{"WANT offered", &Want{true, []storage.ID{id(3)}}},
		{"BODY pushed", &Body{Pushed, 480_001, []byte("signature"), []byte("ciphertext")}},
		{"BODY requested", &Body{Requested, 480_001, []byte{}, []byte("ciphertext")}},
		{"BODY offered", &Body{FromOffer, 480_001, []byte("signature"), []byte{}}},
		{"GONE", &Gone{[]storage.ID{id(4)}}},
		{"TAKEN", &Taken{0, []peersync.Outcome{{ID: id(1), Status: peersync.Stored}, {ID: id(2), Status: peersync.Known}}}},
		{"TAKEN over quota", &Taken{60, []peersync.Outcome{{ID: id(1), Status: peersync.OverQuota}}}},
		{"ERR", &Err{CodeDropped, 3600}},
	}
}

const golden = "testdata/frames.txt"

func TestFramesMatchGoldenVectors(t *testing.T) {
	var text strings.Builder
	for _, s := range samples() {
		fmt.Fprintf(&text, "%s\n%x\n", s.name, AppendFrame(nil, s.frame))
	}
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("the frames are\n%s\nwant\n%s", text.String(), want)
	}
}

func TestFramesSurviveTheWire(t *testing.T) {
	var stream []byte
	for _, s := range samples() {
		stream = AppendFrame(stream, s.frame)
	}
	r := iotest.OneByteReader(bytes.NewReader(stream))
	for _, s := range samples() {
		got, err := ReadFrame(r)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", s.frame) {
			t.Errorf("%s: got %+v, want %+v", s.name, got, s.frame)
		}
	}
	if _, err := ReadFrame(r); err != io.EOF {
		t.Errorf("after the last frame: %v", err)
	}
}

func TestFramesAtTheirLimits(t *testing.T) {
	ids := make([]storage.ID, MaxIDs)
	for _, f := range []Frame{
		&Hello{Proto: 1, Plugin: strings.Repeat("p", MaxPlugin), Version: strings.Repeat("v", peersync.MaxVersion)},
		&Message{More: true, Data: make([]byte, MaxFragment)},
		&Offer{make([]Offered, MaxIDs)}, &Want{IDs: ids}, &Gone{IDs: ids},
		&Taken{Outcomes: repeat(peersync.Outcome{Status: peersync.Lost}, MaxIDs)},
		&Body{Ciphertext: make([]byte, storage.MaxEnvelope)}, &Body{Signature: make([]byte, storage.MaxEnvelope)}, &Body{},
	} {
		b := AppendFrame(nil, f)
		if len(b) > HeaderSize+MaxPayload {
			t.Errorf("%T has %d bytes", f, len(b))
		}
		if _, err := ReadFrame(bytes.NewReader(b)); err != nil {
			t.Errorf("%T at its limit: %v", f, err)
		}
	}
}

func repeat(o peersync.Outcome, n int) []peersync.Outcome {
	all := make([]peersync.Outcome, n)
	for i := range all {
		all[i] = o
	}
	return all
}

func TestWrongFramesAreRefused(t *testing.T) {
	hello := &Hello{Proto: 1, Plugin: "mesh", Version: "1"}
	patched := func(f Frame, at int, to byte) []byte {
		b := AppendFrame(nil, f)
		b[HeaderSize+at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"unknown type":               {0x7F, 0, 0, 1, 0},
		"type 0":                     {0, 0, 0, 1, 0},
		"empty payload":              {0x04, 0, 0, 0},
		"long payload":               AppendFrame(nil, &Gone{make([]storage.ID, MaxIDs+1)}),
		"long fragment":              AppendFrame(nil, &Message{Data: make([]byte, MaxFragment+1)}),
		"short fragment with more":   AppendFrame(nil, &Message{More: true, Data: []byte("x")}),
		"empty message":              AppendFrame(nil, &Message{}),
		"flag 2":                     patched(&Message{Data: []byte("x")}, 0, 2),
		"channel 0":                  AppendFrame(nil, &Credit{0, 1}),
		"channel 3":                  AppendFrame(nil, &Credit{3, 1}),
		"no credit":                  AppendFrame(nil, &Credit{Messages, 0}),
		"empty offer":                AppendFrame(nil, &Offer{}),
		"empty want":                 AppendFrame(nil, &Want{}),
		"empty taken":                AppendFrame(nil, &Taken{}),
		"want of kind 2":             patched(&Want{IDs: make([]storage.ID, 1)}, 0, 2),
		"offer of a long envelope":   AppendFrame(nil, &Offer{[]Offered{{Size: storage.MaxEnvelope + 1}}}),
		"half an id":                 append([]byte{0x23, 0, 0, 48}, make([]byte, 48)...),
		"body of kind 3":             AppendFrame(nil, &Body{Kind: 3}),
		"long envelope":              AppendFrame(nil, &Body{Ciphertext: make([]byte, storage.MaxEnvelope+1)}),
		"signature beyond the body":  patched(&Body{Signature: []byte("abc")}, 6, 4),
		"taken with status 0":        AppendFrame(nil, &Taken{Outcomes: make([]peersync.Outcome, 1)}),
		"taken under way":            AppendFrame(nil, &Taken{Outcomes: []peersync.Outcome{{Status: peersync.UnderWay}}}),
		"taken gone":                 AppendFrame(nil, &Taken{Outcomes: []peersync.Outcome{{Status: peersync.Gone}}}),
		"retry without over quota":   AppendFrame(nil, &Taken{RetryAfter: 1, Outcomes: []peersync.Outcome{{Status: peersync.Stored}}}),
		"hello without a plugin":     AppendFrame(nil, &Hello{Version: "1"}),
		"hello with a control byte":  AppendFrame(nil, &Hello{Plugin: "me\nsh"}),
		"hello that is no UTF-8":     AppendFrame(nil, &Hello{Plugin: "mesh", Version: "\xff"}),
		"hello with a long version":  AppendFrame(nil, &Hello{Plugin: "m", Version: strings.Repeat("v", 129)}),
		"hello with a wrong length":  patched(hello, 2, 5),
		"hello with flags":           patched(hello, len(AppendFrame(nil, hello))-HeaderSize-33, 2),
		"hello with a byte too many": append([]byte{0x01, 0, 0, byte(len(AppendFrame(nil, hello)) - HeaderSize + 1)}, append(AppendFrame(nil, hello)[HeaderSize:], 0)...),
		"hello with a byte too few":  append([]byte{0x01, 0, 0, byte(len(AppendFrame(nil, hello)) - HeaderSize - 1)}, AppendFrame(nil, hello)[HeaderSize:len(AppendFrame(nil, hello))-1]...),
		"state with a byte too many": append([]byte{0x02, 0, 0, stateSize + 1}, make([]byte, stateSize+1)...),
		"hello with a text of 255":   patched(hello, 2, 255),
	} {
		if f, err := ReadFrame(bytes.NewReader(b)); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
}

func TestCutFramesAreUnexpectedEnds(t *testing.T) {
	b := AppendFrame(nil, &Offer{make([]Offered, MaxIDs)})
	for _, n := range []int{1, 3, 4, 5, 20_000, len(b) - 1} {
		if _, err := ReadFrame(bytes.NewReader(b[:n])); err != io.ErrUnexpectedEOF {
			t.Errorf("after %d of %d bytes: %v", n, len(b), err)
		}
	}
}

// A header that promises much costs what comes, and not what it promises.
func TestReadingAllocatesWhatComes(t *testing.T) {
	for _, n := range []int{0, 100, 20_000} {
		b := append([]byte{0x20, 0, 0xA0, 0}, make([]byte, n)...) // 40960 bytes, the longest OFFER
		const rounds = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			ReadFrame(bytes.NewReader(b))
		}
		runtime.ReadMemStats(&after)
		if got, limit := int(after.TotalAlloc-before.TotalAlloc)/rounds, 20_000+3*n; got > limit {
			t.Errorf("%d bytes of a frame cost %d bytes of memory, want at most %d", n, got, limit)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for _, s := range samples() {
		f.Add(AppendFrame(nil, s.frame))
	}
	f.Add(AppendFrame(nil, &Message{More: true, Data: make([]byte, MaxFragment)}))
	f.Add([]byte{0x20, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		frame, err := ReadFrame(r)
		if err != nil {
			return
		}
		read := data[:len(data)-r.Len()]
		if again := AppendFrame(nil, frame); !bytes.Equal(again, read) {
			t.Fatalf("%s is read as %+v and written as %s", hex.EncodeToString(read), frame, hex.EncodeToString(again))
		}
	})
}
