package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestPromise7ErrorsPoint puts mistakes into the block of a plugin, which only the
// plugin understands. The error names file, line and column, shows the line and says
// what to write instead, before anything has started.
func TestPromise7ErrorsPoint(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		block   string // ‸ stands before the fault
		want    string
		hint    string
		atStart bool // only the plugin finds it, when it starts
	}{
		"unknown name":           {`storage "bolt" { ‸pth = "messages.db" }`, `unknown option "pth"`, "path", false},
		"wrong type":             {`storage "bolt" { path = ‸["messages.db"] }`, `path must be`, "path = ", false},
		"refused by the plugin":  {`storage "bolt" { path = ‸"../elsewhere" }`, `does not name a file below the plugin's directory`, "relative path", false},
		"external, unknown name": {`storage "badstore" { ‸page = 4 }`, `unknown option "page"`, "pages", false},
		"external, wrong type":   {`storage "badstore" { pages = ‸"four" }`, `pages must be`, "pages = ", false},
		"external, at its start": {`storage "badstore" { pages = ‸3 }`, `pages come in pairs`, "Write 4.", true},
		"no such plugin":         {`storage ‸"bold" {}`, `bold`, "bolt", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, "")
			text := badstoreConfig(t) + "network \"loopback\" { registry = \"net\" }\nserver \"main\" {\n  " + c.block + "\n}\n"
			before, after, _ := strings.Cut(text, "‸")
			h.writeFile("server.hcl", before+after)
			line := strings.Count(before, "\n") + 1
			column := len(before) - strings.LastIndexByte(before, '\n')
			place := fmt.Sprintf("on %s line %d, column %d, in server \"main\"", h.path("server.hcl"), line, column)
			shown := fmt.Sprintf("  %d:   %s\n", line, strings.Replace(c.block, "‸", "", 1))

			commands := [][]string{{"validate"}, nil}
			if c.atStart {
				commands = commands[1:]
			}
			for _, args := range commands {
				out, err := h.runRelay(args...)
				if err == nil {
					t.Errorf("cwtch-relay %q finds no fault", args)
				}
				for _, want := range []string{"error: ", c.want, place, shown, "hint: ", c.hint} {
					if !strings.Contains(out, want) {
						t.Errorf("cwtch-relay %q does not say %q:\n%s", args, want, out)
					}
				}
			}
			if _, err := os.Stat(h.path("data")); err == nil && !c.atStart {
				t.Error("the data directory was made all the same")
			}
			if services, _ := os.ReadDir(h.path("net")); len(services) > 0 {
				t.Error("services were published all the same")
			}
		})
	}
}
