package profile

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// spendVariable makes the test binary a program that takes tokens until it is
// killed; see TestKilledWhileSpending.
const spendVariable = "CWTCH_GROUP_TEST_SPEND"

func TestMain(m *testing.M) {
	if dir := os.Getenv(spendVariable); dir != "" {
		takeTokensUntilKilled(dir)
		return
	}
	if argument := os.Getenv(commandVariable); argument != "" {
		if err := runTestCommand(argument); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func newProfile(t *testing.T) *Profile {
	t.Helper()
	p, err := Create(t.Context(), filepath.Join(t.TempDir(), "profile"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func view(t *testing.T, p *Profile) *State {
	t.Helper()
	s, err := p.View()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newServer(t *testing.T) *identity.Server {
	t.Helper()
	return &identity.Server{Board: identity.NewKey(), Token: identity.NewKey(), Scalar: [32]byte{7}}
}

func newBundle(t *testing.T, s *identity.Server) bundle.Bundle {
	t.Helper()
	key, err := token.NewKey(s.Scalar)
	if err != nil {
		t.Fatal(err)
	}
	return bundle.New(s, key.Public())
}

// withServer adds a server with n tokens and a group to a profile.
func withServer(t *testing.T, p *Profile, n int) identity.Onion {
	t.Helper()
	b := newBundle(t, newServer(t))
	err := p.Update(t.Context(), func(s *State) error {
		if _, err := s.AddServer(b); err != nil {
			return err
		}
		server, err := s.Server(b.Board)
		if err != nil {
			return err
		}
		for i := range n {
			server.Tokens = append(server.Tokens, token.Token{T: [32]byte{byte(i), byte(i >> 8), 1}, W: [32]byte{2}})
		}
		return s.AddGroup(&Group{Name: "book club", Group: newGroup(t, "book club", b.Board), Head: []byte("head")})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Board
}

func TestProfileSurvives(t *testing.T) {
	p := newProfile(t)
	board := withServer(t, p, 3)
	before := view(t, p)
	again, err := Open(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	after := view(t, again)
	if before.Identity.Onion() != after.Identity.Onion() {
		t.Error("the identity changed")
	}
	if len(after.Servers) != 1 || after.Servers[0].Bundle.Board != board || len(after.Servers[0].Tokens) != 3 ||
		after.Servers[0].Tokens[1] != before.Servers[0].Tokens[1] {
		t.Error("the server changed")
	}
	g, err := after.FindGroup("book club")
	if err != nil {
		t.Fatal(err)
	}
	if g.Group != before.Groups[0].Group || string(g.Head) != "head" || g.Read != nil {
		t.Error("the group changed")
	}
}

func TestModes(t *testing.T) {
	p := newProfile(t)
	view(t, p)
	for path, want := range map[string]os.FileMode{p.dir: 0o700, p.filePath(): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", path, got, want)
		}
	}
	if err := os.Chmod(p.filePath(), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := p.View(); err == nil || !strings.Contains(err.Error(), "chmod 600 "+"") {
		t.Errorf("a file that others may read: %v", err)
	}
	if err := os.Chmod(p.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(p.dir); err == nil {
		t.Error("a directory that others may write to is accepted")
	}
}

// A file that is not understood is refused, by updates as well, and stays.
func TestForeignFilesStay(t *testing.T) {
	for name, text := range map[string]string{
		"empty":       "",
		"cut":         `{"Version":1,"Ident`,
		"newer":       `{"Version":4}`,
		"no identity": `{"Version":1}`,
		"bad server":  `{"Version":1,"Identity":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","Servers":[{"Bundle":"server:AAAA"}]}`,
		"bad group":   `{"Version":1,"Identity":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","Groups":[{"Invite":"torv3"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newProfile(t)
			if err := os.WriteFile(p.filePath(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := p.View(); err == nil || !strings.Contains(err.Error(), p.filePath()) {
				t.Errorf("view: %v", err)
			}
			if err := p.Update(t.Context(), func(*State) error { return nil }); err == nil {
				t.Error("update accepts it")
			}
			if got, err := os.ReadFile(p.filePath()); err != nil || string(got) != text {
				t.Errorf("the file is now %q, %v", got, err)
			}
		})
	}
}

func TestSymlinkIsRefused(t *testing.T) {
	p := newProfile(t)
	view(t, p)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(p.filePath(), elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, p.filePath()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.View(); err == nil {
		t.Error("a symlink is followed")
	}
}

func TestFailedUpdateChangesNothing(t *testing.T) {
	p := newProfile(t)
	withServer(t, p, 1)
	before, err := os.ReadFile(p.filePath())
	if err != nil {
		t.Fatal(err)
	}
	reason := errors.New("no")
	err = p.Update(t.Context(), func(s *State) error {
		s.Servers = nil
		return reason
	})
	if err != reason {
		t.Errorf("update: %v", err)
	}
	if after, err := os.ReadFile(p.filePath()); err != nil || string(after) != string(before) {
		t.Error("the file changed")
	}
}

// A crash between writing the new file and renaming it leaves the new file
// behind, whole or in part.
func TestLeftoverOfACrash(t *testing.T) {
	p := newProfile(t)
	board := withServer(t, p, 1)
	if err := os.WriteFile(p.filePath()+".new", []byte("half a pro"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := p.TakeToken(t.Context(), board); err != nil || !ok {
		t.Fatalf("%t, %v", ok, err)
	}
	if _, err := os.Stat(p.filePath() + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover is still there: %v", err)
	}
}

func TestConcurrentSpendersGetDifferentTokens(t *testing.T) {
	p := newProfile(t)
	board := withServer(t, p, 40)
	var mu sync.Mutex
	taken := make(map[token.Token]bool)
	var spenders sync.WaitGroup
	for range 4 {
		spenders.Go(func() {
			for range 10 {
				tok, ok, err := p.TakeToken(t.Context(), board)
				if err != nil || !ok {
					t.Errorf("%t, %v", ok, err)
					return
				}
				mu.Lock()
				if taken[tok] {
					t.Error("a token was handed out twice")
				}
				taken[tok] = true
				mu.Unlock()
			}
		})
	}
	spenders.Wait()
	if _, ok, err := p.TakeToken(t.Context(), board); ok || err != nil {
		t.Errorf("token 41: %t, %v", ok, err)
	}
}

// TestKilledWhileSpending kills a process that takes tokens and checks that
// none it could have used is still in the profile, and that the profile is
// whole.
func TestKilledWhileSpending(t *testing.T) {
	p := newProfile(t)
	board := withServer(t, p, 2000)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), spendVariable+"="+p.dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		used[lines.Text()] = true
		if len(used) == 20 {
			child.Process.Kill() // and read on: it may have used more
		}
	}
	child.Wait()
	if len(used) < 20 {
		t.Fatalf("the child used %d tokens only", len(used))
	}
	server, err := view(t, p).Server(board)
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range server.Tokens {
		if used[hex.EncodeToString(tok.T[:])] {
			t.Fatal("a used token is still in the profile")
		}
	}
	// At most the one in the child's hands is lost.
	if got := len(server.Tokens) + len(used); got < 1999 || got > 2000 {
		t.Errorf("%d of 2000 tokens are left or used", got)
	}
}

func takeTokensUntilKilled(dir string) {
	ctx := context.Background()
	p, err := Open(dir)
	for err == nil {
		var s *State
		if s, err = p.View(); err != nil {
			break
		}
		var tok token.Token
		if tok, _, err = p.TakeToken(ctx, s.Servers[0].Bundle.Board); err == nil {
			fmt.Printf("%x\n", tok.T)
		}
	}
	fmt.Fprintln(os.Stderr, err)
}

func TestLockWaitEndsWithContext(t *testing.T) {
	p := newProfile(t)
	lock, err := p.lockState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Update(ctx, func(*State) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("update while another holds the lock: %v", err)
	}
}

func TestTorDir(t *testing.T) {
	p := newProfile(t)
	own, release, err := p.TorDir()
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(p.dir, "tor"); own != want {
		t.Errorf("tor directory is %s, want %s", own, want)
	}
	other, releaseOther, err := p.TorDir()
	if err != nil {
		t.Fatal(err)
	}
	if other == own {
		t.Error("two commands share a tor directory")
	}
	releaseOther()
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary directory is still there: %v", err)
	}
	release()
	again, release, err := p.TorDir()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if again != own {
		t.Error("the directory of the profile stays locked")
	}
}
