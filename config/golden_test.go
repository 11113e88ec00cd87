package config

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected output of testdata")

// separator divides input and expected output of a golden file.
const separator = "----------\n"

// TestErrorsAreGolden loads every file of testdata and compares the whole error. DIR
// stands for the directory of the file.
func TestErrorsAreGolden(t *testing.T) {
	t.Setenv("CWTCH_RELAY_SECRET", "s3cret")
	os.Unsetenv("CWTCH_RELAY_UNSET")
	files, err := filepath.Glob(filepath.Join(workingDir(t), "testdata/*.hcl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".hcl"), func(t *testing.T) {
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(golden), separator)
			got := loadError(t, input)
			if *update {
				if err := os.WriteFile(file, []byte(input+separator+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// workingDir is the working directory, which loadError changes.
func workingDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// loadError returns the text of the error of a configuration, which is
// server.hcl in the working directory.
func loadError(t *testing.T, input string) string {
	t.Chdir(t.TempDir())
	dir := workingDir(t)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"server.hcl": input,
		"secret":     "s3cret\n",
		"large":      strings.Repeat("x", maxSecret+1),
		"binary":     "\xff",
		"servers":    "",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("open", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("open", 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := Load("server.hcl", testPlugins)
	failure, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("the error is %v, want an *Error", err)
	}
	text := failure.Error() + "\n"
	if strings.Contains(text, "s3cret") {
		t.Errorf("a secret is shown:\n%s", text)
	}
	encoded, err := json.Marshal(failure)
	if err != nil {
		t.Fatal(err)
	}
	var decoded Error
	if err := json.Unmarshal(encoded, &decoded); err != nil || decoded.Error()+"\n" != text {
		t.Errorf("the error does not survive JSON: %v, %s", err, encoded)
	}
	return strings.ReplaceAll(text, dir, "DIR")
}
