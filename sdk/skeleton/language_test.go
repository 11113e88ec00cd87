package skeleton

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/proto"
)

// TestFilesForOtherLanguages shows that a plugin in another language is complete and includes the
// protobuf files. The tests in examples/check show that it passes the suite.
func TestFilesForOtherLanguages(t *testing.T) {
	for _, language := range Languages() {
		if language == "go" {
			continue
		}
		for _, kind := range Kinds(language) {
			t.Run(language+"/"+string(kind), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "new")
				files, err := Write(dir, Options{Language: language, Kind: kind, Name: "my_first"})
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range files {
					content := readFile(t, filepath.Join(dir, name))
					if strings.Contains(content, "{{.") {
						t.Errorf("%s is not filled in", name)
					}
					info, err := os.Stat(filepath.Join(dir, name))
					if err != nil {
						t.Fatal(err)
					}
					if script := strings.HasPrefix(content, "#!"); script != (info.Mode()&0o111 != 0) {
						t.Errorf("%s has the mode %v", name, info.Mode())
					}
				}
				for _, name := range []string{"plugin.proto", string(kind) + ".proto"} {
					want, err := fs.ReadFile(proto.Files, path.Join(protoDir, name))
					if err != nil {
						t.Fatal(err)
					}
					if readFile(t, filepath.Join(dir, "proto", protoDir, name)) != string(want) {
						t.Errorf("%s differs from the relay's own", name)
					}
				}
				for _, name := range []string{"README.md", ".gitignore", "server.hcl"} {
					if !strings.Contains(readFile(t, filepath.Join(dir, name)), "my_first") {
						t.Errorf("%s does not know the plugin", name)
					}
				}
			})
		}
	}
	if _, err := Write(filepath.Join(t.TempDir(), "new"), Options{Language: "cobol", Kind: plugin.KindStorage, Name: "x"}); err == nil {
		t.Error("a language without a skeleton was accepted")
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
