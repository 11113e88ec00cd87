package bundle

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// Two bundles and an invite that real servers and a real client made, from the
// sources of a public bot for Cwtch. The servers are not to be contacted.
const (
	bundleA = "server:eyJLZXlzIjp7ImJ1bGxldGluX2JvYXJkX29uaW9uIjoiaXNicjJ0NmJmbHVsMnp5aTZoanRudWV6YjJ4dmZyNDJzdnpqZzJxM2d5cWZnZzN3bW5yYmtrcWQiLCJwcml2YWN5X3Bhc3NfcHVibGljX2tleSI6Ik1JWC93L2VKeHQ4TTZMRW5TNnU1MStFQTVUNFVZY3VIZ3d6TElrYkhkeVk9IiwidG9rZW5fc2VydmljZV9vbmlvbiI6ImxpNTNxNmp1YWZ1NGF2cjdydHlsdG1zcTJ1anl5N3NjcnIzZnRua3JsaWNzeGV3Njd4cTY0c3lkIn0sIlNpZ25hdHVyZSI6IjIvTWw3T09HK2FYSFh2NTFkU2xJRHQxZjUxK1VUUmRTWnNFSHVxYlRqc3N4alZ5Qm1RUm1QU0xWSnZKUXBwS2cvZ1N0MzZrWVJKNXl1WWxEUDhzQ0NBPT0ifQ=="
	bundleB = "server:eyJLZXlzIjp7ImJ1bGxldGluX2JvYXJkX29uaW9uIjoidXIzM2VkYnd2YmV2Y2xzNXVlNmpwa291YmRwdGdrZ2w1YmVkemZ5YXUyaWJmNTI3Nmx5cDR1aWQiLCJwcml2YWN5X3Bhc3NfcHVibGljX2tleSI6Iml2UnNSOUNpMGdqWHhjTk5LSVVqOTdwQU1rdndhV1Vta25WMnlOU3lWQ2c9IiwidG9rZW5fc2VydmljZV9vbmlvbiI6ImN4ang1c3Izb3AyaTZoanJqc2Z6amJ1ZWZoaXlxM3RlbDV1bHhuYmoyNnZ0dm9ycGhsZW1zbGlkIn0sIlNpZ25hdHVyZSI6IktDckxGZ3QxZU1KYnptOS9wUWZxY1F5a3lBVU5hV1FKQnlTRTdIdXc5N2NZTHlXYmR0SGxSVWx4VG1hK3JMMVcybTNQOTRrVEszclFnZi9XUjhiTkRRPT0ifQ=="
	inviteA = "torv3eyJHcm91cElEIjoiOTQwYTc5OGI4MjY4YzI1Yjg0ZmMzYThlNWFhM2RiMzkiLCJHcm91cE5hbWUiOiJDd3RjaCBSZWxlYXNlIENhbmRpZGF0ZSBUZXN0ZXJzISIsIlNpZ25lZEdyb3VwSUQiOm51bGwsIlRpbWVzdGFtcCI6MCwiU2hhcmVkS2V5IjoiS3lmT2F6YzJuNUZyS1AzYzV5allheTZpVEN5TXhKQUhrT29YVWpSV3k4QT0iLCJTZXJ2ZXJIb3N0IjoiaXNicjJ0NmJmbHVsMnp5aTZoanRudWV6YjJ4dmZyNDJzdnpqZzJxM2d5cWZnZzN3bW5yYmtrcWQifQ=="

	signedA = `{"Keys":{"bulletin_board_onion":"isbr2t6bflul2zyi6hjtnuezb2xvfr42svzjg2q3gyqfgg3wmnrbkkqd","privacy_pass_public_key":"MIX/w/eJxt8M6LEnS6u51+EA5T4UYcuHgwzLIkbHdyY=","token_service_onion":"li53q6juafu4avr7rtyltmsq2ujyy7scrr3ftnkrlicsxew67xq64syd"},"Signature":null}`
)

// testServer returns a server with known keys and the public key of its tokens.
func testServer(t testing.TB) (*identity.Server, [32]byte) {
	t.Helper()
	s := &identity.Server{
		Board:  identity.KeyFromSeed([32]byte{1}),
		Token:  identity.KeyFromSeed([32]byte{2}),
		Scalar: [32]byte{3},
	}
	k, err := token.NewKey(s.Scalar)
	if err != nil {
		t.Fatal(err)
	}
	return s, k.Public()
}

func TestRealBundles(t *testing.T) {
	for name, text := range map[string]string{"A": bundleA, "B": bundleB} {
		b, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if b.String() != text {
			t.Errorf("%s: String\n got %s\nwant %s", name, b, text)
		}
	}
	a, err := Parse(bundleA)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(a.signedBytes()); got != signedA {
		t.Errorf("signed bytes\n got %s\nwant %s", got, signedA)
	}
	if a.Board != "isbr2t6bflul2zyi6hjtnuezb2xvfr42svzjg2q3gyqfgg3wmnrbkkqd" ||
		a.TokenService != "li53q6juafu4avr7rtyltmsq2ujyy7scrr3ftnkrlicsxew67xq64syd" ||
		base64.StdEncoding.EncodeToString(a.TokenKey[:]) != "MIX/w/eJxt8M6LEnS6u51+EA5T4UYcuHgwzLIkbHdyY=" {
		t.Errorf("wrong keys: %+v", a)
	}
}

func TestNewIsDeterministicAndParses(t *testing.T) {
	s, key := testServer(t)
	b := New(s, key)
	if err := b.Verify(); err != nil {
		t.Fatal(err)
	}
	if again := New(s, key); again.String() != b.String() {
		t.Error("the same keys made two bundles")
	}
	parsed, err := Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	if !parsed.SameKeys(b) || parsed.String() != b.String() {
		t.Errorf("got %+v, want %+v", parsed, b)
	}
	if got, want := len(b.String()), len(bundleA); got != want {
		t.Errorf("text has %d characters, real ones %d", got, want)
	}
}

func TestEveryCharacterCounts(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
	for i := range bundleA {
		for _, c := range []byte{bundleA[i] ^ 1, alphabet[i%len(alphabet)], '\n'} {
			if c == bundleA[i] {
				continue
			}
			tampered := bundleA[:i] + string(rune(c)) + bundleA[i+1:]
			if _, err := Parse(tampered); err == nil {
				t.Fatalf("character %d changed from %q to %q unnoticed", i, bundleA[i], c)
			}
		}
		if _, err := Parse(bundleA[:i]); err == nil {
			t.Fatalf("cut after %d characters unnoticed", i)
		}
	}
	for _, text := range []string{bundleA + "\n", bundleA + "=", bundleA + "AAAA", " " + bundleA} {
		if _, err := Parse(text); err == nil {
			t.Errorf("accepted %q", text)
		}
	}
}

// sign makes the text of a bundle over any JSON of keys, as a dishonest or
// broken server would.
func sign(k identity.Key, keys string) string {
	signature := ed25519.Sign(k.Private(), []byte(`{"Keys":`+keys+`,"Signature":null}`))
	return bundlePrefix + base64.StdEncoding.EncodeToString(
		fmt.Appendf(nil, `{"Keys":%s,"Signature":"%s"}`, keys, base64.StdEncoding.EncodeToString(signature)))
}

func TestSignedButUnusable(t *testing.T) {
	s, key := testServer(t)
	board, service := string(s.Board.Onion()), string(s.Token.Onion())
	keys := func(board string, key []byte, service string) string {
		return fmt.Sprintf(`{"bulletin_board_onion":"%s","privacy_pass_public_key":"%s","token_service_onion":"%s"}`,
			board, base64.StdEncoding.EncodeToString(key), service)
	}
	if _, err := Parse(sign(s.Board, keys(board, key[:], service))); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	notCanonical := [32]byte{31: 0x80}
	for name, json := range map[string]string{
		"no keys":               `{}`,
		"null":                  `null`,
		"board missing":         keys("", key[:], service),
		"token service missing": keys(board, key[:], ""),
		"token key missing":     keys(board, nil, service),
		"token key short":       keys(board, key[:31], service),
		"token key long":        keys(board, append(key[:], 0), service),
		"token key zero":        keys(board, make([]byte, 32), service),
		"token key not canonical": keys(board,
			notCanonical[:], service),
		"bad checksum":  keys(board, key[:], flipFirst(service)),
		"suffix":        keys(board, key[:], service+".onion"),
		"upper case":    keys(board, key[:], strings.ToUpper(service)),
		"another board": keys(service, key[:], service),
		"one key more":  strings.Replace(keys(board, key[:], service), `{`, `{"additional":"x",`, 1),
		"other order":   fmt.Sprintf(`{"token_service_onion":"%s","bulletin_board_onion":"%s","privacy_pass_public_key":"%s"}`, service, board, base64.StdEncoding.EncodeToString(key[:])),
		"key given twice": strings.Replace(keys(board, key[:], service), `{`,
			`{"bulletin_board_onion":"`+board+`",`, 1),
	} {
		if b, err := Parse(sign(s.Board, json)); err == nil {
			t.Errorf("%s: accepted %+v", name, b)
		}
	}
}

func flipFirst(onion string) string {
	if onion[0] == 'a' {
		return "b" + onion[1:]
	}
	return "a" + onion[1:]
}

func TestSignatureOfAnotherKey(t *testing.T) {
	s, key := testServer(t)
	b := New(s, key)
	b.Signature = ed25519.Sign(s.Token.Private(), b.signedBytes())
	if err := b.Verify(); !errors.Is(err, ErrSignature) {
		t.Errorf("Verify: %v", err)
	}
	if _, err := Parse(b.String()); !errors.Is(err, ErrSignature) {
		t.Errorf("Parse: %v", err)
	}
	b.Signature = nil
	if err := b.Verify(); !errors.Is(err, ErrSignature) {
		t.Errorf("Verify without one: %v", err)
	}
	if err := (Bundle{}).Verify(); err == nil {
		t.Error("the zero bundle verifies")
	}
}

func TestSameKeys(t *testing.T) {
	s, key := testServer(t)
	b := New(s, key)
	other := b
	other.Signature = nil
	if !b.SameKeys(other) {
		t.Error("the signature is not a key")
	}
	for name, change := range map[string]func(*Bundle){
		"board":         func(b *Bundle) { b.Board = b.TokenService },
		"token service": func(b *Bundle) { b.TokenService = b.Board },
		"token key":     func(b *Bundle) { b.TokenKey[0]++ },
	} {
		other := b
		change(&other)
		if b.SameKeys(other) {
			t.Errorf("%s: change unnoticed", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(bundleA)
	f.Add(bundleB)
	f.Add("server:")
	f.Add("server:bnVsbA==")
	f.Add(sign(identity.KeyFromSeed([32]byte{1}), `{}`))
	f.Fuzz(func(t *testing.T, text string) {
		b, err := Parse(text)
		if err != nil {
			return
		}
		if b.String() != text {
			t.Errorf("two texts for one bundle: %q and %q", text, b.String())
		}
		if _, err := Parse(b.String()); err != nil {
			t.Errorf("parsed once only: %v", err)
		}
	})
}
