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
	{"ProtocolValidate", "Validate and Configure refuse what does not match the schema: bytes that are not msgpack, are not a map, or hold values of other types", (*fixture).checkValidate},
	{"ProtocolInvalid", "Validate and Configure refuse a configuration that the plugin cannot use, with a diagnostic whose path leads into the schema", (*fixture).checkInvalid},
	{"ProtocolRefused", "a refused Configure changes nothing", (*fixture).checkRefusedConfigure},
	{"ProtocolSame", "Configure with the same bytes and directory succeeds and changes nothing", (*fixture).checkSameConfigure},
	{"ProtocolOther", "Configure with other bytes or another directory closes what is open and opens it again", (*fixture).checkOtherConfigure},
	{"ProtocolOtherWaits", "Configure with other bytes or another directory waits for the calls under way", (*fixture).checkOtherConfigureWaits},
	{"ProtocolFailed", "after a later Configure has failed, nothing is open: Health says FAILED, and calls fail with UNAVAILABLE", (*fixture).checkFailedConfigure},
}

// brokenConfig is an encoded configuration that does not match the schema.
type brokenConfig struct {
	what   string
	config []byte
}

// brokenConfigs returns configurations that no relay sends.
func (f *fixture) brokenConfigs() []brokenConfig {
	out := []brokenConfig{
		{"a byte that msgpack does not have", []byte{0xc1}},
		{"a text in place of a map", []byte("\xa5hello")},
		{"a number in place of a map", []byte{0x2a}},
	}
	if len(f.config) > 1 {
		out = append(out, brokenConfig{"a configuration without its last byte", f.config[:len(f.config)-1]})
	}
	var names []string
	for _, a := range f.description.Schema.Attributes {
		names = append(names, a.Name)
	}
	for _, b := range f.description.Schema.Blocks {
		names = append(names, b.Name)
	}
	if len(names) > 0 {
		out = append(out, brokenConfig{"a map whose values are lists of lists", listsInLists(names)})
	}
	return out
}

// listsInLists encodes a map from all names to a value that no schema allows.
func listsInLists(names []string) []byte {
	out := binary.BigEndian.AppendUint16([]byte{0xde}, uint16(len(names)))
	for _, name := range names {
		out = append(out, 0xd9, byte(len(name)))
		out = append(out, name...)
		out = append(out, 0x91, 0x91, 0x90)
	}
	return out
}

func (f *fixture) checkValidate() {
	p := f.startAndDescribe()
	for _, b := range f.brokenConfigs() {
		ctx, cancel := context.WithTimeout(f.Context(), host.DescribeTimeout)
		f.expectRefused("Validate", b.what, p.Client().Validate(ctx, b.config))
		cancel()
	}
	for _, b := range f.brokenConfigs() {
		f.expectRefused("Configure", b.what, f.tryConfigure(p, b.config, f.root))
	}
	f.requireAlive(p)
	f.configurePlugin(p, f.root)
	f.requireServing(p)
}

func (f *fixture) expectRefused(call, what string, err error) {
	f.Helper()
	var broken *host.ContractError
	switch {
	case err == nil:
		f.Errorf("%s accepted %s", call, what)
	case errors.As(err, &broken), errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		f.Errorf("%s of %s: %v", call, what, err)
	}
}

func (f *fixture) checkInvalid() {
	if f.opener.Invalid == nil {
		f.Skip("no configuration was given that the plugin has to refuse")
	}
	p := f.startAndDescribe()
	invalid := f.encodeConfig(f.description.Schema, f.opener.Invalid)
	ctx, cancel := context.WithTimeout(f.Context(), host.DescribeTimeout)
	defer cancel()
	f.expectDiagnosed("Configure", f.tryConfigure(p, invalid, f.root))
	f.configurePlugin(p, f.root)
	f.expectDiagnosed("Validate", p.Client().Validate(ctx, invalid))
	f.expectDiagnosed("a later Configure", f.tryConfigure(p, invalid, f.root))
	f.requireServing(p)
}

func (f *fixture) expectDiagnosed(call string, err error) {
	f.Helper()
	var faults plugin.Diagnostics
	if err == nil {
		f.Errorf("%s accepted a configuration that has to be refused", call)
	} else if !errors.As(err, &faults) {
		f.Errorf("%s of a configuration that has to be refused returns an error instead of diagnostics: %v", call, err)
		return
	}
	for _, d := range faults {
		if !leadsInto(f.description.Schema, d.Path) {
			f.Errorf("%s: the path %q of %q leads nowhere in the schema", call, d.Path, d.Summary)
		}
	}
}

// leadsInto reports whether a path leads to an attribute or a block.
func leadsInto(s plugin.Schema, path []string) bool {
	if len(path) == 0 {
		return false
	}
	for _, a := range s.Attributes {
		if a.Name == path[0] {
			return true // the index of a list may follow
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

// expectKept leaves a mark in what is open and expects to find it after do.
func (f *fixture) expectKept(p process, after string, do func()) {
	f.Helper()
	errMark := f.kind.leaveMark(f.Context())
	if errMark != nil && !errors.Is(errMark, errNoMark) {
		f.Fatalf("%v", errMark)
	}
	do()
	f.requireServing(p)
	if errMark != nil {
		return
	}
	if marked, err := f.kind.hasMark(f.Context()); err != nil || !marked {
		f.Errorf("%s, what was open is no longer open (error %v)", after, err)
	}
}

func (f *fixture) checkRefusedConfigure() {
	p := f.openPlugin(f.root)
	f.expectKept(p, "after a refused Configure", func() {
		for _, b := range f.brokenConfigs() {
			if err := f.tryConfigure(p, b.config, f.root); err == nil {
				f.Errorf("Configure accepted %s", b.what)
			}
		}
	})
	if h, _, err := f.askHealth(p); err != nil || h.State == host.Failed {
		f.Errorf("after a refused Configure, Health says %q, %v", h.Reason, err)
	}
}

func (f *fixture) checkSameConfigure() {
	p := f.openPlugin(f.root)
	h, err := f.kind.holdCall(f.Context())
	if err != nil && !errors.Is(err, errCannotHold) {
		f.Fatalf("%v", err)
	}
	if err == nil {
		defer h.release()
		if waitFor(callDelay, h.done) {
			f.Fatalf("a call that should wait has ended")
		}
		ctx, cancel := context.WithTimeout(f.Context(), maxBusyHealthTime) // it must not wait for the call
		defer cancel()
		if err := p.Client().Configure(ctx, f.config, f.root); err != nil {
			f.Fatalf("Configure with the same bytes and directory, while a call is under way: %v", err)
		}
		if waitFor(observeTime/2, h.done) {
			f.Errorf("Configure with the same bytes and directory ended a call under way")
		}
		h.release()
		<-h.done
	}
	f.expectKept(p, "after Configure with the same bytes and directory", func() { f.configurePlugin(p, f.root) })
}

func (f *fixture) checkOtherConfigure() {
	first, second := f.makeDir("first"), f.makeDir("second")
	p := f.openPlugin(first)
	switch err := f.kind.leaveMark(f.Context()); {
	case errors.Is(err, errNoMark):
		f.checkOtherConfigureByFiles(p, first, second)
		return
	case err != nil:
		f.Fatalf("%v", err)
	}
	f.configurePlugin(p, second)
	f.requireServing(p)
	if marked, err := f.kind.hasMark(f.Context()); err != nil {
		f.Errorf("after Configure with another directory: %v", err)
	} else if marked {
		f.Error("after Configure with another directory, the old one is still in use: close what is open and open it again")
	}
}

// checkOtherConfigureByFiles looks at files, for kinds whose calls show nothing.
func (f *fixture) checkOtherConfigureByFiles(p process, first, second string) {
	f.Helper()
	use := func() int {
		if err := f.kind.largeCall(f.Context()); err != nil {
			f.Fatalf("%v", err)
		}
		f.requireServing(p)
		return len(f.listFiles(second))
	}
	use()
	before := len(f.listFiles(first))
	f.configurePlugin(p, second)
	after := use()
	switch {
	case before == 0:
		f.Skip("the plugin keeps no files, and its calls do not show what is open")
	case after == 0:
		f.Errorf("after Configure with another directory, there are no files in it, but %d in the first", before)
	}
}

func (f *fixture) listFiles(dir string) []string {
	f.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		f.Fatalf("%v", err)
	}
	return files
}

// checkOtherConfigureWaits cannot use a Watch, which Configure may end.
func (f *fixture) checkOtherConfigureWaits() {
	first, second := f.makeDir("first"), f.makeDir("second")
	p := f.openPlugin(first)
	if f.description.Kind != plugin.KindPeerSync {
		f.expectWaitForLoad(p, "Configure", func() { f.configurePlugin(p, second) })
		return
	}
	f.expectWaitForHeldCall("Configure", func() { f.configurePlugin(p, second) })
}

func (f *fixture) checkFailedConfigure() {
	f.skipIfAttached() // nobody would start it again
	file := filepath.Join(f.makeDir("other"), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		f.Fatalf("%v", err)
	}
	p := f.openPlugin(f.makeDir("own"))
	if err := f.tryConfigure(p, f.config, filepath.Join(file, "dir")); err == nil {
		f.Skip("the plugin opens nothing in its directory, so Configure does not fail")
	}
	switch h, _, err := f.askHealth(p); {
	case err != nil:
		f.Errorf("%v", err)
	case h.State != host.Failed:
		f.Errorf("Health is %s, want FAILED", stateName(h.State))
	}
	f.expectUnavailable(p, "after a failed Configure")
}

func stateName(s host.HealthState) string {
	return map[host.HealthState]string{host.Ready: "READY", host.Degraded: "DEGRADED", host.Failed: "FAILED"}[s]
}
