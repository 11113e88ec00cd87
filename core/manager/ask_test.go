package manager

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A relay may answer with less or with something else than it should, because it ends in
// the middle or is of another version. The error is one sentence without the words of a
// decoder.
func TestUnusableAnswersAreOneSentence(t *testing.T) {
	ended := "ended, or was stopped, before it had answered in full: its log says why"
	unknown := "gave an answer that this program does not understand"
	for name, c := range map[string]struct{ answer, want string }{
		"nothing":            {"", ended},
		"a part":             {`{"pid":1,"config":"/x","ste`, ended},
		"no end of the line": {`{"pid":1,"config":"/x"}`, ended},
		"words":              {"hello\n", unknown},
		"another form":       {`{"pid":"one","config":5}` + "\n", unknown},
		"two values":         {"{}{}\n", unknown},
		"an empty object":    {"{}\n", unknown},
		"null":               {"null\n", unknown},
		"a list":             {"[1]\n", unknown},
		"terminal controls":  {"\x1b[2J\n", unknown},
		"too much":           {strings.Repeat(" ", maxAnswer+2) + "{}\n", "gave an answer of more than 4 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := startFakeRelay(t, c.answer)
			_, statusErr := AskStatus(t.Context(), dir)
			_, reloadErr := AskReload(t.Context(), dir, "/server.hcl", false)
			_, compareErr := AskCompare(t.Context(), dir, "main", "alice", false)
			for _, err := range []error{statusErr, reloadErr, compareErr} {
				if err == nil || !strings.Contains(err.Error(), "the relay on "+dir+" "+c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				} else if strings.Contains(err.Error(), "JSON") || strings.ContainsAny(err.Error(), "\n\x1b") {
					t.Errorf("the error is not one sentence: %q", err)
				}
			}
		})
	}
}

// startFakeRelay runs a relay on a directory that gives one answer to every request.
func startFakeRelay(t *testing.T, answer string) (dir string) {
	dir = filepath.Join(t.TempDir(), "data")
	d, err := claimDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := d.listenControl()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(nc).ReadString('\n')
			io.WriteString(nc, answer)
			nc.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		d.releaseDir()
	})
	return dir
}

func TestRelayThatDoesNotAnswerIsNotCalledEnded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d, err := claimDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.releaseDir()
	ln, err := d.listenControl()
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := AskStatus(ctx, dir); err == nil || !strings.Contains(err.Error(), "has not answered in time") {
		t.Errorf("got %v", err)
	}
}

// JSON cannot hold the name of every file.
func TestReloadOfAFileThatIsNotUTF8(t *testing.T) {
	m, dir := newIdleManager(t), filepath.Join(t.TempDir(), "data")
	m.cfg.Path = filepath.Join(t.TempDir(), "caf\xe9 \"\n.hcl")
	m.cfg.Load = func(context.Context) (Config, error) { return m.cfg, nil }
	if err := os.WriteFile(m.cfg.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := claimDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.releaseDir()
	ln, err := d.listenControl()
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	m.wg.Go(func() { m.serveControl(ctx, ln) })
	defer m.wg.Wait()
	defer end()
	if _, err := AskReload(t.Context(), dir, m.cfg.Path, true); err != nil {
		t.Error(err)
	}
}
