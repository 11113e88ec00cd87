package proto_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
)

var update = flag.Bool("update", false, "write the files in testdata; lines may come, none may change or go")

// TestStorageIsFrozen compares the contract of storage, and of all kinds, with what version 1
// has: every call, field, number and limit.
func TestStorageIsFrozen(t *testing.T) {
	compareFrozen(t, "storage", pb.File_cwtch_relay_plugin_v1_plugin_proto, pb.File_cwtch_relay_plugin_v1_storage_proto)
}

// TestPeerSyncIsFrozen does so for the contract of peersync.
func TestPeerSyncIsFrozen(t *testing.T) {
	compareFrozen(t, "peersync", pb.File_cwtch_relay_plugin_v1_peersync_proto)
}

func compareFrozen(t *testing.T, kind string, files ...protoreflect.FileDescriptor) {
	t.Helper()
	name := "testdata/" + kind + "-v1.txt"
	var lines []string
	for _, file := range files {
		lines = append(lines, linesOfFile(file)...)
	}
	limits := limits(t, read(t, kind))
	for _, limit := range slices.Sorted(maps.Keys(limits)) {
		lines = append(lines, fmt.Sprintf("limit %s = %d", limit, limits[limit]))
	}
	if *update {
		if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	frozen := strings.Split(strings.TrimSuffix(text(t, name), "\n"), "\n")
	for _, line := range frozen {
		if !slices.Contains(lines, line) {
			t.Errorf("version 1 has %q, which a plugin may rely on: it must not change or go", line)
		}
	}
	for _, line := range lines {
		if !slices.Contains(frozen, line) {
			t.Errorf("%q is new: write it with: go test ./sdk/proto -run Frozen -update", line)
		}
	}
}

// linesOfFile returns a line for each call, field and number that a file declares.
func linesOfFile(file protoreflect.FileDescriptor) (lines []string) {
	for s := range file.Services().Len() {
		calls := file.Services().Get(s).Methods()
		for c := range calls.Len() {
			call := calls.Get(c)
			lines = append(lines, fmt.Sprintf("call %s(%s) %s", call.FullName(), call.Input().Name(), call.Output().Name()))
		}
	}
	return slices.Concat(lines, linesOfMessages(file.Messages()), linesOfEnums(file.Enums()))
}

func linesOfMessages(messages protoreflect.MessageDescriptors) (lines []string) {
	for m := range messages.Len() {
		message := messages.Get(m)
		lines = append(lines, linesOfMessages(message.Messages())...)
		lines = append(lines, linesOfEnums(message.Enums())...)
		for f := range message.Fields().Len() {
			field := message.Fields().Get(f)
			kind := field.Kind().String()
			if field.Message() != nil {
				kind = string(field.Message().Name())
			}
			lines = append(lines, fmt.Sprintf("field %s.%s = %d, %v %s", message.Name(), field.Name(), field.Number(), field.Cardinality(), kind))
		}
	}
	return lines
}

func linesOfEnums(enums protoreflect.EnumDescriptors) (lines []string) {
	for e := range enums.Len() {
		values := enums.Get(e).Values()
		for v := range values.Len() {
			lines = append(lines, fmt.Sprintf("number %s = %d", values.Get(v).FullName(), values.Get(v).Number()))
		}
	}
	return lines
}
