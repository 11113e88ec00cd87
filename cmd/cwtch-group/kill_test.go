package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
)

// hostVariable makes the test binary a host of a group: its value has the paths of
// the keys, of the store and of the registry of the loopback network, one a line.
const hostVariable = "CWTCH_GROUP_TEST_HOST"

// serveTestHost serves until it is killed. It prints a line when it can be reached.
func serveTestHost() {
	paths := strings.Split(os.Getenv(hostVariable), "\n")
	if err := serveUntilKilled(paths[0], paths[1], paths[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveUntilKilled(keyFile, storeFile, registry string) error {
	keys, err := identity.LoadOrCreate(keyFile)
	if err != nil {
		return err
	}
	store, err := bolt.Open(storeFile, bolt.Options{})
	if err != nil {
		return err
	}
	network, err := onion.Loopback(registry)
	if err != nil {
		return err
	}
	if _, err := startRelayOn(network, keys, store); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin) // ends with the test, if nobody kills it before
	return err
}

// startProcess runs a host as a process of its own, with a store on disk, and returns
// how to kill it.
func (x *hostsTest) startProcess(i int) (kill func()) {
	x.Helper()
	x.stopHost(i)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hostVariable+"="+strings.Join([]string{
		filepath.Join(x.dir, fmt.Sprintf("keys%d", i)), filepath.Join(x.dir, fmt.Sprintf("store%d", i)), x.registry,
	}, "\n"))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		x.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		x.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		x.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		x.Fatal(err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			cmd.Process.Kill() // SIGKILL
			cmd.Wait()
			stdin.Close()
		})
	}
	x.Cleanup(kill)
	return kill
}

// A host that is killed in the middle of a text loses nothing that it has acknowledged:
// once it is back, readers see all messages, each once and in order.
func TestHostIsKilledDuringAPost(t *testing.T) {
	x := newHostsTest(t, 2)
	kills := []func(){x.startProcess(0), x.startProcess(1)}
	text, want := numberedMessages(12)
	for round := range 4 {
		errs := newLineWatcher()
		ended := make(chan int, 1)
		go func() {
			ended <- x.start(context.Background(), "alice", strings.NewReader(text), io.Discard, errs, "post", "club", "-")
		}()
		errs.await(t, fmt.Sprintf("posting message %d of 12", 3+2*round))
		kills[round%2]() // the one that gets the posts, or the other one
		if status := <-ended; status != 0 {
			t.Fatalf("round %d: status %d: %s", round, status, errs.text())
		}
		kills[round%2] = x.startProcess(round % 2)
		got := x.read("alice")
		if len(got) != len(want)*(round+1) {
			t.Fatalf("round %d: %d messages, want %d: %s", round, len(got), len(want)*(round+1), errs.text())
		}
		expectTexts(t, got[len(got)-len(want):], want...)
	}
	var out bytes.Buffer
	if status := x.start(t.Context(), "alice", nil, &out, io.Discard, "-json", "read", "-new", "club"); status != 0 || out.Len() > 0 {
		t.Errorf("status %d, printed again: %s", status, &out)
	}
}
