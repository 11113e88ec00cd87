package check_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	modmodule "golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
)

// The module that is served to the examples, and the version that they ask for.
const (
	module  = "github.com/cwtch-relay/cwtch-relay"
	version = "v0.0.0"
)

// outside is what there is outside of the repository.
type outside struct {
	bin string            // the programs of the relay
	env map[string]string // of the go command
}

// newOutside builds the programs, and a module proxy in a directory that has
// this repository as it is now. All other modules come from the module cache of
// whoever runs the test, which has the form of a proxy as well, or from where
// that one gets them. Nothing is put into that cache.
func newOutside(t *testing.T) *outside {
	t.Helper()
	dir := t.TempDir()
	o := &outside{bin: filepath.Join(dir, "bin")}
	goCommand(t, "build", "-trimpath", "-o", o.bin+"/", root+"/cmd/cwtch-relay", root+"/cmd/cwtch-plugin", root+"/cmd/cwtch-group")
	proxy := filepath.Join(dir, "proxy")
	if err := publishModule(filepath.Join(proxy, module, "@v")); err != nil {
		t.Fatalf("make a module of the repository: %v", err)
	}
	cache := goCommand(t, "env", "GOMODCACHE")
	o.env = map[string]string{
		"GOPROXY":    strings.Join([]string{"file://" + proxy, "file://" + cache + "/cache/download", goCommand(t, "env", "GOPROXY")}, ","),
		"GONOSUMDB":  module,
		"GOMODCACHE": filepath.Join(dir, "modules"),
		"GOCACHE":    goCommand(t, "env", "GOCACHE"),
		// The build cache must not depend on where modules are, go.sum does not know this
		// repository yet, and tests must be able to delete the modules.
		"GOFLAGS": "-trimpath -mod=mod -modcacherw -buildvcs=false",
		// Outside authors do not set what the Makefile sets.
		"GOEXPERIMENT": "",
		"CGO_ENABLED":  "0",
	}
	return o
}

func goCommand(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// publishModule writes the files that a module proxy serves
// (go.dev/ref/mod#goproxy-protocol).
func publishModule(dir string) error {
	files, err := trackedFiles(".")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"list":            []byte(version + "\n"),
		version + ".info": fmt.Appendf(nil, `{"Version":%q}`, version),
		version + ".mod":  gomod,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	out, err := os.Create(filepath.Join(dir, version+".zip"))
	if err != nil {
		return err
	}
	defer out.Close()
	list := make([]modzip.File, len(files))
	for i, f := range files {
		list[i] = repoFile(f)
	}
	if err := modzip.Create(out, modmodule.Version{Path: module, Version: version}, list); err != nil {
		return err
	}
	return out.Close()
}

// repoFile is a file of the repository, by its path there.
type repoFile string

func (f repoFile) Path() string                 { return string(f) }
func (f repoFile) Lstat() (os.FileInfo, error)  { return os.Lstat(filepath.Join(root, string(f))) }
func (f repoFile) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(root, string(f))) }

// trackedFiles lists the files below a directory of the repository that git tracks
// or would add, by their paths in the repository.
func trackedFiles(dir string) (files []string, err error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", dir)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := repoFile(name).Lstat(); err == nil { // skip deleted files
			files = append(files, name)
		}
	}
	return files, nil
}
