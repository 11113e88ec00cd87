package config

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Load reads, decodes and checks a file, and those of servers beside it. It starts and writes
// nothing, apart from what plugins.Describe and plugins.Validate do. The error is an [*Error]
// unless the file could not be read. A file with syntax errors is not examined further.
func Load(path string, plugins Plugins) (*Config, error) {
	return loadWith(path, plugins, nil)
}

// loadWith is Load with other texts for some files than they have, or for files that are not
// there. The key is an absolute path.
func loadWith(path string, plugins Plugins, texts map[string][]byte) (*Config, error) {
	l, body, err := beginLoad(path, plugins, texts)
	if err != nil {
		return nil, err
	}
	cfg := l.loadFile(body)
	if err := l.doc.failureOf(l.diags); err != nil {
		return nil, err
	}
	return cfg, nil
}

// beginLoad reads and parses a file.
func beginLoad(path string, plugins Plugins, texts map[string][]byte) (*loader, *hclsyntax.Body, error) {
	main, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("find configuration: %w", err)
	}
	src, given := texts[main]
	if !given {
		if _, src, err = readFile(path); err != nil {
			return nil, nil, err
		}
	}
	doc, body, err := parseFile(path, src)
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Dir(main)
	return &loader{
		doc: doc, path: main, dir: dir, plugins: plugins, texts: texts, eval: evalContext(dir, maxSecrets),
		names: make(map[string]hcl.Range), files: make(map[string]string),
	}, body, nil
}

// readFile returns the text of a file and the directory of the file.
func readFile(path string) (dir string, src []byte, err error) {
	if dir, err = filepath.Abs(filepath.Dir(path)); err != nil {
		return "", nil, fmt.Errorf("find configuration: %w", err)
	}
	if src, err = readBounded(path, maxFile); err != nil {
		return "", nil, fmt.Errorf("read configuration: %w", err)
	}
	src, diags := utf8Text(path, src)
	return dir, src, (&document{name: path, src: src}).failureOf(diags)
}

// parseFile parses a text. After an error the file is not examined further.
func parseFile(name string, src []byte) (*document, *hclsyntax.Body, error) {
	doc, body, diags := parseText(name, src)
	if err := doc.failureOf(diags); err != nil {
		return nil, nil, err
	}
	return doc, body, nil
}

// parseText parses a text. If there are diagnostics, there is no body.
func parseText(name string, src []byte) (*document, *hclsyntax.Body, hcl.Diagnostics) {
	doc := &document{name: name, src: src}
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos) // the parser repeats the errors
	if diags := checkTokens(tokens); diags.HasErrors() {
		return doc, nil, diags
	}
	file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	doc.file = file
	if diags.HasErrors() {
		return doc, nil, diags
	}
	body := file.Body.(*hclsyntax.Body)
	if diags := refuseLoops(body); diags.HasErrors() {
		return doc, nil, diags
	}
	return doc, body, nil
}

// loader collects the mistakes of a configuration while it is read.
type loader struct {
	doc      *document // of the main file, which includes the others
	path     string    // of the main file, absolute
	dir      string    // of the main file
	plugins  Plugins
	texts    map[string][]byte // see loadWith
	eval     *hcl.EvalContext
	private  []string             // directories with keys
	declared []*declared          // as in Config.Plugins
	names    map[string]hcl.Range // the headers of servers
	files    map[string]string    // the files of servers_dir, by path; the value is the name of the server
	diags    hcl.Diagnostics
	kept     hcl.Diagnostics // faults that stay with their server
}

func (l *loader) addFault(at hcl.Range, summary, hint string) {
	l.diags = append(l.diags, faultAt(at, summary, hint)...)
}

// describePlace returns the line of a place, and its file if it is another one than that
// of the text in which the place is named.
func (l *loader) describePlace(at, from hcl.Range) string {
	if l.doc.indexOf(at) == l.doc.indexOf(from) {
		return fmt.Sprintf("line %d", at.Start.Line)
	}
	return fmt.Sprintf("line %d of %s", at.Start.Line, l.doc.documentOf(at).name)
}

// loadFile reads the blocks of a file. Plugin blocks come before server blocks, so that a
// server finds the plugins that are declared below it.
func (l *loader) loadFile(body *hclsyntax.Body) *Config {
	top, blocks := l.openSection(body, body.MissingItemRange(), fileOptions,
		hcl.BlockHeaderSchema{Type: "network", LabelNames: []string{"kind"}},
		hcl.BlockHeaderSchema{Type: "console"},
		hcl.BlockHeaderSchema{Type: "log"},
		hcl.BlockHeaderSchema{Type: "limits"},
		hcl.BlockHeaderSchema{Type: "plugin", LabelNames: []string{"kind", "name"}},
		hcl.BlockHeaderSchema{Type: "server", LabelNames: []string{"name"}})
	of := blocks.ByType()

	cfg := &Config{DataDir: l.pathOption(top, "data_dir")}
	usable := l.checkDirectory(top.rangeOf("data_dir"), cfg.DataDir, true)
	if top.isSet("servers_dir") || top.hasError("servers_dir") {
		cfg.ServersDir = l.pathOption(top, "servers_dir")
	} else if usable {
		cfg.ServersDir = filepath.Join(cfg.DataDir, defaultServersDir)
	}
	cfg.Network = l.loadNetwork(of["network"], cfg.DataDir)
	l.private = []string{cfg.DataDir}
	if t := cfg.Network.Tor; t != nil {
		l.private = append(l.private, t.DataDir)
	}
	cfg.Console = l.loadConsole(of["console"])
	cfg.Log = l.loadLog(l.singleBlock(of["log"], logOptions))
	bounds := l.singleBlock(of["limits"], limits.Schema())
	cfg.Limits = l.loadLimits(bounds)
	cfg.Plugins = l.loadExternals(of["plugin"])
	for _, b := range of["server"] {
		cfg.Servers = append(cfg.Servers, l.loadServer(b, l.path, cfg))
	}
	l.loadServerFiles(top.rangeOf("servers_dir"), cfg)
	l.refuseOverfilling(bounds, cfg)
	l.refuseSharedListeners(cfg)
	l.requireBlock(body, "network", `Add network "tor" {}.`)
	if usable {
		for i, s := range cfg.Servers {
			if summary, hint := examineDirectory(s.Dir, true); summary != "" {
				l.failUse(&cfg.Servers[i].Storage, faultAt(l.names[s.Name], summary, hint))
			}
		}
	}
	if l.plugins.KeepFaults {
		l.keepFileFaults(cfg)
	}
	isUsable := func(s Server) bool { return s.Storage.Fault == nil }
	noneLeft := len(cfg.Servers) > 0 && cfg.Console == nil && !slices.ContainsFunc(cfg.Servers, isUsable)
	if l.diags.HasErrors() || noneLeft && !l.plugins.keepAll {
		l.diags = append(l.diags, l.kept...)
	}
	return cfg
}

// section is a decoded block. Options with errors are unknown, and read as zero.
type section struct {
	body   hcl.Body
	header hcl.Range
	schema plugin.Schema
	values map[string]cty.Value
}

// openSection decodes a body. It returns the blocks of the types in others undecoded.
func (l *loader) openSection(body hcl.Body, header hcl.Range, s plugin.Schema, others ...hcl.BlockHeaderSchema) (section, hcl.Blocks) {
	value, blocks, diags := schema.Decode(body, s, l.eval, others...)
	l.diags = append(l.diags, diags...)
	return section{body, header, s, value.AsValueMap()}, blocks
}

// singleBlock decodes a block that may be there once. A missing block is decoded as empty.
func (l *loader) singleBlock(blocks hcl.Blocks, s plugin.Schema) section {
	if len(blocks) == 0 {
		sec, _ := l.openSection(hcl.EmptyBody(), hcl.Range{}, s)
		return sec
	}
	sec, _ := l.openSection(blocks[0].Body, blocks[0].DefRange, s)
	l.refuseRepeated(blocks)
	return sec
}

// requireBlock reports a file without a block of a type. Mistakes in a block are reported
// elsewhere.
func (l *loader) requireBlock(body *hclsyntax.Body, kind, hint string) {
	if !slices.ContainsFunc(body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == kind }) {
		l.addFault(body.MissingItemRange(), fmt.Sprintf("no %s block", kind), hint)
	}
}

// refuseRepeated reports every block but the first.
func (l *loader) refuseRepeated(blocks hcl.Blocks) {
	for _, b := range blocks[min(1, len(blocks)):] {
		l.addFault(b.DefRange, fmt.Sprintf("second %s block", b.Type),
			fmt.Sprintf("There is one already, on line %d.", blocks[0].DefRange.Start.Line))
	}
}

// rangeOf is where an option is written, or else the header of its block.
func (s section) rangeOf(name string) hcl.Range {
	return schema.Locate(s.body, s.schema, s.header, []string{name})
}

// hasError reports whether an option had an error.
func (s section) hasError(name string) bool { return !s.valueOf(name).IsWhollyKnown() }

func (s section) isSet(name string) bool { return !s.hasError(name) && !s.valueOf(name).IsNull() }

func (s section) valueOf(name string) cty.Value {
	value, ok := s.values[name]
	if !ok {
		panic("config: there is no option " + name)
	}
	return value
}

func (s section) textOf(name string) string {
	if !s.isSet(name) {
		return ""
	}
	return s.valueOf(name).AsString()
}

func (s section) numberOf(name string) int64 {
	if !s.isSet(name) {
		return 0
	}
	n, _ := s.valueOf(name).AsBigFloat().Int64() // exact: the schema was checked
	return n
}

func (s section) flagOf(name string) bool { return s.isSet(name) && s.valueOf(name).True() }

func (s section) listOf(name string) []string {
	if !s.isSet(name) {
		return nil
	}
	var texts []string
	for _, v := range s.valueOf(name).AsValueSlice() {
		texts = append(texts, v.AsString())
	}
	return texts
}
