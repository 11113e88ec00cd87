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
	// The child gets the seed with every bit turned, so that it does not find that.
	turned := s.Board.Seed()
	for i := range turned {
		turned[i] = ^turned[i]
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoSecretsStayInMemory$")
	cmd.Env = append(os.Environ(), "IDENTITY_SCAN="+path, fmt.Sprintf("IDENTITY_SCAN_FOR=%x", turned))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var raw, text int
	if _, err := fmt.Sscanf(string(out), "%d %d", &raw, &text); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%d copies of the seed, %d of its text", raw, text)
	if raw < 1 || raw > 2 || text != 0 {
		t.Errorf("%d copies of the seed and %d of its text, want 2 and 0", raw, text)
	}
}

func scanMain(path string) {
	s, err := Load(path)
	if err == nil {
		s.Board.Sign([]byte("message"))
		err = createFile(path+" again", s)
	}
	if err == nil {
		var turned []byte
		if turned, err = hex.DecodeString(os.Getenv("IDENTITY_SCAN_FOR")); err == nil {
			var raw, text int
			raw, text, err = scanMemory(turned)
			fmt.Println(raw, text)
		}
	}
	runtime.KeepAlive(s)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
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
