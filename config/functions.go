package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

const (
	maxSecret  = 64 << 10 // bytes that file reads
	maxSecrets = 1 << 20  // bytes that all calls in one file give
)

// functionHints say what would be right where a call fails.
var functionHints = map[string]string{
	"env":  "Set the variable where the relay is started.",
	"file": "The path of a text file of at most 64 KiB; a relative one starts at the directory of this file.",
}

// evalContext returns what expressions can use, for one file in the directory dir. All calls
// together give at most so many bytes.
func evalContext(dir string, most int) *hcl.EvalContext {
	left := most
	bounded := func(value string) (cty.Value, error) {
		if left -= len(value); left < 0 {
			return cty.NilVal, fmt.Errorf("the functions of one file may give at most %d bytes together", most)
		}
		return cty.StringVal(value), nil
	}
	return &hcl.EvalContext{Functions: map[string]function.Function{
		"env": stringFunction("name", func(name string) (cty.Value, error) {
			value, ok := os.LookupEnv(name)
			if !ok {
				return cty.NilVal, fmt.Errorf("the environment variable %.80q is not set", name)
			}
			if !utf8.ValidString(value) {
				return cty.NilVal, fmt.Errorf("the environment variable %.80q is not UTF-8", name)
			}
			return bounded(value)
		}),
		"file": stringFunction("path", func(path string) (cty.Value, error) {
			if err := pathname.Check(path); err != nil {
				return cty.NilVal, err
			}
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			content, err := readBounded(path, maxSecret)
			if err != nil {
				return cty.NilVal, err
			}
			if !utf8.Valid(content) {
				return cty.NilVal, fmt.Errorf("%s is not UTF-8 text", path)
			}
			return bounded(strings.TrimRight(string(content), "\r\n"))
		}),
	}}
}

// stringFunction makes a function of one string.
func stringFunction(param string, f func(string) (cty.Value, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: param, Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f(args[0].AsString()) },
	})
}

// readBounded reads a regular file of at most limit bytes. It never waits for the other end
// of a pipe.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return readRegular(f, info, limit)
}

// readRegular reads an open file of at most limit bytes.
func readRegular(f *os.File, info os.FileInfo, limit int64) ([]byte, error) {
	path := f.Name()
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(content)) > limit:
		return nil, &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d KiB", limit>>10)}
	}
	return content, nil
}
