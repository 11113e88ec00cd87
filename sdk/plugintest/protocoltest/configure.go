package protocoltest

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var configureChecks = []check{
	{"ProtocolValidate", "Validate and Configure refuse what is no configuration of the schema: bytes that are no msgpack, no map, values of other types", (*fixture).validates},
	{"ProtocolInvalid", "Validate and Configure refuse a configuration that the plugin cannot use, with a diagnostic whose path leads into the schema", (*fixture).refusesInvalid},
	{"ProtocolRefused", "a Configure that is refused changes nothing", (*fixture).refusedConfigure},
	{"ProtocolSame", "Configure with the same bytes and directory does nothing and succeeds", (*fixture).sameConfigure},
	{"ProtocolOther", "Configure with others closes what is open and opens anew", (*fixture).otherConfigure},
	{"ProtocolOtherWaits", "Configure with others waits for the calls under way", (*fixture).otherConfigureWaits},
	{"ProtocolFailed", "when a later Configure fails nothing is open: Health says FAILED, and calls are UNAVAILABLE", (*fixture).failedConfigure},
}

// broken is what is no configuration of the schema, and what is wrong with it.
type broken struct {
	what   string
	config []byte
}

// brokenConfigs are such as no relay sends.
func (f *fixture) brokenConfigs() []broken {
	out := []broken{
		{"a byte that msgpack does not have", []byte{0xc1}},
		{"a text in place of a map", []byte("\xa5hello")},
		{"a number in place of a map", []byte{0x2a}},
	}
	if len(f.config) > 1 {
		out = append(out, broken{"a configuration without its last byte", f.config[:len(f.config)-1]})
	}
	var names []string
	for _, a := range f.description.Schema.Attributes {
		names = append(names, a.Name)
	}
	for _, b := range f.description.Schema.Blocks {
		names = append(names, b.Name)
	}
	if len(names) > 0 {
		out = append(out, broken{"a map of which every value is a list in a list", listsInLists(names)})
	}
	return out
}

// listsInLists is a map of all names to a value that no schema can ask for.
func listsInLists(names []string) []byte {
	out := binary.BigEndian.AppendUint16([]byte{0xde}, uint16(len(names)))
	for _, name := range names {
		out = append(out, 0xd9, byte(len(name)))
		out = append(out, name...)
		out = append(out, 0x91, 0x91, 0x90)
	}
	return out
}

func (f *fixture) validates() {
	p := f.begin()
	for _, b := range f.brokenConfigs() {
		ctx, cancel := context.WithTimeout(f.Context(), host.DescribeTimeout)
		f.isRefused("Validate", b.what, p.Client().Validate(ctx, b.config))
		cancel()
	}
	for _, b := range f.brokenConfigs() {
		f.isRefused("Configure", b.what, f.tryConfigure(p, b.config, f.root))
	}
	f.lives(p)
	f.configure(p, f.root)
	f.serves(p)
}

func (f *fixture) isRefused(call, what string, err error) {
	f.Helper()
	var never *host.ContractError
	switch {
	case err == nil:
		f.Errorf("%s took %s", call, what)
	case errors.As(err, &never), errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		f.Errorf("%s of %s: %v", call, what, err)
	}
}

func (f *fixture) refusesInvalid() {
	if f.opener.Invalid == nil {
		f.Skip("no configuration was given that the plugin has to refuse")
	}
	p := f.begin()
	invalid := f.encode(f.description, f.opener.Invalid)
	ctx, cancel := context.WithTimeout(f.Context(), host.DescribeTimeout)
	defer cancel()
	f.isDiagnosed("Configure", f.tryConfigure(p, invalid, f.root))
	f.configure(p, f.root)
	f.isDiagnosed("Validate", p.Client().Validate(ctx, invalid))
	f.isDiagnosed("a later Configure", f.tryConfigure(p, invalid, f.root))
	f.serves(p)
}

func (f *fixture) isDiagnosed(call string, err error) {
	f.Helper()
	var faults plugin.Diagnostics
	if err == nil {
		f.Errorf("%s took a configuration that has to be refused", call)
	} else if !errors.As(err, &faults) {
		f.Errorf("%s of a configuration that has to be refused gives an error in place of diagnostics: %v", call, err)
		return
	}
	for _, d := range faults {
		if !leadsInto(f.description.Schema, d.Path) {
			f.Errorf("%s: the path %q of %q leads nowhere in the schema", call, d.Path, d.Summary)
		}
	}
}

// leadsInto tells whether a path names an attribute or a block.
func leadsInto(s plugin.Schema, path []string) bool {
	if len(path) == 0 {
		return false
	}
	for _, a := range s.Attributes {
		if a.Name == path[0] {
			return true // of a list the index may follow
		}
	}
	for _, b := range s.Blocks {
		if b.Name != path[0] {
			continue
		}
		rest := path[1:]
		if (b.Repeated || b.Labelled) && len(rest) > 0 {
			if _, err := strconv.Atoi(rest[0]); err != nil && b.Repeated {
				return false
			}
			rest = rest[1:]
		}
		return len(rest) == 0 || leadsInto(b.Schema, rest)
	}
	return false
}

// keeps checks that what was open, and marked, is open after do.
func (f *fixture) keeps(p process, after string, do func()) {
	f.Helper()
	errMark := f.kind.mark(f.Context())
	if errMark != nil && !errors.Is(errMark, errNoMark) {
		f.Fatalf("%v", errMark)
	}
	do()
	f.serves(p)
	if errMark != nil {
		return
	}
	if marked, err := f.kind.marked(f.Context()); err != nil || !marked {
		f.Errorf("%s what was open is no longer there (error %v)", after, err)
	}
}

func (f *fixture) refusedConfigure() {
	p := f.open(f.root)
	f.keeps(p, "after a Configure that was refused", func() {
		for _, b := range f.brokenConfigs() {
			if err := f.tryConfigure(p, b.config, f.root); err == nil {
				f.Errorf("Configure took %s", b.what)
			}
		}
	})
	if h, _, err := f.health(p); err != nil || h.State == host.Failed {
		f.Errorf("after a Configure that was refused Health says %q, %v", h.Reason, err)
	}
}

func (f *fixture) sameConfigure() {
	p := f.open(f.root)
	h, err := f.kind.hold(f.Context())
	if err != nil && !errors.Is(err, errCannotHold) {
		f.Fatalf("%v", err)
	}
	if err == nil {
		defer h.release()
		if within(onTheWay, h.done) {
			f.Fatalf("a call that should wait has ended")
		}
		ctx, cancel := context.WithTimeout(f.Context(), patience) // it waits for nothing
		defer cancel()
		if err := p.Client().Configure(ctx, f.config, f.root); err != nil {
			f.Fatalf("with the same, while a call is under way: %v", err)
		}
		if within(lingers/2, h.done) {
			f.Errorf("Configure with the same ended a call under way")
		}
		h.release()
		<-h.done
	}
	f.keeps(p, "after Configure with the same", func() { f.configure(p, f.root) })
}

func (f *fixture) otherConfigure() {
	first, second := f.dir("first"), f.dir("second")
	p := f.open(first)
	switch err := f.kind.mark(f.Context()); {
	case errors.Is(err, errNoMark):
		f.seesFiles(p, first, second)
		return
	case err != nil:
		f.Fatalf("%v", err)
	}
	f.configure(p, second)
	f.serves(p)
	if marked, err := f.kind.marked(f.Context()); err != nil {
		f.Errorf("after Configure with another directory: %v", err)
	} else if marked {
		f.Error("after Configure with another directory what was open before still is: close it, and open the other one")
	}
}

// seesFiles looks at the files, where a kind shows nothing else.
func (f *fixture) seesFiles(p process, first, second string) {
	f.Helper()
	use := func() int {
		if err := f.kind.load(f.Context()); err != nil {
			f.Fatalf("%v", err)
		}
		f.serves(p)
		return len(f.filesIn(second))
	}
	use()
	before := len(f.filesIn(first))
	f.configure(p, second)
	after := use()
	switch {
	case before == 0:
		f.Skip("the plugin keeps no files, and nothing else can be seen of what is open")
	case after == 0:
		f.Errorf("after Configure with another directory there are no files in it, and %d in the first", before)
	}
}

func (f *fixture) filesIn(dir string) []string {
	f.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		f.Fatalf("%v", err)
	}
	return files
}

// otherConfigureWaits has a call under way that only its host can end. Those that
// only wait, as Watch, are ended by Configure.
func (f *fixture) otherConfigureWaits() {
	first, second := f.dir("first"), f.dir("second")
	p := f.open(first)
	if f.description.Kind != plugin.KindPeerSync {
		f.waitsForLoad(p, "Configure", func() { f.configure(p, second) })
		return
	}
	f.waitsForHeld("Configure", func() { f.configure(p, second) })
}

func (f *fixture) failedConfigure() {
	f.onlyProcess() // one by hand is not started anew
	file := filepath.Join(f.dir("other"), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		f.Fatalf("%v", err)
	}
	p := f.open(f.dir("own"))
	if err := f.tryConfigure(p, f.config, filepath.Join(file, "dir")); err == nil {
		f.Skip("the plugin opens nothing in its directory, so that Configure does not fail")
	}
	switch h, _, err := f.health(p); {
	case err != nil:
		f.Errorf("%v", err)
	case h.State != host.Failed:
		f.Errorf("Health is %s, want FAILED", stateName(h.State))
	}
	f.refuses(p, "after a Configure that failed")
}

func stateName(s host.HealthState) string {
	return map[host.HealthState]string{host.Ready: "READY", host.Degraded: "DEGRADED", host.Failed: "FAILED"}[s]
}
