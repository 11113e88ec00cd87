// Package skeleton writes the first files of a new plugin: a project in the
// language of the author that builds, passes the conformance suite of its kind, and
// works. It is for the command "cwtch-plugin new".
//
// The files are templates beside this one. What they make is tested as an author
// would: written to an empty directory, built and run.
package skeleton

import (
	"bytes"
	"embed"
	"errors"
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
	"github.com/cwtch-relay/cwtch-relay/sdk/proto"
)

// templates has a directory for each language. It holds what plugins of all kinds
// begin with, and a directory for each kind.
//
//go:embed go node python
var templates embed.FS

// suffix marks what is filled in; the rest is copied. It also keeps the go command
// from taking the templates for code, and the go.mod among them for a module of
// its own.
const suffix = ".tmpl"

// protos is where the protobuf files are, here and in a new project.
const protos = "cwtch/relay/plugin/v1"

// Options describe the plugin to begin.
type Options struct {
	Language string // one of [Languages]
	Kind     plugin.Kind
	Name     string // as [plugin.Plugin.Name]
	// Module is the path of the new Go module; empty: the name of its binary.
	Module string
	// Version of this module to require in Go, without the "v".
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

// Languages are those that there is a skeleton in.
func Languages() []string { return dirs(".") }

// Kinds are those that there is a skeleton for in a language.
func Kinds(language string) (kinds []plugin.Kind) {
	for _, d := range dirs(language) {
		kinds = append(kinds, plugin.Kind(d))
	}
	return kinds
}

func dirs(of string) (names []string) {
	entries, _ := fs.ReadDir(templates, of)
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
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
		name := filepath.Join(dir, filepath.FromSlash(m.name))
		if err := errors.Join(durable.MakeDir(filepath.Dir(name), 0o755), writeNew(name, m.content)); err != nil {
			remove(dir, append(files, path.Dir(m.name))) // or the next try finds the directory in use
			return nil, err
		}
		files = append(files, m.name)
	}
	return files, nil
}

// remove takes away files, and the directories in dir that they leave empty.
func remove(dir string, files []string) {
	for _, name := range files {
		for ; name != "."; name = path.Dir(name) {
			os.Remove(filepath.Join(dir, filepath.FromSlash(name)))
		}
	}
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
	mode := fs.FileMode(0o644)
	if bytes.HasPrefix(content, []byte("#!")) {
		mode = 0o755 // a script to be run
	}
	return durable.CreateFile(path, content, mode)
}

type file struct {
	name    string
	content []byte
}

// render makes the files of a language that all kinds have, and those of this one.
func render(f fields) (files []file, err error) {
	if !slices.Contains(Kinds(f.Language), f.Kind) {
		return nil, fmt.Errorf("there is no skeleton of a %s plugin in %s", f.Kind, f.Language)
	}
	for _, dir := range []string{f.Language, path.Join(f.Language, string(f.Kind))} {
		entries, err := fs.ReadDir(templates, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			made, err := renderFile(f, path.Join(dir, e.Name()))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.Name(), err)
			}
			files = append(files, made)
		}
	}
	if f.Language != "go" { // whose sdk has the code that is made of them
		for _, name := range []string{"plugin.proto", string(f.Kind) + ".proto"} {
			content, err := proto.Files.ReadFile(path.Join(protos, name))
			if err != nil {
				return nil, err
			}
			files = append(files, file{path.Join("proto", protos, name), content})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

func renderFile(f fields, from string) (file, error) {
	content, err := templates.ReadFile(from)
	if err != nil {
		return file{}, err
	}
	name, fill := strings.CutSuffix(path.Base(from), suffix)
	if name == "gitignore" {
		name = "." + name
	}
	if !fill {
		return file{name, content}, nil
	}
	t, err := template.New(name).Parse(string(content))
	if err != nil {
		return file{}, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, f); err != nil {
		return file{}, err
	}
	if !strings.HasSuffix(name, ".go") {
		return file{name, out.Bytes()}, nil
	}
	content, err = format.Source(out.Bytes())
	return file{name, content}, err
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
