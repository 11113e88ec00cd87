package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestKilledCopyResumes kills copies and their plugins at random moments. The next
// copy resumes, no relay starts on an unfinished copy, and in the end the copy is
// complete and the source unchanged.
func TestKilledCopyResumes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to string }{
		{`storage "bolt"`, `storage "bolt" { path = "copy.db" }`},
		{`storage "bolt"`, `storage "sqlite"`},
	} {
		t.Run(c.to, func(t *testing.T) {
			t.Parallel()
			d := newDataDir(t)
			source := d.fillStore(12_000)
			before := sha256.Sum256(source)
			d.write("copied.hcl", d.configWith(c.to))
			kills, refused := 0, 0
			for wait := 300 * time.Millisecond; ; wait += wait / 4 {
				out, killed := d.copyUntil(c.from, c.to, time.Duration(mathrand.Int64N(int64(wait))), kills%3)
				if !killed {
					d.checkCopy(c.to, out)
					break
				}
				if kills++; kills%3 == 0 && d.copyBegun() {
					d.expectStartRefused("copied.hcl")
					refused++
				}
			}
			t.Logf("%d kills, %d refusals", kills, refused)
			if kills == 0 {
				t.Error("no copy was killed")
			}
			if after := sha256.Sum256(d.read("data/servers/main/storage/messages.db")); after != before {
				t.Error("the source has changed")
			}
			d.expectStart("copied.hcl")
		})
	}
}

// dataDir holds a configuration and the files of a server that does not run.
type dataDir struct {
	*testing.T
	dir string
}

func newDataDir(t *testing.T) *dataDir {
	d := &dataDir{t, t.TempDir()}
	d.write("server.hcl", d.configWith(`storage "bolt"`))
	d.run("bundle", "-config", "server.hcl")
	return d
}

func (d *dataDir) configWith(block string) string {
	if !strings.HasSuffix(block, "}") {
		block += " {}"
	}
	return "network \"loopback\" { registry = \"net\" }\nserver \"main\" {\n" + block + "\n}\n"
}

func (d *dataDir) path(name string) string { return filepath.Join(d.dir, name) }

func (d *dataDir) write(name, text string) {
	d.Helper()
	if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

func (d *dataDir) read(name string) []byte {
	d.Helper()
	data, err := os.ReadFile(d.path(name))
	if err != nil {
		d.Fatal(err)
	}
	return data
}

func (d *dataDir) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.Context(), filepath.Join(bin, "cwtch-relay"), args...)
	cmd.Dir = d.dir
	return cmd
}

func (d *dataDir) run(args ...string) []byte {
	d.Helper()
	out, err := d.command(args...).Output()
	if err != nil {
		d.Fatalf("%s: %v", args[0], err)
	}
	return out
}

// fillStore creates the store of the server and returns its content.
func (d *dataDir) fillStore(n int) []byte {
	d.Helper()
	s, err := bolt.Open(d.path("data/servers/main/storage/messages.db"), bolt.Options{})
	if err != nil {
		d.Fatal(err)
	}
	for range n / storage.MaxBatch {
		batch := make([]storage.Record, storage.MaxBatch)
		for i := range batch {
			r := &batch[i]
			r.Signature, r.Ciphertext, r.Nullifier = make([]byte, 64), make([]byte, mathrand.IntN(2000)), new(storage.Nullifier)
			rand.Read(r.Signature)
			rand.Read(r.Nullifier[:])
			r.ID = storage.NewID(r.Signature, r.Ciphertext)
		}
		if _, err := s.Append(d.Context(), batch); err != nil {
			d.Fatal(err)
		}
	}
	lone := make([]storage.SpentToken, storage.MaxSpentTokens)
	for i := range lone {
		rand.Read(lone[i].Token[:])
		rand.Read(lone[i].ID[:])
	}
	if err := errors.Join(s.Spend(d.Context(), lone), s.Close()); err != nil {
		d.Fatal(err)
	}
	return d.read("data/servers/main/storage/messages.db")
}

// copyUntil starts a copy, kills one of its plugins after half the wait unless
// victim is 0, and kills the copy after the wait. A copy survives the death of a
// plugin that had nothing to do. It returns the output of a finished copy.
func (d *dataDir) copyUntil(from, to string, wait time.Duration, victim int) (out []byte, killed bool) {
	d.Helper()
	cmd := d.command("storage", "copy", "-json", "-config", "server.hcl", "-from", from, "-to", to)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		d.Fatal(err)
	}
	plugin := time.AfterFunc(wait/2, func() {
		if children := childPIDs(cmd.Process.Pid); victim > 0 && len(children) > 0 {
			syscall.Kill(children[victim%len(children)], syscall.SIGKILL)
		}
	})
	whole := time.AfterFunc(wait, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	plugin.Stop()
	whole.Stop()
	if err == nil {
		return stdout.Bytes(), false
	}
	if cmd.ProcessState.ExitCode() == 1 && !slices.ContainsFunc(expectedCopyErrors, func(text string) bool { return strings.Contains(stderr.String(), text) }) {
		d.Fatalf("the copy failed: %s", &stderr)
	}
	return nil, true
}

// expectedCopyErrors are the errors of a copy whose plugin was killed, or that met a
// plugin of the copy before.
var expectedCopyErrors = []string{"unavailable", "not ready", stillOpen}

const stillOpen = "another process has the store open"

// childPIDs returns the children of a process, without a probe of what its sandbox can do:
// the plugin of a copy whose probe was killed gets another sandbox, or none.
func childPIDs(pid int) (pids []int) {
	tasks, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for _, field := range strings.Fields(string(text)) {
			args, _ := os.ReadFile(filepath.Join("/proc", field, "cmdline"))
			if n, err := strconv.Atoi(field); err == nil && !bytes.Contains(args, []byte("\x00probe\x00")) {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// copyBegun reports whether a copy has written its marker.
func (d *dataDir) copyBegun() bool {
	markers, _ := filepath.Glob(d.path("data/servers/main/unfinished-copy-*"))
	return len(markers) > 0
}

// expectStartRefused checks that no relay starts on the unfinished copy.
func (d *dataDir) expectStartRefused(config string) {
	d.Helper()
	for {
		var stderr bytes.Buffer
		cmd := d.command("-config", config)
		cmd.Stderr = &stderr
		err := cmd.Run()
		if strings.Contains(stderr.String(), stillOpen) {
			continue // a plugin of the killed copy still ends
		}
		if err == nil || !strings.Contains(stderr.String(), "the store is an unfinished copy of another one: finish it") {
			d.Errorf("a relay on an unfinished copy: %v, %s", err, &stderr)
		}
		return
	}
}

// expectStart checks that a relay starts, and stops it.
func (d *dataDir) expectStart(config string) {
	d.Helper()
	p, err := startRelay(d.command("-config", config))
	if err != nil {
		d.Fatal(err)
	}
	defer p.kill()
	if err := p.terminate(); err != nil {
		d.Error(err)
	}
}

// checkCopy checks the result of a finished copy by copying that again.
func (d *dataDir) checkCopy(to string, out []byte) {
	d.Helper()
	type result struct {
		Envelopes, Tokens int
		Digest            string
		Resumed           bool
	}
	var first, again result
	if err := json.Unmarshal(out, &first); err != nil {
		d.Fatalf("%v: %s", err, out)
	}
	out = d.run("storage", "copy", "-json", "-config", "server.hcl", "-from", to, "-to", `storage "bolt" { path = "third.db" }`)
	if err := json.Unmarshal(out, &again); err != nil {
		d.Fatalf("%v: %s", err, out)
	}
	if first.Digest != again.Digest || first.Envelopes != again.Envelopes || first.Tokens != first.Envelopes+storage.MaxSpentTokens {
		d.Errorf("the copy is %+v, and its copy %+v", first, again)
	}
	if files, _ := filepath.Glob(d.path("data/servers/main/*copy-*")); len(files) > 0 {
		d.Errorf("left behind: %v", files)
	}
}
