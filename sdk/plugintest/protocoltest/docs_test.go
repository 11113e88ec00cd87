package protocoltest_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest/protocoltest"
)

// TestContractsMatchTheDocs: the checklist has exactly the checks, and their sentences word for
// word.
func TestContractsMatchTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../../docs/plugin-protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, checklist, ok := strings.Cut(string(page), "\n## Checklist\n")
	if !ok {
		t.Fatal("docs/plugin-protocol.md has no checklist")
	}
	checks := protocoltest.Checks(protocoltest.Opener{})
	for _, c := range checks {
		if row := fmt.Sprintf("\n| `%s` | %s |\n", c.Name, c.Contract); !strings.Contains(checklist, row) {
			t.Errorf("the checklist of docs/plugin-protocol.md lacks the line%s", row)
		}
	}
	if rows := strings.Count(checklist, "\n| `Protocol"); rows != len(checks) {
		t.Errorf("the checklist has %d names, and the suite %d checks", rows, len(checks))
	}
}
