package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// Draft is a file that a command changes for the operator. What the command does not change
// stays as it was written, with its comments, order and spaces. Nothing is written before
// [Draft.Save].
//
// Blocks are named by their type and label, from the outermost to the innermost: "server",
// "main", "peer", "alice". The label of a block without one is empty.
type Draft struct {
	path     string // of the file
	main     string // of the configuration
	plugins  Plugins
	original []byte
	text     []byte
	broken   map[string]bool // servers in other files that had a fault before
}

// OpenDraft reads a configuration, and refuses one with errors as [Load] does. The draft is that
// of the main file.
func OpenDraft(path string, plugins Plugins) (*Draft, *Config, error) {
	_, src, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	main, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("find configuration: %w", err)
	}
	cfg, err := loadWith(path, plugins, map[string][]byte{main: src})
	if err != nil {
		return nil, nil, err
	}
	d := &Draft{path: path, main: path, plugins: plugins, original: src, text: src, broken: make(map[string]bool)}
	for _, s := range cfg.Servers {
		d.broken[s.Name] = s.Fault != nil
	}
	return d, cfg, nil
}

// ForServer returns a draft of the file in which a server of the configuration stands.
func (d *Draft) ForServer(s Server) (*Draft, error) {
	if main, err := filepath.Abs(d.main); err != nil || s.File == main {
		return d, err
	}
	src, err := readServerText(s.File)
	if err != nil {
		return nil, err
	}
	of := *d
	of.path, of.original, of.text = s.File, src, src
	of.broken = maps.Clone(d.broken)
	delete(of.broken, s.Name)
	return &of, nil
}

// Path returns the path of the file.
func (d *Draft) Path() string { return d.path }

// readServerText returns the text of a file in servers_dir.
func readServerText(path string) ([]byte, error) {
	src, summary, hint := readServerFile(path)
	doc, diags := &document{name: path, src: src}, hcl.Diagnostics(nil)
	if summary != "" {
		diags = faultAt(doc.rangeOfByte(0), summary, hint)
	} else {
		src, diags = utf8Text(path, src)
	}
	return src, doc.failureOf(diags)
}

// Setting is an attribute of a block that a command writes.
type Setting struct {
	Name  string
	Value cty.Value
}

// FormatBlock returns the text of a block.
func FormatBlock(kind, label string, settings ...Setting) string {
	block := hclwrite.NewBlock(kind, []string{label})
	for _, s := range settings {
		block.Body().SetAttributeValue(s.Name, s.Value)
	}
	return strings.Replace(string(hclwrite.Format(block.BuildTokens(nil).Bytes())), "{\n}", "{}", 1)
}

// AddBlock adds the text of a block at the end of the named one.
func (d *Draft) AddBlock(block string, within ...string) error { return d.addText(block, within) }

// SetAttribute sets an attribute of the named block to a value. The line of one that is there
// stays where it is, with its comment.
func (d *Draft) SetAttribute(name string, value cty.Value, within ...string) error {
	block, err := d.findBlock(within)
	if err != nil {
		return err
	}
	literal := hclwrite.TokensForValue(value).Bytes()
	attribute := block.Body.Attributes[name]
	if attribute == nil {
		return d.addText(fmt.Sprintf("%s = %s\n", name, literal), within)
	}
	at := attribute.Expr.Range()
	if d.text[at.End.Byte-1] == '\n' { // of a heredoc
		literal = append(literal, '\n')
	}
	d.text = slices.Replace(slices.Clone(d.text), at.Start.Byte, at.End.Byte, literal...)
	return nil
}

// RemoveAttribute removes an attribute of the named block, if it is there. A comment on its line
// stays, on a line of its own.
func (d *Draft) RemoveAttribute(name string, within ...string) error {
	block, err := d.findBlock(within)
	if err != nil {
		return err
	}
	attribute := block.Body.Attributes[name]
	if attribute == nil {
		return nil
	}
	begin, end := attribute.SrcRange.Start.Byte, attribute.SrcRange.End.Byte
	if block.OpenBraceRange.Start.Line == block.CloseBraceRange.Start.Line {
		open, brace := block.OpenBraceRange.End.Byte, block.CloseBraceRange.Start.Byte
		if len(bytes.TrimSpace(d.text[open:begin])) == 0 && len(bytes.TrimSpace(d.text[end:brace])) == 0 {
			begin, end = open, brace
		}
		d.text = slices.Delete(slices.Clone(d.text), begin, end)
		return nil
	}
	line := d.lineOf(begin)
	if d.text[end-1] == '\n' { // of a heredoc
		end--
	}
	behind := end + bytes.IndexByte(d.text[end:], '\n') // the brace is behind it
	comment := end + len(d.text[end:behind]) - len(bytes.TrimLeft(d.text[end:behind], " \t\r"))
	if comment == behind && len(bytes.TrimSpace(d.text[line:begin])) == 0 {
		d.removeLines(line, behind+1)
		return nil
	}
	d.text = slices.Delete(slices.Clone(d.text), begin, comment)
	return nil
}

// removeLines removes whole lines, and an empty one beside them that would have nothing to part.
func (d *Draft) removeLines(begin, end int) {
	d.text = slices.Delete(slices.Clone(d.text), begin, end)
	isEmpty := func(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }
	for begin > 0 {
		above := d.lineOf(begin - 1)
		behind := len(d.text)
		if n := bytes.IndexByte(d.text[begin:], '\n'); n >= 0 {
			behind = begin + n + 1
		}
		next := bytes.TrimSpace(d.text[begin:behind])
		switch {
		case isEmpty(d.text[above:begin]) && (len(next) == 0 || next[0] == '}'):
			d.text = slices.Delete(d.text, above, begin)
			begin = above
		case bytes.HasSuffix(bytes.TrimSpace(d.text[above:begin]), []byte("{")) && len(next) == 0 && behind > begin:
			d.text = slices.Delete(d.text, begin, behind)
		default:
			return
		}
	}
}

// removeIfEmpty removes the named block if it has nothing, not even a comment.
func (d *Draft) removeIfEmpty(names ...string) error {
	block, err := d.findBlock(names)
	if err != nil || len(bytes.TrimSpace(d.text[block.OpenBraceRange.End.Byte:block.CloseBraceRange.Start.Byte])) > 0 {
		return err
	}
	return d.RemoveBlock(names...)
}

// ReplaceBlock puts the text of a block in the place of the named one.
func (d *Draft) ReplaceBlock(block string, names ...string) error {
	old, err := d.findBlock(names)
	if err != nil {
		return err
	}
	begin, end := old.TypeRange.Start.Byte, old.CloseBraceRange.End.Byte
	text := strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n"+d.indentAt(begin))
	d.text = slices.Delete(slices.Clone(d.text), begin, end)
	d.insert(begin, text)
	return nil
}

// RemoveBlock removes the named block, with the lines of comment directly above it.
func (d *Draft) RemoveBlock(names ...string) error {
	block, err := d.findBlock(names)
	if err != nil {
		return err
	}
	begin := d.lineOf(block.TypeRange.Start.Byte)
	for begin > 0 {
		above := d.lineOf(begin - 1)
		line := bytes.TrimLeft(d.text[above:begin], " \t")
		if !bytes.HasPrefix(line, []byte("#")) && !bytes.HasPrefix(line, []byte("//")) {
			break
		}
		begin = above
	}
	end := len(d.text)
	if n := bytes.IndexByte(d.text[block.CloseBraceRange.End.Byte:], '\n'); n >= 0 {
		end = block.CloseBraceRange.End.Byte + n + 1
	}
	d.removeLines(begin, end)
	return nil
}

// lineOf returns where the line of a place begins.
func (d *Draft) lineOf(at int) int { return bytes.LastIndexByte(d.text[:at], '\n') + 1 }

// addText adds lines at the end of the named block. A block on one line becomes one on several.
func (d *Draft) addText(lines string, within []string) error {
	if err := d.widenBlock(within); err != nil {
		return err
	}
	block, err := d.findBlock(within)
	if err != nil {
		return err
	}
	brace := block.CloseBraceRange.Start.Byte
	begin := d.lineOf(brace)
	outer := d.indentAt(block.TypeRange.Start.Byte)
	var added strings.Builder
	for line := range strings.Lines(lines) {
		added.WriteString(outer + "  " + line)
	}
	if len(bytes.TrimLeft(d.text[begin:brace], " \t")) > 0 { // a comment is in front of the brace
		d.insert(brace, "\n"+added.String()+outer)
	} else {
		d.insert(begin, added.String())
	}
	return nil
}

// widenBlock puts what is between the braces of a block on lines of its own.
func (d *Draft) widenBlock(names []string) error {
	block, err := d.findBlock(names)
	if err != nil || block.OpenBraceRange.Start.Line != block.CloseBraceRange.Start.Line {
		return err
	}
	open, end := block.OpenBraceRange.End.Byte, block.CloseBraceRange.Start.Byte
	outer := d.indentAt(block.TypeRange.Start.Byte)
	inside := strings.TrimSpace(string(d.text[open:end]))
	if inside != "" {
		inside = outer + "  " + inside + "\n"
	}
	d.text = slices.Delete(slices.Clone(d.text), open, end)
	d.insert(open, "\n"+inside+outer)
	return nil
}

// insert puts text at a place, with the ends of lines that the file has.
func (d *Draft) insert(at int, text string) {
	if bytes.Contains(d.text, []byte("\r\n")) {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	d.text = slices.Insert(slices.Clone(d.text), at, []byte(text)...)
}

// indentAt returns the spaces in front of the line of a place.
func (d *Draft) indentAt(at int) string {
	line := d.text[d.lineOf(at):at]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

// findBlock returns where the named block is in the text.
func (d *Draft) findBlock(names []string) (*hclsyntax.Block, error) {
	_, body, err := parseFile(d.path, d.text)
	if err != nil {
		return nil, err
	}
	var found *hclsyntax.Block
	for pair := range slices.Chunk(names, 2) {
		i := slices.IndexFunc(body.Blocks, func(b *hclsyntax.Block) bool {
			return b.Type == pair[0] && strings.Join(b.Labels, "\x00") == pair[1]
		})
		if i < 0 {
			return nil, d.missingError(names)
		}
		found, body = body.Blocks[i], body.Blocks[i].Body
	}
	return found, nil
}

func (d *Draft) missingError(names []string) error {
	return fmt.Errorf("%s has no block %s", d.path, strings.Join(names, " "))
}

// ErrInvalidDraft: the file would have errors, which the error names, with their places in the
// file as it would be.
var ErrInvalidDraft = errors.New("the file would not be valid")

// Save writes the file, whole or not at all. Its mode and owner stay. It refuses a text with
// errors, one because of which another server could not run any more, and a file that somebody
// else has changed since [OpenDraft]. It does nothing if nothing was changed.
func (d *Draft) Save() error {
	if bytes.Equal(d.text, d.original) {
		return nil
	}
	if _, err := d.loadChanged(); err != nil {
		return err
	}
	return d.writeChanged()
}

// writeChanged is Save for a text that was checked.
func (d *Draft) writeChanged() error {
	if bytes.Equal(d.text, d.original) {
		return nil
	}
	return d.replace(d.original, d.text)
}

// loadChanged loads the configuration as it would be.
func (d *Draft) loadChanged() (*Config, error) {
	most := maxServerFile
	if d.path == d.main {
		most = maxFile
	}
	if len(d.text) > most {
		return nil, fmt.Errorf("%w: it would have more than %d KiB", ErrInvalidDraft, most>>10)
	}
	path, err := filepath.Abs(d.path)
	if err != nil {
		return nil, err
	}
	cfg, err := loadWith(d.main, d.plugins, map[string][]byte{path: d.text})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidDraft, err)
	}
	for _, s := range cfg.Servers {
		if s.Fault != nil && !d.broken[s.Name] {
			return nil, fmt.Errorf("%w: %w", ErrInvalidDraft, s.Fault)
		}
	}
	return cfg, nil
}

// Revert writes back what was there before Save.
func (d *Draft) Revert() error {
	if bytes.Equal(d.text, d.original) {
		return nil
	}
	return d.replace(d.text, d.original)
}

func (d *Draft) replace(was, text []byte) error {
	now, err := d.readAgain()
	if err != nil || !bytes.Equal(now, was) {
		return errors.Join(err, fmt.Errorf("%s has been changed by somebody else meanwhile, and was left as it is: try again", d.path))
	}
	if err := durable.ReplaceFile(d.path, text); err != nil {
		return fmt.Errorf("write %s: %w", d.path, err)
	}
	return nil
}

// readAgain returns what the file has now.
func (d *Draft) readAgain() ([]byte, error) {
	if d.path != d.main {
		return readServerText(d.path)
	}
	_, src, err := readFile(d.path)
	return src, err
}
