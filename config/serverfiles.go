package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// ServerFiles changes the servers of a configuration for console and commands: those in files
// of their own, and those of the main file. After a crash at any time, a server is as before
// or as asked. A change that would make the configuration invalid, or that would stop another
// server, is refused.
//
// Its methods may be called at the same time. A person may edit the files meanwhile: what they
// have changed since a method has read it is left as it is, and the method returns an error.
//
// Make a new one once plugins have changed.
type ServerFiles struct {
	path    string
	plugins Plugins
	mu      sync.Mutex // held by a change
}

// OpenServerFiles returns the servers of a configuration for changes. Later errors of the main
// file are errors of each change, see [Load].
func OpenServerFiles(path string, plugins Plugins) (*ServerFiles, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find configuration: %w", err)
	}
	if _, _, err := readFile(path); err != nil {
		return nil, err
	}
	plugins.KeepFaults, plugins.keepAll = true, true
	return &ServerFiles{path: path, plugins: plugins}, nil
}

// ServerText is a new server.
type ServerText struct {
	Name        string
	Description string
	Autostart   bool
	Storage     string // its block, such as `storage "bolt" {}`; empty: the default
	MaxAge      string // of its retention, such as "90d"; empty: the default
	MaxBytes    string // of its retention, such as "1GiB"; empty: the default
}

// ServerChange is a change of a server. What is nil stays as it is. An empty text removes what
// is written, and with it the default holds again.
type ServerChange struct {
	Description *string
	Autostart   *bool
	Storage     *string
	MaxAge      *string
	MaxBytes    *string
}

// Names of the fields of a [FieldError].
const (
	fieldName        = "name"
	fieldDescription = "description"
	fieldStorage     = "storage"
	fieldMaxAge      = "max_age"
	fieldMaxBytes    = "max_bytes"
)

// FieldError is what is wrong with a field of a [ServerText] or a [ServerChange].
type FieldError struct {
	Field string // name, description, storage, max_age or max_bytes
	Text  string // a sentence without its point
	err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Text }
func (e *FieldError) Unwrap() error { return e.err }

// ErrUnknownServer is the error of a change of a server that is not there.
var ErrUnknownServer = errors.New("the configuration has no such server")

// newServerName is narrower than serverName, which older files may need.
var newServerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)

// Add makes a file for a new server. The error matches [fs.ErrExist] if there is a server of
// this name, or a file of it.
func (f *ServerFiles) Add(s ServerText) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !newServerName.MatchString(s.Name) {
		return &FieldError{Field: fieldName, Text: "write 1 to 64 of a-z, 0-9 and -, with - neither first nor last"}
	}
	change := ServerChange{Description: &s.Description, Storage: &s.Storage, MaxAge: &s.MaxAge, MaxBytes: &s.MaxBytes}
	if err := change.checkFields(); err != nil {
		return err
	}
	main, cfg, err := OpenDraft(f.path, f.plugins)
	if err != nil {
		return err
	}
	path := filepath.Join(cfg.ServersDir, s.Name+serverSuffix)
	taken := &FieldError{fieldName, "there is a server of this name already", fs.ErrExist}
	if slices.ContainsFunc(cfg.Servers, func(other Server) bool { return other.Name == s.Name }) {
		return taken
	}
	if _, err := os.Lstat(path); err == nil {
		return taken
	}
	if err := cfg.checkRoom(); err != nil {
		return err
	}
	draft := &Draft{path: path, main: f.path, plugins: f.plugins, text: []byte(s.formatFile()), broken: main.broken}
	if _, err := f.checkServer(draft, s.Name); err != nil {
		return err
	}
	if err := durable.MakeDir(cfg.ServersDir, 0o700); err != nil {
		return fmt.Errorf("make servers_dir: %w", err)
	}
	err = durable.CreateFile(path, draft.text, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return taken
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// checkRoom refuses one more file than servers_dir may have.
func (cfg *Config) checkRoom() error {
	count := len(cfg.UnusedFiles)
	for _, s := range cfg.Servers {
		if filepath.Dir(s.File) == cfg.ServersDir {
			count++
		}
	}
	if count >= maxServerFiles {
		return fmt.Errorf("%s has %d files already, and cannot have more: delete a server, or run another relay", cfg.ServersDir, count)
	}
	return nil
}

// Edit changes a server, wherever it stands, and leaves everything else in its file as it is. The
// error matches [ErrUnknownServer] if there is none of the name. The function that it returns puts
// back what was there; it is nil if the file says so already.
func (f *ServerFiles) Edit(name string, c ServerChange) (undo func() error, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := c.checkFields(); err != nil {
		return nil, err
	}
	main, cfg, err := OpenDraft(f.path, f.plugins)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(cfg.Servers, func(s Server) bool { return s.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: %.80q", ErrUnknownServer, name)
	}
	draft, err := main.ForServer(cfg.Servers[i])
	if err != nil {
		return nil, err
	}
	if err := draft.changeServer(name, c); err != nil {
		return nil, err
	}
	next, err := f.checkServer(draft, name)
	if err != nil {
		return nil, err
	}
	if fault := next.Storage.Fault; c.Storage != nil && fault != nil {
		return nil, explainFault(fault)
	}
	if bytes.Equal(draft.text, draft.original) {
		return nil, nil //nolint:nilnil // nothing was changed, and nothing is to be undone
	}
	if err := draft.writeChanged(); err != nil {
		return nil, err
	}
	return func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return draft.Revert()
	}, nil
}

// ReadServer returns what a file of the configuration at path says of a server, as it is written
// there: of a value that is not a plain one, such as env("AGE"), its expression. It loads nothing
// else, and asks no plugin.
func ReadServer(path, file, name string) (ServerText, error) {
	main, err := filepath.Abs(path)
	if err != nil {
		return ServerText{}, fmt.Errorf("find configuration: %w", err)
	}
	d := &Draft{path: file, main: main}
	if d.text, err = d.readAgain(); err != nil {
		return ServerText{}, err
	}
	block, err := d.findBlock([]string{"server", name})
	if err != nil {
		return ServerText{}, err
	}
	s := ServerText{
		Name: name, Autostart: true,
		Description: d.textOf(block.Body.Attributes[fieldDescription]),
	}
	if a := block.Body.Attributes["autostart"]; a != nil {
		s.Autostart = d.textOf(a) != "false"
	}
	for _, b := range block.Body.Blocks {
		switch b.Type {
		case "retention":
			s.MaxAge, s.MaxBytes = d.textOf(b.Body.Attributes[fieldMaxAge]), d.textOf(b.Body.Attributes[fieldMaxBytes])
		case fieldStorage:
			s.Storage = d.textOfBlock(b)
		}
	}
	return s, nil
}

// textOf returns the value of an attribute, or its expression if that is not a plain value.
func (d *Draft) textOf(a *hclsyntax.Attribute) string {
	if a == nil {
		return ""
	}
	if v, diags := a.Expr.Value(nil); !diags.HasErrors() && v.IsKnown() && !v.IsNull() {
		if text, err := convert.Convert(v, cty.String); err == nil {
			return text.AsString()
		}
	}
	return strings.TrimSpace(string(a.Expr.Range().SliceBytes(d.text)))
}

// textOfBlock returns the text of a block as if it stood at the beginning of a line.
func (d *Draft) textOfBlock(b *hclsyntax.Block) string {
	begin := b.TypeRange.Start.Byte
	text := strings.ReplaceAll(string(d.text[begin:b.CloseBraceRange.End.Byte]), "\r\n", "\n")
	return strings.ReplaceAll(text, "\n"+d.indentAt(begin), "\n")
}

// Remove removes the file of a server, and its block if it stands in the main file. It returns
// nil if there is none of the name.
func (f *ServerFiles) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	main, file, err := f.prepareRemoval(name)
	if err != nil {
		return err
	}
	// The file goes first: if it is the second of its name, it would take over without the block.
	if file != "" {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove server %s: %w", name, err)
		}
		if err := durable.SyncDir(filepath.Dir(file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove server %s: %w", name, err)
		}
	}
	if main == nil {
		return nil
	}
	return main.Save()
}

// CheckRemoval returns why Remove would fail, as far as that can be known before.
func (f *ServerFiles) CheckRemoval(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	main, file, err := f.prepareRemoval(name)
	if err != nil {
		return err
	}
	var paths []string
	if file != "" {
		if _, err := os.Lstat(file); err == nil {
			paths = append(paths, filepath.Dir(file))
		}
	}
	if main != nil {
		if _, err := main.loadChanged(); err != nil && len(paths) == 0 { // with the file, it is checked once that is gone
			return err
		}
		path, err := filepath.EvalSymlinks(main.path)
		if err != nil {
			return fmt.Errorf("find configuration: %w", err)
		}
		paths = append(paths, filepath.Dir(path))
	}
	for _, path := range paths {
		if err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			return fmt.Errorf("server %s cannot be removed from the configuration: cannot write to the directory %s: %w: %s", name, path, err, ownership.NotWritable(path))
		}
	}
	return nil
}

// prepareRemoval returns the main file without the server, nil if it does not have it, and the
// path of the file of the server, empty if there can be none.
func (f *ServerFiles) prepareRemoval(name string) (main *Draft, file string, err error) {
	if !serverName.MatchString(name) {
		return nil, "", nil // no server has it
	}
	main, cfg, err := OpenDraft(f.path, f.plugins)
	if err != nil {
		return nil, "", err
	}
	file = filepath.Join(cfg.ServersDir, name+serverSuffix)
	if _, err := main.findBlock([]string{"server", name}); err != nil {
		return nil, file, nil //nolint:nilerr // the main file does not have it
	}
	return main, file, main.RemoveBlock("server", name)
}

// checkServer returns the server as it would be, or what is wrong with it in terms of the fields.
func (f *ServerFiles) checkServer(d *Draft, name string) (Server, error) {
	cfg, err := d.loadChanged()
	if err != nil {
		return Server{}, explainFault(err)
	}
	i := slices.IndexFunc(cfg.Servers, func(s Server) bool { return s.Name == name })
	if i < 0 {
		return Server{}, fmt.Errorf("%w: it has no server %q", ErrInvalidDraft, name)
	}
	if fault := cfg.Servers[i].Storage.Fault; d.original == nil && fault != nil {
		return Server{}, explainFault(fault)
	}
	return cfg.Servers[i], nil
}

// explainFault returns a fault in a block that is a field as an error of this field.
func explainFault(err error) error {
	wrong, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	first := wrong.Diagnostics[0]
	text := first.Summary
	if first.Hint != "" {
		text += ". " + strings.TrimSuffix(first.Hint, ".")
	}
	switch {
	case strings.Contains(first.Block, "storage "):
		return &FieldError{fieldStorage, text, err}
	case strings.HasSuffix(first.Block, "retention") && strings.Contains(first.Summary, fieldMaxBytes):
		return &FieldError{fieldMaxBytes, text, err}
	case strings.HasSuffix(first.Block, "retention"):
		return &FieldError{fieldMaxAge, text, err}
	}
	return err
}

// checkFields refuses fields that are wrong whatever the configuration is.
func (c *ServerChange) checkFields() error {
	if err := checkDescription(c.Description); err != nil {
		return err
	}
	if c.Storage != nil && *c.Storage != "" {
		if _, _, err := parseStorage(*c.Storage); err != nil {
			return err
		}
	}
	return cmp.Or(checkRetention(fieldMaxAge, c.MaxAge), checkRetention(fieldMaxBytes, c.MaxBytes))
}

func checkDescription(text *string) error {
	switch {
	case text == nil:
	case !utf8.ValidString(*text):
		return &FieldError{Field: fieldDescription, Text: "this is not UTF-8 text"}
	case utf8.RuneCountInString(*text) > maxDescription:
		return &FieldError{Field: fieldDescription, Text: fmt.Sprintf("write at most %d characters", maxDescription)}
	case strings.ContainsFunc(*text, isHidden):
		return &FieldError{Field: fieldDescription, Text: "write one line, without control characters and marks that change the direction of text"}
	}
	return nil
}

// checkRetention refuses a text that is no value of an option of the retention.
func checkRetention(field string, text *string) error {
	if text == nil || *text == "" {
		return nil
	}
	all := limits.RetentionSchema().Attributes
	a := all[slices.IndexFunc(all, func(a plugin.Attribute) bool { return a.Name == field })]
	if _, err := a.Parse(*text); err != nil {
		return &FieldError{Field: field, Text: fmt.Sprintf("write %s, such as %s", schema.Accepts(a), schema.Default(a))}
	}
	return nil
}

// parseStorage returns the text of the one storage block in a text, and its label.
func parseStorage(text string) (block, label string, err error) {
	if len(text) > maxStoreText {
		return "", "", &FieldError{Field: fieldStorage, Text: fmt.Sprintf("write at most %d KiB", maxStoreText>>10)}
	}
	const name = "storage"
	src, diags := utf8Text(name, []byte(text))
	var body *hclsyntax.Body
	if !diags.HasErrors() {
		_, body, diags = parseText(name, src)
	}
	if diags.HasErrors() {
		return "", "", &FieldError{Field: fieldStorage, Text: "write a block such as storage \"bolt\" {}: " + printableText(lowerFirst(diags[0].Summary), maxText)}
	}
	if len(body.Blocks) != 1 || len(body.Attributes) > 0 || body.Blocks[0].Type != name || len(body.Blocks[0].Labels) != 1 {
		return "", "", &FieldError{Field: fieldStorage, Text: "write one block, such as storage \"bolt\" {}"}
	}
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	if slices.ContainsFunc(tokens, func(t hclsyntax.Token) bool { return t.Type == hclsyntax.TokenOHeredoc }) {
		return "", "", &FieldError{Field: fieldStorage, Text: "write texts in quotes instead of <<"} // which moves to the right would change
	}
	b := body.Blocks[0]
	written := src[b.TypeRange.Start.Byte:b.CloseBraceRange.End.Byte]
	return string(hclwrite.Format(written)), b.Labels[0], nil
}

// formatFile returns the file of a new server, whose fields were checked.
func (s *ServerText) formatFile() string {
	var b strings.Builder
	fmt.Fprintf(&b, "server %q {\n", s.Name)
	if s.Description != "" {
		fmt.Fprintf(&b, "description = %s\n", schema.Literal(s.Description))
	}
	fmt.Fprintf(&b, "autostart = %t\n", s.Autostart)
	if s.MaxAge != "" || s.MaxBytes != "" {
		b.WriteString("\nretention {\n")
		for _, o := range []struct{ name, value string }{{fieldMaxAge, s.MaxAge}, {fieldMaxBytes, s.MaxBytes}} {
			if o.value != "" {
				fmt.Fprintf(&b, "%s = %s\n", o.name, schema.Literal(o.value))
			}
		}
		b.WriteString("}\n")
	}
	if block, _, err := parseStorage(s.Storage); err == nil {
		b.WriteString("\n" + block + "\n")
	}
	b.WriteString("}\n")
	return string(hclwrite.Format([]byte(b.String())))
}

// changeServer makes a change, whose fields were checked, in a draft.
func (d *Draft) changeServer(name string, c ServerChange) error {
	if _, err := d.findBlock([]string{"server", name}); err != nil {
		return err
	}
	steps := []error{d.setText(fieldDescription, c.Description, "server", name)}
	if c.Autostart != nil {
		steps = append(steps, d.SetAttribute("autostart", cty.BoolVal(*c.Autostart), "server", name))
	}
	for _, o := range []struct {
		field string
		value *string
	}{{fieldMaxAge, c.MaxAge}, {fieldMaxBytes, c.MaxBytes}} {
		retention := []string{"server", name, "retention", ""}
		block, err := d.findBlock(retention)
		if missing := err != nil; missing && (o.value == nil || *o.value == "") {
			continue
		} else if missing {
			steps = append(steps, d.AddBlock("retention {}\n", "server", name))
		}
		steps = append(steps, d.setText(o.field, o.value, retention...))
		if err == nil && o.value != nil && *o.value == "" && block.Body.Attributes[o.field] != nil {
			steps = append(steps, d.removeIfEmpty(retention...))
		}
	}
	if c.Storage != nil {
		steps = append(steps, d.setStorage(name, *c.Storage))
	}
	return errors.Join(steps...)
}

// setText sets an attribute, or removes it if the text is empty. Nil: it stays as it is.
func (d *Draft) setText(attribute string, text *string, within ...string) error {
	switch {
	case text == nil:
		return nil
	case *text == "":
		return d.RemoveAttribute(attribute, within...)
	}
	return d.SetAttribute(attribute, cty.StringVal(*text), within...)
}

// setStorage replaces, adds or removes the storage block of a server.
func (d *Draft) setStorage(name, text string) error {
	server, err := d.findBlock([]string{"server", name})
	if err != nil {
		return err
	}
	var block string
	if text != "" {
		if block, _, err = parseStorage(text); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(server.Body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == fieldStorage && len(b.Labels) == 1 })
	switch {
	case i < 0 && text == "":
		return nil
	case i < 0:
		return d.AddBlock(block+"\n", "server", name)
	}
	names := []string{"server", name, fieldStorage, server.Body.Blocks[i].Labels[0]}
	if text == "" {
		return d.RemoveBlock(names...)
	}
	return d.ReplaceBlock(block, names...)
}
