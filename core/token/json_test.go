package token

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

func testElements(n int) []element {
	elements := make([]element, n)
	for i := range elements {
		elements[i] = fill32(byte(i + 1))
	}
	return elements
}

func TestRequestJSON(t *testing.T) {
	ten := appendRequest(nil, testElements(10))
	if len(ten) != 531 {
		t.Errorf("request of 10 has %d bytes, want 531", len(ten))
	}
	one := `{"P":"` + encodeBase64(bytes.Repeat([]byte{1}, 32)) + `"}`
	for request, want := range map[string]int{
		string(ten): 10,
		string(appendRequest(nil, testElements(MaxBatch))):                    MaxBatch,
		" [ " + one + " , " + one + " ] ":                                     2,
		`[{"p":"` + encodeBase64(make([]byte, 32)) + `","x":[1,{"P":null}]}]`: 1,
		`[{}]`:         1, // the identity, refused when it is decoded as a point
		`[{"P":null}]`: 1,
		string(appendRequest(nil, testElements(MaxBatch+1))): -1,
		"[" + strings.Repeat("{},", 2500) + "{}]":            -1,
		"":                           -1,
		"null":                       -1,
		"[]":                         -1,
		"{}":                         -1,
		`"P"`:                        -1,
		"[" + one:                    -1,
		"[" + one + "]]":             -1,
		"[" + one + "][" + one + "]": -1,
		`[null,` + one + `,1]`:       -1,
		`[{"P":1}]`:                  -1,
		`[{"P":""}]`:                 -1,
		`[{"P":"AAAA"}]`:             -1,
		`[{"P":"` + encodeBase64(make([]byte, 31)) + `"}]`:    -1,
		`[{"P":"` + encodeBase64(make([]byte, 33)) + `"}]`:    -1,
		`[{"P":"` + strings.Repeat("!", 44) + `"}]`:           -1,
		strings.Repeat("[", 4000) + strings.Repeat("]", 4000): -1,
	} {
		blinded, err := decodeRequest([]byte(request))
		if want < 0 && err == nil {
			t.Errorf("accepted %.80s", request)
		}
		if want >= 0 && (err != nil || len(blinded) != want) {
			t.Errorf("%d tokens, %v from %.80s", len(blinded), err, request)
		}
	}
}

func TestReplyJSON(t *testing.T) {
	both := 0
	for n := 1; n <= MaxBatch; n++ {
		r := reply{signed: testElements(n), c: fill32(0xc), s: fill32(5)}
		text := r.encodeJSON()
		if len(text) > tapir.MaxPayload {
			t.Fatalf("reply of %d has %d bytes", n, len(text))
		}
		if cap(text) != tapir.MaxPayload && len(text) < 4000 {
			t.Errorf("reply of %d was moved", n)
		}
		if bytes.Contains(text, []byte("SignedTokens")) {
			both = n
		}
		checkReply(t, text, r)
	}
	if both != 74 {
		t.Errorf("both spellings up to %d tokens", both)
	}
}

func checkReply(t *testing.T, text []byte, want reply) {
	t.Helper()
	got, err := decodeReply(text)
	if err != nil || !slices.Equal(got.signed, want.signed) || got.c != want.c || got.s != want.s {
		t.Errorf("%v from %.80s", err, text)
	}
}

func TestEitherSpelling(t *testing.T) {
	r := reply{signed: testElements(3), c: fill32(0xc), s: fill32(5)}
	short := string(r.appendSpelling(nil, "st", "dp"))
	long := string(r.appendSpelling(nil, "SignedTokens", "Proof"))
	for _, text := range []string{
		"{" + short + "}", "{" + long + "}", "{" + short + "," + long + "}", "{" + long + "," + short + "}",
		"{" + string(r.appendSpelling(nil, "st", "Proof")) + "}",
		`{"st":null,"dp":null,` + long + "}", `{"other":{"st":1},` + short + "}",
	} {
		checkReply(t, []byte(text), r)
	}
	proof := fmt.Sprintf(`{"C":"%s","S":"%s"}`, encodeBase64(r.c[:]), encodeBase64(r.s[:]))
	for _, text := range []string{
		"", "{}", "null", "[]", `{"st":[],"dp":` + proof + `}`, `{"dp":` + proof + `}`,
		`{"st":[{"Q":"` + encodeBase64(r.c[:]) + `"}]}`,
		`{"st":[{"Q":"` + encodeBase64(r.c[:]) + `"}],"dp":null}`,
		`{"st":{},"dp":` + proof + `}`,
		`{"st":[` + strings.Repeat("{},", MaxBatch) + `{}],"dp":` + proof + `}`,
	} {
		if r, err := decodeReply([]byte(text)); err == nil {
			t.Errorf("%d tokens from %.80s", len(r.signed), text)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add(appendRequest(nil, vectorPurchase().blinded))
	f.Add(appendRequest(nil, testElements(MaxBatch+1)))
	f.Add([]byte(`[{"P":null},{}]`))
	k := vectorServiceKey(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		blinded, err := decodeRequest(payload)
		if err != nil {
			return
		}
		if len(blinded) == 0 || len(blinded) > MaxBatch {
			t.Fatalf("%d tokens", len(blinded))
		}
		again, err := decodeRequest(appendRequest(nil, blinded))
		if err != nil || !slices.Equal(again, blinded) {
			t.Fatalf("second decoding: %v", err)
		}
		if r, err := k.signBatch(vectorTranscript(t), blinded, uniformScalar(9)); err == nil {
			if _, err := r.verifyBatch(vectorTranscript(t), k.Public(), blinded); err != nil {
				t.Fatalf("signed, but %v", err)
			}
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	purchase, k := vectorPurchase(), vectorServiceKey(f)
	r, err := k.signBatch(vectorTranscript(f), purchase.blinded, uniformScalar(9))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.encodeJSON())
	f.Add(append(r.appendSpelling([]byte{'{'}, "SignedTokens", "Proof"), '}'))
	f.Add([]byte(`{"st":[{}],"dp":{}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := decodeReply(payload)
		if err != nil {
			return
		}
		if len(got.signed) == 0 || len(got.signed) > MaxBatch {
			t.Fatalf("%d tokens", len(got.signed))
		}
		again, err := decodeReply(got.encodeJSON())
		if err != nil || !slices.Equal(again.signed, got.signed) || again.c != got.c || again.s != got.s {
			t.Fatalf("second decoding: %v", err)
		}
		// There is one answer that a client takes.
		_, err = purchase.unblindTokens(vectorTranscript(t), k.Public(), got)
		same := slices.Equal(got.signed, r.signed) && got.c == r.c && got.s == r.s
		if same != (err == nil) {
			t.Fatalf("the honest reply: %v, error: %v", same, err)
		}
	})
}
