// Package skeleton writes the first files of a new plugin: a project in the
// language of the author that builds, passes the conformance suite of its kind, and
// works. It is for the command "cwtch-plugin new".
//
// The files are templates in this directory. The tests do what an author does: they write them
// to an empty directory, build the plugin and run it.
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

// templates has a directory for each language, with the files that all kinds share and a
// directory for each kind.
//
//go:embed go node python
var templates embed.FS

// templateSuffix marks files that are executed as templates; others are copied. It also keeps the go
// command from taking them for code, and a go.mod among them for a module.
const templateSuffix = ".tmpl"

// protoDir is the directory of the protobuf files, here and in a new project.
const protoDir = "cwtch/relay/plugin/v1"

// Options describe a new plugin.
type Options struct {
	Language string // one of [Languages]
	Kind     plugin.Kind
	Name     string // as [plugin.Plugin.Name]
	// Module is the path of the new Go module; empty: the name of its binary.
	Module string
	// Version is the version of this module that a Go plugin requires, without the "v".
	Version string
	// Replace is the absolute path of a directory with this module, which replaces the
	// released version; empty: none.
	Replace string
}

// fields are the values for the templates.
type fields struct {
	Options
	Binary    string // name of the program
	Go        string // name of the plugin as an identifier
	GoVersion string
}

// sdkModule is the module that this package is part of.
const sdkModule = "github.com/cwtch-relay/cwtch-relay"

// goVersion is the oldest version of Go that can build the sdk.
const goVersion = "1.26.0"

// Languages returns the languages that have a skeleton.
func Languages() []string { return listDirs(".") }

// Kinds returns the kinds that have a skeleton in a language.
func Kinds(language string) (kinds []plugin.Kind) {
	for _, d := range listDirs(language) {
		kinds = append(kinds, plugin.Kind(d))
	}
	return kinds
}

func listDirs(of string) (names []string) {
	entries, _ := fs.ReadDir(templates, of)
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// Write writes the files of a new plugin to dir, which must be empty or not exist. It returns
// their names, sorted.
func Write(dir string, o Options) (files []string, err error) {
	d := plugin.Description{Kind: o.Kind, Name: o.Name, Version: "0"}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	f := fields{Options: o, Binary: "cwtch-" + string(o.Kind) + "-" + o.Name, Go: goIdentifier(o.Name), GoVersion: goVersion}
	if f.Module == "" {
		f.Module = f.Binary
	}
	if o.Replace != "" {
		if err := checkModule(o.Replace); err != nil {
			return nil, err
		}
	}
	made, err := renderFiles(f)
	if err != nil {
		return nil, err
	}
	if err := durable.MakeDir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the plugin: %w", err)
	}
	switch there, err := os.ReadDir(dir); {
	case err != nil:
		return nil, fmt.Errorf("read the directory of the plugin: %w", err)
	case len(there) > 0:
		return nil, &NotEmptyError{dir}
	}
	for _, m := range made {
		name := filepath.Join(dir, filepath.FromSlash(m.name))
		if err := errors.Join(durable.MakeDir(filepath.Dir(name), 0o755), writeNew(name, m.content)); err != nil {
			removeFiles(dir, append(files, path.Dir(m.name))) // so that the next try finds dir empty
			return nil, err
		}
		files = append(files, m.name)
	}
	return files, nil
}

// removeFiles removes files from dir, and the directories below dir that are then empty.
func removeFiles(dir string, files []string) {
	for _, name := range files {
		for ; name != "."; name = path.Dir(name) {
			os.Remove(filepath.Join(dir, filepath.FromSlash(name)))
		}
	}
}

// NotEmptyError reports a directory for a new plugin that is not empty.
type NotEmptyError struct{ Dir string }

func (e *NotEmptyError) Error() string { return e.Dir + " is not empty" }

// checkModule checks that dir holds this module. With another one, the go command would fail much
// later, with a misleading message.
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

// writeNew writes a file that must not exist. It follows no links: the directory may belong to
// another user, who could make one meanwhile.
func writeNew(path string, content []byte) error {
	mode := fs.FileMode(0o644)
	if bytes.HasPrefix(content, []byte("#!")) {
		mode = 0o755 // a script
	}
	return durable.CreateFile(path, content, mode)
}

type file struct {
	name    string
	content []byte
}

// renderFiles returns the files of a new plugin: those that all kinds of its language share, and those
// of its kind.
func renderFiles(f fields) (files []file, err error) {
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
	if f.Language != "go" { // the Go sdk has the generated code
		for _, name := range []string{"plugin.proto", string(f.Kind) + ".proto"} {
			content, err := proto.Files.ReadFile(path.Join(protoDir, name))
			if err != nil {
				return nil, err
			}
			files = append(files, file{path.Join("proto", protoDir, name), content})
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
	name, fill := strings.CutSuffix(path.Base(from), templateSuffix)
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

// goIdentifier returns a Go identifier for a name of a-z, 0-9 and _. It collides with no name in the
// templates.
func goIdentifier(name string) string {
	var b strings.Builder
	for _, word := range strings.Split(name, "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return "the" + b.String()
}
