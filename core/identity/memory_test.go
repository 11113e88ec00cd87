package identity

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// A process loads keys, signs and writes them, and then looks for the seed of the board in all
// its memory. One copy is the key itself. crypto/ed25519 keeps another one as long as the key
// lives, once it has signed.
func TestNoSecretsStayInMemory(t *testing.T) {
	if path := os.Getenv("IDENTITY_SCAN"); path != "" {
		scanMain(path)
	}
	path := filepath.Join(privateDir(t), "keys")
	s, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, text, _ := runScan(t, path, s, nil)
	if raw < 1 || raw > 2 || text != 0 {
		t.Errorf("%d copies of the seed and %d of its text, want 2 and 0", raw, text)
	}
}

// The same with a protected file: it is unlocked, its passphrase is changed and used again, and
// the process looks for the seed and for both passphrases, which begin alike.
func TestNoPassphraseStaysInMemory(t *testing.T) {
	path := filepath.Join(privateDir(t), "keys")
	passphrase := []byte(strings.Repeat("correct horse battery staple ", 2))
	s := newServer()
	writeProtected(t, path, s, passphrase)
	raw, text, phrase := runScan(t, path, s, passphrase)
	if raw < 1 || raw > 2 || text != 0 || phrase != 0 {
		t.Errorf("%d copies of the seed, %d of its text and %d of the passphrase, want 2, 0 and 0", raw, text, phrase)
	}
}

// runScan counts copies of the seed, its text and the passphrase in another process.
func runScan(t *testing.T, path string, s *Server, passphrase []byte) (raw, text, phrase int) {
	t.Helper()
	// The child gets secrets with every bit turned, so that it does not find those.
	seed := s.Board.Seed()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoSecretsStayInMemory$")
	cmd.Env = append(os.Environ(), "IDENTITY_SCAN="+path,
		fmt.Sprintf("IDENTITY_SCAN_FOR=%x", turnBits(seed[:])), fmt.Sprintf("IDENTITY_SCAN_PASSPHRASE=%x", turnBits(passphrase)))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := fmt.Sscanf(string(out), "%d %d %d", &raw, &text, &phrase); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%d copies of the seed, %d of its text, %d of the passphrase", raw, text, phrase)
	return raw, text, phrase
}

func turnBits(b []byte) []byte {
	turned := make([]byte, len(b))
	for i := range b {
		turned[i] = ^b[i]
	}
	return turned
}

func scanMain(path string) {
	derivationTime = 0
	raw, text, phrase, err := scanAfterUse(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(raw, text, phrase)
	os.Exit(0)
}

func scanAfterUse(path string) (raw, text, phrase int, err error) {
	turnedSeed, err := hex.DecodeString(os.Getenv("IDENTITY_SCAN_FOR"))
	if err != nil {
		return 0, 0, 0, err
	}
	turnedPhrase, err := hex.DecodeString(os.Getenv("IDENTITY_SCAN_PASSPHRASE"))
	if err != nil {
		return 0, 0, 0, err
	}
	var s *Server
	if len(turnedPhrase) == 0 {
		s, err = Load(path)
	} else {
		s, err = usePassphrases(path, turnedPhrase)
	}
	if err != nil {
		return 0, 0, 0, err
	}
	s.Board.Sign([]byte("message"))
	again := encodeServer(s)
	err = createFile(path+" again", again)
	clear(again)
	if err == nil {
		raw, text, err = scanMemory(turnedSeed)
	}
	if err == nil && len(turnedPhrase) > 0 {
		phrase, _, err = scanMemory(turnedPhrase)
	}
	runtime.KeepAlive(s)
	return raw, text, phrase, err
}

// usePassphrases changes a passphrase to one that begins with it and returns the keys.
func usePassphrases(path string, turned []byte) (*Server, error) {
	old := turnBits(turned)
	longer := append(make([]byte, 0, len(old)+1), old...)
	longer = append(longer, '!')
	defer clear(old)
	defer clear(longer)
	if err := ChangePassphrase(path, old, longer); err != nil {
		return nil, err
	}
	if _, err := Unlock(path, old); !errors.Is(err, ErrWrongPassphrase) {
		return nil, fmt.Errorf("the old passphrase: %w", err)
	}
	return Unlock(path, longer)
}

// scanMemory counts the copies of a turned secret, and of its base64, in what
// this process has mapped to be written.
func scanMemory(turned []byte) (raw, text int, err error) {
	secret := make([]byte, len(turned))
	found := func(page []byte, form func() []byte) int {
		pattern := form()
		n := bytes.Count(page, pattern)
		clear(pattern)
		return n
	}
	plain := func() []byte {
		for i := range turned {
			secret[i] = ^turned[i]
		}
		return secret
	}
	encoded := func() []byte {
		out := make([]byte, base64.StdEncoding.EncodedLen(len(turned)))
		base64.StdEncoding.Encode(out, plain())
		clear(secret)
		return out[:40] // the rest depends on what follows
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return 0, 0, err
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return 0, 0, err
	}
	defer mem.Close()
	buffer, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return 0, 0, err
	}
	own := int64(uintptr(unsafe.Pointer(&buffer[0]))) // is skipped: it was mapped after the list was read
	lines := bufio.NewScanner(bytes.NewReader(maps))
	for lines.Scan() {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		if from <= own && own < to {
			return 0, 0, errors.New("the buffer is in what was mapped before")
		}
		for at := from; at < to; at += int64(len(buffer)) {
			clear(buffer)
			n, err := mem.ReadAt(buffer[:min(int64(len(buffer)), to-at)], at)
			if err != nil && !errors.Is(err, io.EOF) && n == 0 {
				break
			}
			raw += found(buffer[:n], plain)
			text += found(buffer[:n], encoded)
		}
	}
	clear(buffer)
	return raw, text, nil
}
