// Package skeleton writes the first files of a new plugin: a Go module that
// compiles, is tested by the conformance suite of its kind, and works. It is for
// the command "cwtch-relay plugin new".
//
// The files are templates beside this one. What they make is tested as an author
// would: written to an empty directory, built and run.
package skeleton

import (
	"bytes"
	"embed"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

//go:embed *.tmpl */*.tmpl
var templates embed.FS

// suffix keeps the go command from taking the templates for code, and the
// go.mod among them for a module of its own.
const suffix = ".tmpl"

// Options describe the plugin to begin.
type Options struct {
	Kind plugin.Kind
	Name string // as [plugin.Plugin.Name]
	// Module is the path of the new module; empty: the name of its binary.
	Module string
	// Version of this module to require, without the "v".
	Version string
	// Replace is a directory that holds this module, absolute, to be used in
	// place of a released version; empty: none.
	Replace string
}

// fields is what the templates see.
type fields struct {
	Options
	Binary    string // name of the program
	Go        string // name of the plugin as an identifier
	GoVersion string
}

// sdkModule is the module that this package is part of.
const sdkModule = "github.com/cwtch-relay/cwtch-relay"

// goVersion is what the sdk needs at least.
const goVersion = "1.26.0"

// Kinds are those that there is a skeleton for.
func Kinds() (kinds []plugin.Kind) {
	dirs, _ := fs.ReadDir(templates, ".")
	for _, d := range dirs {
		if d.IsDir() {
			kinds = append(kinds, plugin.Kind(d.Name()))
		}
	}
	return kinds
}

// Write makes dir, which must not exist or be empty, and the files in it. It
// returns their names in the order of a listing.
func Write(dir string, o Options) (files []string, err error) {
	d := plugin.Description{Kind: o.Kind, Name: o.Name, Version: "0"}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	f := fields{Options: o, Binary: "cwtch-" + string(o.Kind) + "-" + o.Name, Go: identifier(o.Name), GoVersion: goVersion}
	if f.Module == "" {
		f.Module = f.Binary
	}
	if o.Replace != "" {
		if err := checkModule(o.Replace); err != nil {
			return nil, err
		}
	}
	made, err := render(f)
	if err != nil {
		return nil, err
	}
	if err := durable.MakeDir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the plugin: %w", err)
	}
	switch there, err := os.ReadDir(dir); {
	case err != nil:
		return nil, fmt.Errorf("look into the directory of the plugin: %w", err)
	case len(there) > 0:
		return nil, &NotEmptyError{dir}
	}
	for _, m := range made {
		if err := writeNew(filepath.Join(dir, m.name), m.content); err != nil {
			for _, name := range files {
				os.Remove(filepath.Join(dir, name)) // or the next try finds the directory in use
			}
			return nil, err
		}
		files = append(files, m.name)
	}
	return files, nil
}

// NotEmptyError is the answer to a directory in which something is already.
type NotEmptyError struct{ Dir string }

func (e *NotEmptyError) Error() string { return e.Dir + " is not empty" }

// checkModule sees that dir holds this module: the go command would complain of
// another one much later, and of something else.
func checkModule(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return fmt.Errorf("look for the sdk: %w", err)
	}
	if path := modfile.ModulePath(content); path != sdkModule {
		return fmt.Errorf("look for the sdk: %s holds the module %q, not %s", dir, path, sdkModule)
	}
	return nil
}

// writeNew writes a file that must not be there. It follows no link, which
// somebody else may have put into an empty directory that is his.
func writeNew(path string, content []byte) error {
	return durable.CreateFile(path, content, 0o644)
}

type file struct {
	name    string
	content []byte
}

// render fills in the templates of all kinds and of this one.
func render(f fields) (files []file, err error) {
	all, err := template.ParseFS(templates, "*"+suffix, string(f.Kind)+"/*"+suffix)
	if err != nil {
		return nil, fmt.Errorf("there is no skeleton of a %s plugin: %w", f.Kind, err)
	}
	for _, t := range all.Templates() {
		name, ok := strings.CutSuffix(path.Base(t.Name()), suffix)
		if !ok {
			continue
		}
		if name == "gitignore" {
			name = "." + name
		}
		var out bytes.Buffer
		if err := t.Execute(&out, f); err != nil {
			return nil, err
		}
		content := out.Bytes()
		if strings.HasSuffix(name, ".go") {
			if content, err = format.Source(content); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		files = append(files, file{name, content})
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// identifier turns a name, which is made of a-z, 0-9 and _, into one of Go
// that collides with nothing in the templates.
func identifier(name string) string {
	var b strings.Builder
	for _, word := range strings.Split(name, "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return "the" + b.String()
}
