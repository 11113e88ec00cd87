package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// A stranger posts under one signature at first and again after every message.
// Reading on does not replay everything then, and prints every message once.
func TestPlantedSignature(t *testing.T) {
	dir, registry, network, keys := newLoopback(t)
	server, err := startRelay(network, keys)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close(t.Context())
	do := func(args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs strings.Builder
		status := runCommand(t.Context(), append([]string{"-network", "loopback:" + registry, "-profile", filepath.Join(dir, "p")}, args...),
			environment{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }})
		if status != 0 {
			t.Fatalf("%s: %s", args, &errs)
		}
		return out.String(), errs.String()
	}

	const planted = 100
	tokens, err := client.Buy(t.Context(), network, server.Bundle(), planted+10, nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := client.Open(t.Context(), network, server.Bundle().Board)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Sync(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	plant := func(signature string) {
		t.Helper()
		e := wire.Envelope{Signature: []byte(signature), Ciphertext: fmt.Append(nil, len(tokens))}
		err := stranger.Post(t.Context(), e, tokens[0], nil)
		if tokens = tokens[1:]; err != nil && !errors.Is(err, client.ErrRefused) { // a server may refuse a second
			t.Fatal(err)
		}
	}
	plant("the same")
	for i := 1; i < planted; i++ {
		plant(fmt.Sprint("other ", i))
	}
	do("init")
	do("import-server", server.Bundle().String())
	do("create", "club")
	replayed := regexp.MustCompile(`replaying (\d+) envelope`)
	for i := range 5 {
		do("post", "club", fmt.Sprint("message ", i))
		plant("the same")
		out, said := do("read", "-new", "club")
		if strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, fmt.Sprintf("message %d\n", i)) {
			t.Errorf("reading %d printed %q", i, out)
		}
		if n, err := strconv.Atoi(replayed.FindStringSubmatch(said)[1]); err != nil || i > 0 && n > planted*3/4 {
			t.Errorf("reading %d replayed %d envelopes, %v", i, n, err)
		}
	}
	// Reading from the beginning does not move the position back.
	do("follow", "-all", "-n", "2", "club")
	if out, _ := do("read", "-new", "club"); out != "" {
		t.Errorf("printed again: %s", out)
	}
}
