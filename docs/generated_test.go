// Package docs_test keeps the generated pages of the manual current.
package docs_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/lab"
	"github.com/cwtch-relay/cwtch-relay/core/metrics"
	"github.com/cwtch-relay/cwtch-relay/plugins/peersync/mesh"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/sqlite"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

var update = flag.Bool("update", false, "write the generated pages")

//go:generate go test . -run TestGenerated -update

func TestGenerated(t *testing.T) {
	for page, want := range map[string]string{
		"configuration.md": config.Markdown([]plugin.Description{bolt.Plugin().Describe(), sqlite.Plugin().Describe(), mesh.Plugin().Describe()}),
		"metrics.md":       metrics.Markdown(),
		"lab.md":           labPage(t),
	} {
		if *update {
			if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("docs/%s is not current; write it with: go generate ./docs", page)
		}
	}
}

// labPage returns docs/lab.md with the tables of all options of a scenario at its end.
func labPage(t *testing.T) string {
	const mark = "<!-- options: written by go generate ./docs -->\n"
	text, err := os.ReadFile("lab.md")
	if err != nil {
		t.Fatal(err)
	}
	written, _, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatal("docs/lab.md has no place for the options")
	}
	return written + mark + config.OptionsMarkdown(lab.Schema(), "a scenario")
}
