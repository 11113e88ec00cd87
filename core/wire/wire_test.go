package wire

import (
	"bytes"
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// The forms in the protocol notes, in both directions.
const (
	vectorPost   = `{"MessageType":2,"PostRequest":{"Token":{"T":"ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICA=","MAC":"/BVJ3QC8HcxsDO7MBAEdX6Ebj09jgraFZ00GbjDJoy5tXJdW5SOhqMqWxtgfbvO//dYJAZpkShDP6/uzZeQLJQ=="},"EGM":{"Ciphertext":"Y2lwaGVydGV4dA==","Signature":"c2lnbmF0dXJl"}}}`
	vectorReplay = `{"MessageType":0,"ReplayRequest":{"LastCommit":null}}`
	vectorResult = `{"MessageType":1,"ReplayResult":{"NumMessages":2}}`
	vectorPosted = `{"MessageType":3,"PostResult":{"Success":true}}`
	vectorNew    = `{"MessageType":4,"NewMessage":{"EGM":{"Ciphertext":"Y2lwaGVydGV4dA==","Signature":"c2lnbmF0dXJl"}}}`
)

var vectorEnvelope = Envelope{Ciphertext: []byte("ciphertext"), Signature: []byte("signature")}

func TestRequestsMatchVectors(t *testing.T) {
	for _, v := range []string{vectorPost, vectorReplay} {
		r, err := DecodeRequest([]byte(v))
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendRequest(nil, r); string(got) != v {
			t.Errorf("request re-encodes as\n%s, want\n%s", got, v)
		}
	}
}

func TestRepliesMatchVectors(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{string(AppendCount(nil, 2)), vectorResult},
		{string(AppendPosted(nil, true)), vectorPosted},
		{string(AppendNew(nil, vectorEnvelope.AppendJSON(nil))), vectorNew},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	if n := len(vectorNew) - len(vectorEnvelope.AppendJSON(nil)); n != NewOverhead {
		t.Errorf("an announcement adds %d bytes, NewOverhead says %d", n, NewOverhead)
	}
}

func TestDecodeReply(t *testing.T) {
	for _, c := range []struct {
		in   string
		want func(Reply) bool
	}{
		{vectorResult, func(r Reply) bool { return r.Count != nil && *r.Count == 2 }},
		{vectorPosted, func(r Reply) bool { return r.Posted != nil && *r.Posted }},
		{vectorNew, func(r Reply) bool { return r.New != nil && string(r.New.Signature) == "signature" }},
		{string(vectorEnvelope.AppendJSON(nil)), func(r Reply) bool {
			return r.Replay != nil && string(r.Replay.Ciphertext) == "ciphertext"
		}},
		{`{"MessageType":99}`, func(r Reply) bool { return r == Reply{} }},
	} {
		r, err := DecodeReply([]byte(c.in))
		if err != nil || !c.want(r) {
			t.Errorf("DecodeReply(%s) = %+v, %v", c.in, r, err)
		}
	}
}

// TestOddRequests shows which unusual requests are decoded, ignored or refused.
func TestOddRequests(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string // "close", "ignore", "post", "replay"
	}{
		{``, "close"},
		{`{`, "close"},
		{`[]`, "close"},
		{`{}`, "close"}, // type 0 without its object
		{`{"MessageType":0}`, "close"},
		{`{"MessageType":0,"PostRequest":{}}`, "close"},
		{`{"MessageType":2}`, "close"},
		{`{"MessageType":2,"ReplayRequest":{}}`, "close"},
		{`{"MessageType":"2","PostRequest":{}}`, "close"},
		{`{"MessageType":0,"ReplayRequest":{"LastCommit":"?"}}`, "close"},
		{`{"MessageType":2,"PostRequest":{"Token":{"T":"?"}}}`, "close"},
		{`{"MessageType":1,"ReplayResult":{"NumMessages":3}}`, "ignore"},
		{`{"MessageType":3,"PostResult":{"Success":true}}`, "ignore"},
		{`{"MessageType":4,"NewMessage":{}}`, "ignore"},
		{`{"MessageType":77}`, "ignore"},
		{`{"MessageType":2,"PostRequest":{"Token":{"T":null,"MAC":null}}}`, "post"},
		{`{"MessageType":0,"ReplayRequest":{"LastCommit":""}}`, "replay"},
		{`{"MessageType":0,"ReplayRequest":{}}`, "replay"},
	} {
		r, err := DecodeRequest([]byte(c.in))
		got := "ignore"
		switch {
		case err != nil:
			got = "close"
		case r.Post != nil:
			got = "post"
		case r.Replay != nil:
			got = "replay"
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.in, got, c.want)
		}
	}
}

// TestEnvelopeIsWhatGoMarshals compares the JSON of an envelope with the output of
// encoding/json. Clients use it to compute the bytes that a token is bound to.
func TestEnvelopeIsWhatGoMarshals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Envelope{
			Ciphertext: rapid.SliceOf(rapid.Byte()).Draw(t, "ciphertext"),
			Signature:  rapid.SliceOf(rapid.Byte()).Draw(t, "signature"),
		}
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got := e.AppendJSON(nil)
		if !bytes.Equal(got, want) {
			t.Fatalf("got %s, want %s", got, want)
		}
		if e.Ciphertext != nil && e.Signature != nil && len(got) != EnvelopeSize(len(e.Ciphertext), len(e.Signature)) {
			t.Fatalf("EnvelopeSize is wrong for %d and %d", len(e.Ciphertext), len(e.Signature))
		}
		r, err := DecodeReply(got)
		if err != nil || r.Replay == nil || !bytes.Equal(r.Replay.Ciphertext, e.Ciphertext) {
			t.Fatalf("does not decode: %+v, %v", r, err)
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(vectorPost))
	f.Add([]byte(vectorReplay))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err == nil && (r.Post != nil || r.Replay != nil) {
			again, err := DecodeRequest(AppendRequest(nil, r))
			if err != nil || (again.Post == nil) != (r.Post == nil) {
				t.Fatalf("does not survive a round trip: %v", err)
			}
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	for _, v := range []string{vectorResult, vectorPosted, vectorNew, `{"Ciphertext":"","Signature":null}`} {
		f.Add([]byte(v))
	}
	f.Fuzz(func(_ *testing.T, b []byte) { DecodeReply(b) })
}

func BenchmarkDecodePost(b *testing.B) {
	p := AppendRequest(nil, Request{Post: &Post{
		Token: Token{T: make([]byte, 32), MAC: make([]byte, 64)},
		EGM:   Envelope{Ciphertext: make([]byte, 3000), Signature: make([]byte, 64)},
	}})
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := DecodeRequest(p); err != nil {
			b.Fatal(err)
		}
	}
}
