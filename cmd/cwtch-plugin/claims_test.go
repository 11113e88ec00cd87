package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

func TestParseClaims(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "resumes": {"resumes"}, "resumes,converges,resumes": {"converges", "resumes"},
		"resumes, converges ": {"converges", "resumes"},
	} {
		if got, err := parseClaims(text, plugin.KindPeerSync); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{",", "converges,", "converges, ", "converges resumes", "Converges", "all"} {
		if _, err := parseClaims(text, plugin.KindPeerSync); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	if _, err := parseClaims("resumes", plugin.KindStats); err == nil {
		t.Error("a stats plugin can claim")
	}
}

// TestClaimsAreShown shows that the report of a plugin that claims nothing differs from that of one
// that keeps its claims.
func TestClaimsAreShown(t *testing.T) {
	write := func(kind plugin.Kind, claims ...string) string {
		var out bytes.Buffer
		writeClaims(&out, testReport{Plugin: plugin.Description{Kind: kind}, Claims: claims})
		return out.String()
	}
	if got := write(plugin.KindPeerSync); !strings.HasPrefix(got, "not claimed, so not checked: converges, resumes.") {
		t.Errorf("without claims: %s", got)
	}
	if got := write(plugin.KindPeerSync, "converges", "resumes"); got != "claimed: converges, resumes\n" {
		t.Errorf("with all claims: %s", got)
	}
	if got := write(plugin.KindStats); got != "" {
		t.Errorf("a stats plugin: %s", got)
	}
}
