package bundle

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// newHosts returns the bundles of n servers with known keys.
func newHosts(t testing.TB, n int) []Bundle {
	t.Helper()
	var hosts []Bundle
	for i := range byte(n) {
		s := &identity.Server{Board: identity.KeyFromSeed([32]byte{1, i}), Token: identity.KeyFromSeed([32]byte{2, i}), Scalar: [32]byte{3, i}}
		key, err := token.NewKey(s.Scalar)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, New(s, key.Public()))
	}
	return hosts
}

var testManager = identity.KeyFromSeed([32]byte{9})

func newHostInvite(t testing.TB, name string, n int) HostInvite {
	t.Helper()
	invite, err := NewInvite(name, [32]byte{7}, testManager.Onion())
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := SignHosts(testManager, invite.GroupID, 3, newHosts(t, n))
	if err != nil {
		t.Fatal(err)
	}
	return HostInvite{invite, hosts}
}

func TestHostInviteText(t *testing.T) {
	for _, name := range []string{"club", strings.Repeat("\x01", MaxGroupName), ""} {
		for _, n := range []int{1, 3, MaxHosts} {
			i := newHostInvite(t, name, n)
			text := i.String()
			got, err := ParseHostInvite(text)
			if err != nil {
				t.Fatalf("%d hosts, %d characters: %v", n, len(text), err)
			}
			if got.String() != text || got.GroupID != i.GroupID || got.Hosts.Serial != 3 || len(got.Hosts.Hosts) != n || !got.Hosts.Hosts[n-1].SameKeys(i.Hosts.Hosts[n-1]) {
				t.Errorf("%d hosts: got %d of serial %d", n, len(got.Hosts.Hosts), got.Hosts.Serial)
			}
		}
	}
}

// Only the name of the group is not protected, as in other invites.
func TestEveryCharacterOfAHostInviteCounts(t *testing.T) {
	i := newHostInvite(t, "club", 2)
	text := i.String()
	for n := range text {
		changed, err := ParseHostInvite(text[:n] + string(rune(text[n]^1)) + text[n+1:])
		if err == nil && (changed.GroupName == i.GroupName || changed.GroupID != i.GroupID || !changed.Hosts.Equal(i.Hosts)) {
			t.Fatalf("character %d changed unnoticed", n)
		}
		if _, err := ParseHostInvite(text[:n]); err == nil {
			t.Fatalf("cut after %d characters unnoticed", n)
		}
	}
}

// A program that knows groups with one server only refuses the invite, and this program
// refuses one of a later format.
func TestHostInviteIsNotHalfUnderstood(t *testing.T) {
	text := newHostInvite(t, "club", 2).String()
	if _, err := ParseInvite(text); err == nil {
		t.Error("taken for an invite to a group on one server")
	}
	if _, _, err := ParseTOFU(text); err == nil {
		t.Error("taken for a bundle with an invite")
	}
	if _, err := Parse(text); err == nil {
		t.Error("taken for a bundle")
	}
	if _, err := ParseHostInvite(strings.Replace(text, "serverless1:", "serverless2:", 1)); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a later format: %v", err)
	}
	i := newHostInvite(t, "club", 2)
	later := i.Hosts.Encode()
	later[0] = hostListFormat + 1
	if _, err := DecodeHostList(later, testManager.Onion(), i.GroupID); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a later list: %v", err)
	}
}

func TestHostListIsTheManagersForThisGroup(t *testing.T) {
	group := [16]byte{1}
	l, err := SignHosts(testManager, group, 1, newHosts(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Verify(testManager.Onion(), group); err != nil {
		t.Fatal(err)
	}
	if err := l.Verify(testManager.Onion(), [16]byte{2}); !errors.Is(err, ErrManager) {
		t.Errorf("of another group: %v", err)
	}
	if err := l.Verify(identity.KeyFromSeed([32]byte{8}).Onion(), group); !errors.Is(err, ErrManager) {
		t.Errorf("of another manager: %v", err)
	}
	for name, change := range map[string]func(*HostList){
		"serial":       func(l *HostList) { l.Serial++ },
		"host removed": func(l *HostList) { l.Hosts = l.Hosts[:2] },
		"order":        func(l *HostList) { l.Hosts = slices.Clone(l.Hosts); slices.Reverse(l.Hosts) },
	} {
		changed := l
		change(&changed)
		if err := changed.Verify(testManager.Onion(), group); !errors.Is(err, ErrManager) {
			t.Errorf("%s changed: %v", name, err)
		}
	}
}

func TestHostListBounds(t *testing.T) {
	hosts := newHosts(t, MaxHosts+1)
	for name, bad := range map[string][]Bundle{"none": nil, "too many": hosts, "one twice": {hosts[0], hosts[0]}} {
		if _, err := SignHosts(testManager, [16]byte{}, 1, bad); !errors.Is(err, ErrHosts) {
			t.Errorf("%s: %v", name, err)
		}
	}
	forged := hosts[0]
	forged.TokenService = hosts[1].TokenService
	if _, err := SignHosts(testManager, [16]byte{}, 1, []Bundle{forged}); !errors.Is(err, ErrSignature) {
		t.Errorf("a bundle that its board did not sign: %v", err)
	}
	l, err := SignHosts(testManager, [16]byte{}, 1, hosts[:MaxHosts])
	if err != nil {
		t.Fatal(err)
	}
	// 13 bytes of JSON wrap it as the text of a message, which has 1800.
	if n := base64.StdEncoding.EncodedLen(len(l.Encode())); n > 1700 {
		t.Errorf("the longest list has %d characters", n)
	}
}

func TestHostInviteDoesNotPrint(t *testing.T) {
	i := newHostInvite(t, "club", 1)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, i); got != "[secret]" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func FuzzDecodeHostList(f *testing.F) {
	i := newHostInvite(f, "club", 2)
	f.Add(i.Hosts.Encode())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeHostList(b, testManager.Onion(), i.GroupID)
		if err == nil && !bytes.Equal(l.Encode(), b) {
			t.Error("two encodings of one list")
		}
	})
}

func FuzzParseHostInvite(f *testing.F) {
	f.Add(newHostInvite(f, "club", 2).String())
	f.Add("serverless1:")
	f.Add("serverless9:AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if i, err := ParseHostInvite(text); err == nil && i.String() != text {
			t.Error("two texts for one invite")
		}
	})
}
