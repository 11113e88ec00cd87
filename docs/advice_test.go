package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// discarding is advice that has cost people good data: a file that one program
// cannot read may be whole.
var discarding = regexp.MustCompile(`(?i)(start|begin|starting|beginning) (an|with an) empty|move (it|that directory|the (store|database)) away|give the store another path|(remove|delete) the (destination|store|database|key file|file first|file, and)`)

// TestAdviceKeepsData reads all texts of the programs and the pages.
func TestAdviceKeepsData(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() != ".." && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".md" && ext != ".proto" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for n, line := range strings.Split(string(text), "\n") {
			if found := discarding.FindString(line); found != "" {
				t.Errorf("%s:%d advises %q: keep a copy first", path, n+1, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
