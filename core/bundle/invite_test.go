package bundle

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

func TestRealInvite(t *testing.T) {
	i, err := ParseInvite(inviteA)
	if err != nil {
		t.Fatal(err)
	}
	if i.String() != inviteA {
		t.Errorf("String\n got %s\nwant %s", i.String(), inviteA)
	}
	if got := hex.EncodeToString(i.GroupID[:]); got != "940a798b8268c25b84fc3a8e5aa3db39" {
		t.Errorf("group id %s", got)
	}
	if got := base64.StdEncoding.EncodeToString(i.SharedKey[:]); got != "KyfOazc2n5FrKP3c5yjYay6iTCyMxJAHkOoXUjRWy8A=" {
		t.Errorf("shared key %s", got)
	}
	if i.GroupName != "Cwtch Release Candidate Testers!" || i.Server != "isbr2t6bflul2zyi6hjtnuezb2xvfr42svzjg2q3gyqfgg3wmnrbkkqd" {
		t.Errorf("name %q, server %q", i.GroupName, i.Server)
	}
	if GroupID(i.SharedKey, i.Server) != i.GroupID {
		t.Error("GroupID disagrees with the invite")
	}

	b, again, err := ParseTOFU("tofubundle:" + bundleA + "||" + inviteA)
	if err != nil {
		t.Fatal(err)
	}
	if again != i || b.String() != bundleA || TOFU(b, i) != "tofubundle:"+bundleA+"||"+inviteA {
		t.Error("the two in one differ from each alone")
	}
}

// inviteText makes an invite of any JSON.
func inviteText(t testing.TB, change func(*inviteJSON)) string {
	t.Helper()
	i, err := ParseInvite(inviteA)
	if err != nil {
		t.Fatal(err)
	}
	in := inviteJSON{
		GroupID: hex.EncodeToString(i.GroupID[:]), GroupName: i.GroupName,
		SharedKey: i.SharedKey[:], ServerHost: string(i.Server),
	}
	change(&in)
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return invitePrefix + base64.StdEncoding.EncodeToString(text)
}

func TestBadInvites(t *testing.T) {
	s, _ := testServer(t)
	for name, text := range map[string]string{
		"empty":      "",
		"no prefix":  strings.TrimPrefix(inviteA, "torv3"),
		"not base64": "torv3!",
		"not JSON":   "torv3AAAA",
		"too long":   "torv3" + strings.Repeat("A", maxInviteText),
		"other group id": inviteText(t, func(i *inviteJSON) {
			i.GroupID = strings.Repeat("0", 32)
		}),
		"short group id":  inviteText(t, func(i *inviteJSON) { i.GroupID = i.GroupID[:30] }),
		"no group id":     inviteText(t, func(i *inviteJSON) { i.GroupID = "" }),
		"group id no hex": inviteText(t, func(i *inviteJSON) { i.GroupID = strings.Repeat("x", 32) }),
		"other key":       inviteText(t, func(i *inviteJSON) { i.SharedKey[5] ^= 1 }),
		"short key":       inviteText(t, func(i *inviteJSON) { i.SharedKey = i.SharedKey[:31] }),
		"no key":          inviteText(t, func(i *inviteJSON) { i.SharedKey = nil }),
		"other server":    inviteText(t, func(i *inviteJSON) { i.ServerHost = string(s.Board.Onion()) }),
		"bad server":      inviteText(t, func(i *inviteJSON) { i.ServerHost = i.ServerHost[1:] + "d" }),
		"no server":       inviteText(t, func(i *inviteJSON) { i.ServerHost = "" }),
		"long name":       inviteText(t, func(i *inviteJSON) { i.GroupName = strings.Repeat("n", MaxGroupName+1) }),
	} {
		if _, err := ParseInvite(text); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "KyfO") {
			t.Errorf("%s: error tells the key", name)
		}
	}
	// Fields that Cwtch used once and another spelling do not matter.
	old := inviteText(t, func(i *inviteJSON) { i.SignedGroupID, i.Timestamp = []byte("old"), 1600000000 })
	if i, err := ParseInvite(old); err != nil || i.String() != inviteA {
		t.Errorf("old fields: %v", err)
	}
}

func TestBadTOFU(t *testing.T) {
	for name, text := range map[string]string{
		"empty":            "",
		"no prefix":        bundleA + "||" + inviteA,
		"no invite":        "tofubundle:" + bundleA,
		"empty invite":     "tofubundle:" + bundleA + "||",
		"no bundle":        "tofubundle:||" + inviteA,
		"one bar":          "tofubundle:" + bundleA + "|" + inviteA,
		"three bars":       "tofubundle:" + bundleA + "|||" + inviteA,
		"swapped":          "tofubundle:" + inviteA + "||" + bundleA,
		"a third":          "tofubundle:" + bundleA + "||" + inviteA + "||" + inviteA,
		"another server":   "tofubundle:" + bundleB + "||" + inviteA,
		"not the bundle's": "tofubundle:" + bundleA + "x||" + inviteA,
	} {
		if _, _, err := ParseTOFU(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, err := ParseTOFU("tofubundle:" + bundleB + "||" + inviteA); !errors.Is(err, ErrOtherServer) {
		t.Errorf("another server: %v", err)
	}
}

func TestInviteIsASecret(t *testing.T) {
	i, err := ParseInvite(inviteA)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("invite", "i", i)
	slog.New(slog.NewTextHandler(&log, nil)).Info("invite", "i", i)
	for _, text := range []string{
		fmt.Sprint(i), fmt.Sprintf("%v %+v %#v %s %q %x %d", i, i, i, i, i, i, i), fmt.Sprintf("%v", &i), log.String(),
	} {
		if !strings.Contains(text, "[secret]") || strings.Contains(text, "Testers") {
			t.Errorf("printed %s", text)
		}
	}
}

func TestInviteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(-1, -1, MaxGroupName).Draw(t, "name")
		key := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		server := identity.KeyFromSeed([32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))).Onion()
		i, err := NewInvite(name, key, server)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseInvite(i.String())
		if err != nil || again != i {
			t.Fatalf("%v", err)
		}
	})
	longest, err := NewInvite(strings.Repeat("<", MaxGroupName), [32]byte{}, identity.NewKey().Onion())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseInvite(longest.String()); err != nil {
		t.Errorf("longest text, %d characters: %v", len(longest.String()), err)
	}
	for _, name := range []string{"\xff", strings.Repeat("n", MaxGroupName+1)} {
		if _, err := NewInvite(name, [32]byte{}, identity.NewKey().Onion()); err == nil {
			t.Errorf("name %q accepted", name)
		}
	}
}

func FuzzParseInvite(f *testing.F) {
	f.Add(inviteA)
	f.Add("torv3")
	f.Add("torv3bnVsbA==")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := ParseInvite(text)
		if err != nil {
			return
		}
		again, err := ParseInvite(i.String())
		if err != nil || again != i {
			t.Errorf("second parse: %v", err)
		}
	})
}

// FuzzParseInviteJSON gets behind the base64, which a fuzzer of texts seldom does.
func FuzzParseInviteJSON(f *testing.F) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(inviteA, invitePrefix))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"GroupName":"\u2028<>&","groupid":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		i, err := ParseInvite(invitePrefix + base64.StdEncoding.EncodeToString(text))
		if err != nil {
			return
		}
		again, err := ParseInvite(i.String())
		if err != nil || again != i {
			t.Errorf("second parse: %v", err)
		}
	})
}

func FuzzParseTOFU(f *testing.F) {
	f.Add("tofubundle:" + bundleA + "||" + inviteA)
	f.Add("tofubundle:" + bundleB + "||" + inviteA)
	f.Add("tofubundle:||")
	f.Fuzz(func(t *testing.T, text string) {
		b, i, err := ParseTOFU(text)
		if err != nil {
			return
		}
		b2, i2, err := ParseTOFU(TOFU(b, i))
		if err != nil || !b2.SameKeys(b) || i2 != i {
			t.Errorf("second parse: %v", err)
		}
	})
}
