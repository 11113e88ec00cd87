package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Text is a piece of configuration that does not come from the file.
type Text struct {
	Name   string // that errors give for the place
	Source string
}

// maxStoreText bounds a Text, in bytes.
const maxStoreText = 64 << 10

// LoadStores reads a file as [Load] does, and then texts that each say where
// envelopes are stored, in the words of the file:
//
//	server "club"                           as the file says for that server
//	server "club" storage "bolt" { … }      in the directory of that server
//	storage "bolt" { … }                    in the directory of the server called name
//
// The second form exists because HCL allows no block inside another on a single line. A
// server block with a storage block inside is accepted as well. An empty body may be left
// out. The name may be empty if the file has one server. LoadStores returns, for each text,
// the server with that storage.
func LoadStores(path string, plugins Plugins, name string, texts ...Text) (*Config, []Server, error) {
	l, body, err := beginLoad(path, plugins, nil)
	if err != nil {
		return nil, nil, err
	}
	cfg := l.loadFile(body)
	if err := l.doc.failureOf(l.diags); err != nil {
		return nil, nil, err
	}
	var stores []Server
	for _, text := range texts {
		s, err := l.loadStoreText(text, name, cfg)
		if err == nil {
			err = cmp.Or(s.Fault, s.Storage.Fault)
		}
		if err != nil {
			return nil, nil, err
		}
		stores = append(stores, s)
	}
	return cfg, stores, nil
}

// loadStoreText reads one text.
func (l *loader) loadStoreText(text Text, name string, cfg *Config) (Server, error) {
	source := strings.TrimSpace(text.Source)
	if !strings.HasSuffix(source, "}") {
		source += " {}"
	}
	if len(source) > maxStoreText {
		return Server{}, fmt.Errorf("%s is longer than %d bytes", text.Name, maxStoreText)
	}
	doc, body, err := parseFile(text.Name, []byte(source))
	if err != nil {
		return Server{}, err
	}
	l.doc.included = append(l.doc.included, doc)
	l.diags = nil
	s := l.storeIn(body, name, cfg)
	return s, l.doc.failureOf(l.diags)
}

// storeIn decodes the one block of a text, which names a store.
func (l *loader) storeIn(body *hclsyntax.Body, name string, cfg *Config) (s Server) {
	if len(body.Blocks) != 1 || len(body.Attributes) > 0 {
		l.addFault(body.MissingItemRange(), "a store is one block", storeHint)
		return s
	}
	b := body.Blocks[0].AsHCLBlock()
	storage := string(plugin.KindStorage)
	switch n := len(b.Labels); {
	case b.Type == "server" && n == 1:
		s = l.serverNamed(b.Labels[0], b.LabelRanges[0], cfg)
		_, nested := l.openSection(b.Body, b.DefRange, plugin.Schema{}, hcl.BlockHeaderSchema{Type: storage, LabelNames: []string{"name"}})
		if len(nested) > 0 {
			s.Storage = l.loadStorage(nested, b.DefRange, cfg)
		}
	case b.Type == "server" && n == 3 && b.Labels[1] == storage:
		s = l.serverNamed(b.Labels[0], b.LabelRanges[0], cfg)
		b.Labels, b.LabelRanges = b.Labels[2:], b.LabelRanges[2:]
		s.Storage = l.loadStorage(hcl.Blocks{b}, b.DefRange, cfg)
	case b.Type == storage && n == 1:
		s = l.serverNamed(name, b.DefRange, cfg)
		s.Storage = l.loadStorage(hcl.Blocks{b}, b.DefRange, cfg)
	default:
		l.addFault(b.DefRange, "this does not say where envelopes are stored", storeHint)
	}
	return s
}

const storeHint = `Write server "NAME", server "NAME" storage "PLUGIN" { … } or storage "PLUGIN" { … }.`

// serverNamed finds a server of the file. Without a name, the file must have only one.
func (l *loader) serverNamed(name string, at hcl.Range, cfg *Config) Server {
	names := make([]string, len(cfg.Servers))
	for i, s := range cfg.Servers {
		names[i] = s.Name
	}
	if name == "" && len(names) > 1 {
		l.addFault(at, "the configuration has several servers", fmt.Sprintf("Say which: server %q storage ….", names[0]))
		return Server{}
	}
	i := slices.IndexFunc(cfg.Servers, func(s Server) bool { return name == "" || s.Name == name })
	if len(names) == 0 {
		l.addFault(at, "the configuration has no servers", "")
		return Server{}
	}
	if i < 0 {
		l.addFault(at, fmt.Sprintf("the configuration has no server %.80q", name), schema.Suggest(name, "servers", names))
		return Server{}
	}
	return cfg.Servers[i]
}
