package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Bounds of servers_dir.
const (
	maxServerFiles   = 256
	maxServerFile    = 64 << 10 // bytes
	maxServerSecrets = 64 << 10 // bytes that the functions of one file give
	maxEntries       = 4096     // of the directory, whatever they are
)

const serverSuffix = ".hcl"

// loadServer decodes a server block that stands in a file.
func (l *loader) loadServer(b *hcl.Block, file string, cfg *Config) Server {
	name := b.Labels[0]
	switch other, twice := l.names[name]; {
	case !serverName.MatchString(name):
		l.addFault(b.LabelRanges[0], "the name of a server is 1 to 64 of a-z, 0-9 and -", `For example: server "book-club". A description may hold anything.`)
	case twice:
		l.addFault(b.LabelRanges[0], fmt.Sprintf("second server %q", name),
			fmt.Sprintf("There is one already, on %s. Servers need names of their own.", l.describePlace(other, b.DefRange)))
	default:
		l.names[name] = b.DefRange
	}
	sec, blocks := l.openSection(b.Body, b.DefRange, serverOptions, append(pluginBlocks(), hcl.BlockHeaderSchema{Type: "retention"}, hcl.BlockHeaderSchema{Type: "peer", LabelNames: []string{"name"}})...)
	of := blocks.ByType()
	server := Server{
		Name:        name,
		Description: cleanDescription(sec.textOf("description")),
		Autostart:   sec.flagOf("autostart"),
		Passphrase:  l.loadPassphrase(sec),
		Roaming:     sec.flagOf("roaming_clients"),
		Dir:         filepath.Join(cfg.DataDir, "servers", name),
		File:        file,
		Range:       rangeOf(b.DefRange),
	}
	server.Storage = l.loadStorage(of[string(plugin.KindStorage)], b.DefRange, cfg)
	server.Stats = l.loadUses(plugin.KindStats, of[string(plugin.KindStats)], cfg)
	server.PeerSync = l.loadUses(plugin.KindPeerSync, of[string(plugin.KindPeerSync)], cfg)
	server.Peers = l.loadPeers(of["peer"], of[string(plugin.KindPeerSync)])
	server.Retention = l.loadRetention(l.singleBlock(of["retention"], limits.RetentionSchema()), &server.Storage)
	server.Retention.Written = len(of["retention"]) > 0
	return server
}

// maxDescription bounds a description, in characters.
const maxDescription = 1000

// cleanDescription makes a description fit to be shown.
func cleanDescription(text string) string {
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if isHidden(r) {
			return ' '
		}
		return r
	}, text))
	if utf8.RuneCountInString(text) <= maxDescription {
		return text
	}
	return string([]rune(text)[:maxDescription-1]) + "…"
}

// isHidden reports whether a character breaks lines, controls a terminal, or changes the
// direction of the text around it, so that it reads otherwise than it is.
func isHidden(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// loadServerFiles reads the files of servers_dir. The option is at the given place.
func (l *loader) loadServerFiles(at hcl.Range, cfg *Config) {
	if cfg.ServersDir == "" {
		return // was reported
	}
	if cfg.ServersDir == l.dir {
		l.addFault(at, "servers_dir is the directory of this file", `Choose another one, such as "servers.d".`)
		return
	}
	names, summary, hint := listServerFiles(cfg.ServersDir)
	if summary != "" {
		l.addFault(at, summary, hint)
		return
	}
	for path := range l.texts {
		if dir, name := filepath.Split(path); filepath.Clean(dir) == cfg.ServersDir && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	main := l.eval
	for i, name := range names {
		l.eval = evalContext(cfg.ServersDir, maxServerSecrets)
		l.loadServerFile(name, i, cfg)
	}
	l.eval = main
}

// listServerFiles returns the names in servers_dir that end in .hcl, or what is wrong with
// the directory. One that is missing has none.
func listServerFiles(dir string) (names []string, summary, hint string) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", ""
	}
	if err != nil {
		return nil, fmt.Sprintf("cannot read the directory %s: %v", dir, causeOf(err)), "Choose another directory, or open it to the user of the relay."
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.IsDir() {
		return nil, dir + " is not a directory", "Choose another directory, or move the file away."
	}
	if err == nil {
		if summary, hint := examineOwner(dir, info); summary != "" {
			return nil, "the directory " + summary, hint
		}
	}
	entries, readErr := f.Readdirnames(maxEntries + 1)
	if readErr == io.EOF {
		readErr = nil
	}
	if err := errors.Join(err, readErr); err != nil {
		return nil, fmt.Sprintf("cannot read the directory %s: %v", dir, causeOf(err)), "Look at the disk."
	}
	if len(entries) > maxEntries {
		return nil, fmt.Sprintf("the directory %s has more than %d entries", dir, maxEntries), "Choose a directory that has the files of servers and nothing else."
	}
	return slices.DeleteFunc(entries, func(name string) bool {
		return strings.HasPrefix(name, ".") || !strings.HasSuffix(name, serverSuffix)
	}), "", ""
}

// examineOwner returns what is wrong with the owner or the mode of a file or directory that
// decides what the relay runs. Root may own it.
func examineOwner(path string, info fs.FileInfo) (summary, hint string) {
	err := ownership.CheckMode(path, info, 0o022)
	if ownership.UID(info) != 0 {
		err = ownership.Check(path, info, 0o022)
	}
	if wrong, ok := errors.AsType[*ownership.Error](err); ok {
		return wrong.Problem, sentence(wrong.Remedy)
	}
	return "", ""
}

// readServerFile reads a file of servers_dir without following a link, or returns what is
// wrong with it.
func readServerFile(path string) (src []byte, summary, hint string) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, path + " is a symbolic link", "Put the file itself there, or set servers_dir to the directory where it is."
	}
	if err != nil {
		return nil, fmt.Sprintf("cannot read %s: %v", path, causeOf(err)), "Give it to the user of the relay, who must be able to read it."
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		if summary, hint := examineOwner(path, info); summary != "" {
			return nil, summary, hint
		}
		src, err = readRegular(f, info, maxServerFile)
	}
	if err != nil {
		return nil, fmt.Sprintf("cannot read %s: %v", path, causeOf(err)), fmt.Sprintf("Here is one file of at most %d KiB for each server, and nothing else.", maxServerFile>>10)
	}
	return src, "", ""
}

// loadServerFile reads the file of a server. Its faults have places in it.
func (l *loader) loadServerFile(base string, number int, cfg *Config) {
	path := filepath.Join(cfg.ServersDir, base)
	name := strings.TrimSuffix(base, serverSuffix)
	other, twice := l.names[name]
	l.files[path] = name
	doc := &document{name: path}
	l.doc.included = append(l.doc.included, doc)
	src, given := l.texts[path]
	var summary, hint string
	switch {
	case !serverName.MatchString(name):
		summary, hint = fmt.Sprintf("%.100q is not the name of a server", name), "The name of the file is that of the server and .hcl; a server has 1 to 64 of a-z, 0-9 and -."
	case twice:
		summary = fmt.Sprintf("second server %q", name)
		hint = fmt.Sprintf("There is one already, on %s, and it is the one that runs. Servers need names of their own.", l.describePlace(other, hcl.Range{Filename: path}))
	case number >= maxServerFiles:
		summary, hint = fmt.Sprintf("more than %d files in %s", maxServerFiles, cfg.ServersDir), "This and those behind it are not read. Run another relay for them, or move their servers to the main file."
	case !given:
		src, summary, hint = readServerFile(path)
	}
	start := hcl.Range{Filename: path, Start: hcl.InitialPos, End: hcl.InitialPos}
	server := l.stubServer(name, start, cfg)
	if summary != "" {
		l.addFault(start, summary, hint)
	} else if block := l.parseServerFile(doc, name, src); block != nil {
		server = l.loadServer(block, path, cfg)
	}
	if _, taken := l.names[name]; !taken {
		l.names[name] = start
	}
	if serverName.MatchString(name) && !twice {
		cfg.Servers = append(cfg.Servers, server)
	}
}

// parseServerFile completes the document of a file, and returns its one block, or nil if it
// cannot be decoded.
func (l *loader) parseServerFile(doc *document, name string, src []byte) *hcl.Block {
	var diags hcl.Diagnostics
	var body *hclsyntax.Body
	if doc.src, diags = utf8Text(doc.name, src); !diags.HasErrors() {
		var parsed *document
		parsed, body, diags = parseText(doc.name, doc.src)
		*doc = *parsed
	}
	l.diags = append(l.diags, diags...)
	if body == nil {
		return nil
	}
	header := hcl.BlockHeaderSchema{Type: "server", LabelNames: []string{"name"}}
	_, blocks := l.openSection(body, body.MissingItemRange(), plugin.Schema{}, header)
	switch {
	case len(body.Blocks) == 0 && len(body.Attributes) == 0:
		l.addFault(body.MissingItemRange(), "no server block", fmt.Sprintf("Write server %q {}.", name))
	case len(blocks) > 1:
		l.refuseRepeated(blocks)
	case len(blocks) == 1 && blocks[0].Labels[0] != name:
		l.addFault(blocks[0].LabelRanges[0], fmt.Sprintf("the server is %.100q here and %q in the name of the file", blocks[0].Labels[0], name),
			fmt.Sprintf("Write server %q, or rename the file.", name))
	case len(blocks) == 1:
		return blocks[0]
	}
	return nil
}

// stubServer is what is known of a server whose file cannot be used.
func (l *loader) stubServer(name string, at hcl.Range, cfg *Config) Server {
	return Server{
		Name: name, Dir: filepath.Join(cfg.DataDir, "servers", name), File: at.Filename, Range: rangeOf(at),
		Storage: PluginUse{Kind: plugin.KindStorage, Name: defaultStorage, Instance: defaultStorage, Range: rangeOf(at), header: at, doc: l.doc},
	}
}

// keepFileFaults leaves the faults in files of servers to these servers.
func (l *loader) keepFileFaults(cfg *Config) {
	faults := make(map[string]hcl.Diagnostics)
	l.diags = slices.DeleteFunc(l.diags, func(d *hcl.Diagnostic) bool {
		file := l.doc.subjectOf(d).Filename
		if _, ok := l.files[file]; !ok {
			return false
		}
		faults[file] = append(faults[file], d)
		l.kept = append(l.kept, d)
		return true
	})
	for i, s := range cfg.Servers {
		if diags := faults[s.File]; len(diags) > 0 {
			stub := l.stubServer(s.Name, l.names[s.Name], cfg)
			stub.Description, stub.Fault = s.Description, l.doc.failureOf(diags)
			stub.File, stub.Storage.Fault = s.File, stub.Fault
			cfg.Servers[i] = stub
			delete(faults, s.File)
		}
	}
	for _, doc := range l.doc.included {
		if diags := faults[doc.name]; len(diags) > 0 {
			cfg.UnusedFiles = append(cfg.UnusedFiles, UnusedFile{doc.name, l.doc.failureOf(diags)})
		}
	}
}
