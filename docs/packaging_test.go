package docs_test

import (
	"os"
	"strings"
	"testing"
)

// TestPackagedUnit keeps the unit of the package equal to that of the page, which make systemd-test
// runs under a real systemd.
func TestPackagedUnit(t *testing.T) {
	packaged, err := os.ReadFile("../packaging/cwtch-relay.service")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, unit, found := strings.Cut(string(page), "\n    [Unit]\n")
	unit, _, ended := strings.Cut(unit, "\n    WantedBy=multi-user.target\n")
	if !found || !ended {
		t.Fatal("operations.md has no unit")
	}
	var want strings.Builder
	want.WriteString("[Unit]\n")
	for line := range strings.SplitSeq(unit, "\n") {
		want.WriteString(strings.ReplaceAll(strings.TrimPrefix(line, "    "), "/usr/local/bin/", "/usr/bin/") + "\n")
	}
	want.WriteString("WantedBy=multi-user.target\n")
	got := strings.TrimPrefix(string(packaged), "# docs/operations.md explains these lines.\n")
	if got != want.String() {
		t.Errorf("packaging/cwtch-relay.service differs from the unit of operations.md:\n%s\nwant\n%s", got, want.String())
	}
}
