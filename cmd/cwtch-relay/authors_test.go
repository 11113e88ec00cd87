package main

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAuthorsProgramIsMissing shows what somebody reads who has the relay alone.
func TestAuthorsProgramIsMissing(t *testing.T) {
	for _, command := range []string{"test", "new"} {
		dir := t.TempDir()
		err := executeBeside(filepath.Join(dir, "cwtch-relay"), command, nil)
		var hinted interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "cwtch-plugin")+": no such file") ||
			!errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "plugin "+command+" is a command of cwtch-plugin") {
			t.Errorf("plugin %s: %v", command, err)
		}
	}
}

// TestRelayLinksNoToolsOfAuthors keeps out of the program that has the keys what only
// authors of plugins need. Package testing is not in the list: go-plugin imports it.
func TestRelayLinksNoToolsOfAuthors(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 100 {
		t.Fatalf("only %d packages", len(packages))
	}
	const ours = "github.com/cwtch-relay/cwtch-relay/"
	for _, name := range packages {
		for _, unwanted := range []string{
			ours + "sdk/plugintest", ours + "sdk/skeleton", ours + "sdk/proto", ours + "sdk/storage/storagetest", ours + "sdk/stats/statstest",
			ours + "sdk/peersync/peersynctest", ours + "plugins/fault", "github.com/prometheus/", "pgregory.net/rapid", "go/parser", "google.golang.org/grpc/test/",
		} {
			if strings.HasPrefix(name, unwanted) {
				t.Errorf("the relay links %s", name)
			}
		}
	}
}
