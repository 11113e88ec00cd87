package docs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats/statstest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

//go:generate go test . -run TestContracts -update

// TestContracts keeps the tables of sentences that the suites check.
func TestContracts(t *testing.T) {
	const page, mark = "plugin-authoring.md", "<!-- contracts: written by go generate ./docs -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	written, _, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("docs/%s has no place for the tables", page)
	}
	want := written + mark + contracts()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("docs/%s is not current; write it with: go generate ./docs", page)
	}
}

func contracts() string {
	var b strings.Builder
	for _, suite := range []struct {
		title  string
		checks []plugintest.Check
	}{
		{"storage", storagetest.Checks(storagetest.Opener{})},
		{"stats", statstest.Checks(statstest.Opener{})},
		{"peersync", peersynctest.Checks(peersynctest.Opener{})},
	} {
		fmt.Fprintf(&b, "\n#### %s\n\n| check | the contract says |\n|---|---|\n", suite.title)
		for _, c := range suite.checks {
			fmt.Fprintf(&b, "| %s | %s |\n", c.Name, strings.ReplaceAll(c.Contract, "|", "\\|"))
		}
	}
	return b.String()
}
