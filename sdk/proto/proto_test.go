package proto_test

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/proto"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// kinds are those with a contract in Go: its limits and its errors.
var kinds = map[string]struct {
	codes  rpc.ErrorCodes
	errors map[string]error
}{
	"storage": {rpc.StorageErrors, map[string]error{
		"ErrNotFound": storage.ErrNotFound, "ErrTooLarge": storage.ErrTooLarge, "ErrFull": storage.ErrFull,
		"ErrCorrupt": storage.ErrCorrupt, "ErrUnavailable": storage.ErrUnavailable,
	}},
	"stats": {rpc.StatsErrors, map[string]error{"ErrInvalid": stats.ErrInvalid, "ErrUnavailable": stats.ErrUnavailable}},
	"peersync": {rpc.PeerSyncErrors, map[string]error{
		"ErrTooLarge": peersync.ErrTooLarge, "ErrBusy": peersync.ErrBusy, "ErrPeerUnknown": peersync.ErrPeerUnknown,
		"ErrNotStarted": peersync.ErrNotStarted, "ErrUnavailable": peersync.ErrUnavailable,
	}},
}

// TestCallsAreDescribed: what a call means stands above it.
func TestCallsAreDescribed(t *testing.T) {
	for _, file := range []string{"plugin", "storage", "stats", "peersync"} {
		lines := strings.Split(read(t, file), "\n")
		for i, line := range lines {
			if call := strings.TrimSpace(line); strings.HasPrefix(call, "rpc ") && !strings.HasPrefix(strings.TrimSpace(lines[i-1]), "//") {
				t.Errorf("%s.proto says nothing of %s", file, call)
			}
		}
	}
}

// TestErrors compares the codes that each file gives to errors with those of the
// wire. Every error of the contract in Go has one.
func TestErrors(t *testing.T) {
	line := regexp.MustCompile(`(?m)^//   ([A-Z_]+) +(Err\w+):`)
	for kind, want := range kinds {
		told := make(map[string]codes.Code)
		for _, m := range line.FindAllStringSubmatch(read(t, kind), -1) {
			var code codes.Code
			if err := code.UnmarshalJSON([]byte(strconv.Quote(m[1]))); err != nil {
				t.Errorf("%s.proto: %v", kind, err)
			}
			told[m[2]] = code
		}
		for name, err := range want.errors {
			if code := status.Code(want.codes.ToStatus(err)); told[name] != code {
				t.Errorf("%s.proto gives %s the code %v, the wire %v", kind, name, told[name], code)
			}
		}
		for _, names := range [][]string{slices.Collect(maps.Keys(told)), errorsIn(t, "../"+kind)} {
			for _, name := range names {
				if want.errors[name] == nil {
					t.Errorf("%s: %s is in one of the contracts only", kind, name)
				}
			}
		}
	}
}

func errorsIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^(?:\t|var )(Err\w+) += errors\.New`)
	for _, file := range goFiles(t, dir) {
		for _, m := range declared.FindAllStringSubmatch(text(t, file), -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// TestLimits compares the limits of each kind with those of its package in Go: the
// same names, and the same numbers.
func TestLimits(t *testing.T) {
	name := regexp.MustCompile(`^(Max|Min|Page)[A-Z]`)
	for kind := range kinds {
		want := make(map[string]int64)
		for constant, value := range constants(t, "../"+kind) {
			if name.MatchString(constant) {
				want[snake(constant)] = value
			}
		}
		compare(t, kind+".proto", limits(t, read(t, kind)), want)
	}
}

// TestCommonLimits does so for what plugins of all kinds have to keep. The names in
// Go are those of several packages.
func TestCommonLimits(t *testing.T) {
	got := limits(t, read(t, "plugin"))
	want := make(map[string]int64)
	for name, in := range map[string][2]string{
		"max_request":      {"internal/rpc", "MaxMessage"},
		"max_answer":       {"host", "maxAnswer"},
		"max_short_answer": {"host", "maxShortAnswer"},
		"max_config":       {"plugin", "MaxConfig"},
		"max_name":         {"plugin", "MaxNameLength"},
		"max_version":      {"plugin", "maxVersionLength"},
		"max_text":         {"plugin", "MaxSchemaText"},
		"max_items":        {"plugin", "MaxSchemaItems"},
		"max_depth":        {"plugin", "MaxSchemaDepth"},
		"max_choices":      {"plugin", "MaxSchemaOneOf"},
		"max_protocols":    {"plugin", "maxProtocols"},
		"max_diagnostics":  {"host", "maxDiagnostics"},
		"max_reason":       {"host", "maxReason"},
		"max_step":         {"host", "maxStep"},
	} {
		for constant, value := range constants(t, "../"+in[0]) {
			if strings.EqualFold(constant, in[1]) { // exported or not
				want[name] = value
			}
		}
		if _, found := want[name]; !found {
			t.Errorf("sdk/%s has no %s any more", in[0], in[1])
		}
	}
	want["max_path"] = 2 * (want["max_depth"] + 1) // a name and an index or a label for each level
	compare(t, "plugin.proto", got, want)
}

// TestSkeletonLimits compares the limits that plugins in other languages begin with.
func TestSkeletonLimits(t *testing.T) {
	want := limits(t, read(t, "storage"))
	line := regexp.MustCompile(`(?m)^(?:(?:export )?const )?((?:MAX|MIN|PAGE)_\w+) = (.+?);?  ?(?:#|//)`)
	for _, file := range []string{"python/storage/cwtch_plugin.py", "node/storage/cwtch-plugin.mjs"} {
		got := make(map[string]int64)
		for _, m := range line.FindAllStringSubmatch(text(t, filepath.Join("../skeleton", file)), -1) {
			got[strings.ToLower(m[1])] = evaluate(t, m[2])
		}
		if got["max_request"] != rpc.MaxMessage {
			t.Errorf("%s takes requests of %d bytes", file, got["max_request"])
		}
		delete(got, "max_request")
		compare(t, file, got, want)
	}
}

func compare(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	if len(want) == 0 {
		t.Errorf("%s: there is nothing to compare with", what)
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %s is %d, want %d", what, name, got[name], value)
		}
	}
	for name := range got {
		if _, known := want[name]; !known {
			t.Errorf("%s: there is no limit %s any more", what, name)
		}
	}
}

// limits reads the table of limits in the comment at the head of a file.
func limits(t *testing.T, head string) map[string]int64 {
	t.Helper()
	found := make(map[string]int64)
	units := map[string]int64{"": 1, " KiB": 1 << 10, " MiB": 1 << 20, " h": 3600}
	for _, m := range regexp.MustCompile(`(?m)^//   ([a-z_]+) +([0-9]+)( KiB| MiB| h)? `).FindAllStringSubmatch(head, -1) {
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		found[m[1]] = n * units[m[3]]
	}
	return found
}

// constants are the whole numbers that a package declares by themselves, and its durations
// in seconds.
func constants(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	found := make(map[string]int64)
	for _, name := range goFiles(t, dir) {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, value := range spec.Values {
				tv, err := types.Eval(token.NewFileSet(), nil, token.NoPos, inSeconds.Replace(types.ExprString(value)))
				if err == nil && tv.Value != nil && tv.Value.Kind() == constant.Int {
					found[spec.Names[i].Name], _ = constant.Int64Val(tv.Value)
				}
			}
			return true
		})
	}
	return found
}

var inSeconds = strings.NewReplacer("time.Hour", "3600", "time.Minute", "60", "time.Second", "1")

func evaluate(t *testing.T, expression string) int64 {
	t.Helper()
	tv, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expression)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := constant.Int64Val(tv.Value)
	return n
}

func snake(name string) string {
	words := regexp.MustCompile(`[A-Z]+[a-z]*`).FindAllString(name, -1)
	return strings.ToLower(strings.Join(words, "_"))
}

func goFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	return slices.DeleteFunc(all, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
}

func text(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// read gives the file of a kind, or plugin.proto.
func read(t *testing.T, name string) string {
	t.Helper()
	content, err := proto.Files.ReadFile(path.Join("cwtch/relay/plugin/v1", fmt.Sprintf("%s.proto", name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
