package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// possibleClaims is what a peer-sync plugin can promise beyond the contract.
var possibleClaims = []string{peersynctest.ClaimConverges, peersynctest.ClaimResumes}

// parseClaims reads the value of -claim.
func parseClaims(text string, kind plugin.Kind) (claims []string, err error) {
	if text == "" {
		return nil, nil
	}
	if kind != plugin.KindPeerSync {
		return nil, command.UsageError{Text: fmt.Sprintf("-claim is for peersync plugins; a %s plugin has nothing to claim", kind)}
	}
	for claim := range strings.SplitSeq(text, ",") {
		claim = strings.TrimSpace(claim)
		if !slices.Contains(possibleClaims, claim) {
			return nil, command.UsageError{Text: fmt.Sprintf("-claim: unknown claim %q; possible are %s", claim, strings.Join(possibleClaims, ", "))}
		}
		claims = append(claims, claim)
	}
	slices.Sort(claims)
	return slices.Compact(claims), nil
}

// writeClaims says what a peer-sync plugin claims, and what was therefore not checked. The suite
// passes a plugin that does nothing, so this has to stand beside the number of checks that passed.
func writeClaims(w io.Writer, c testReport) {
	if c.Plugin.Kind != plugin.KindPeerSync {
		return
	}
	if len(c.Claims) > 0 {
		fmt.Fprintf(w, "claimed: %s\n", strings.Join(c.Claims, ", "))
	}
	var left []string
	for _, claim := range possibleClaims {
		if !slices.Contains(c.Claims, claim) {
			left = append(left, claim)
		}
	}
	if len(left) > 0 {
		fmt.Fprintf(w, "not claimed, so not checked: %s. A plugin that does nothing passes the other checks as well; claim more with -claim %s\n",
			strings.Join(left, ", "), strings.Join(possibleClaims, ","))
	}
}
