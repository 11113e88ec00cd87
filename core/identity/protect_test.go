package identity

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cheapest is the least that a file may ask for, so that tests take less time.
var cheapest = kdf{passes: minPasses, memory: minMemory, threads: newThreads, salt: [16]byte{1, 2, 3}}

// writeProtected writes a protected file that is cheap to open.
func writeProtected(t *testing.T, path string, s *Server, passphrase []byte) {
	t.Helper()
	check(t, createFile(path, sealServer(s, cheapest, cheapest.deriveKey(passphrase)).encodeProtected()))
}

var passphrase = []byte("correct horse battery staple")

// If the content of the file changes, the format needs another number.
func TestProtectedFormatIsFrozen(t *testing.T) {
	want := `{
  "format": 2,
  "kdf": {
    "name": "argon2id",
    "time": 1,
    "memory_kib": 65536,
    "threads": 4,
    "salt": "AQIDAAAAAAAAAAAAAAAAAA=="
  },
  "nonce": "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ",
  "sealed": "IHK2mBNcSZDSDeALtRJcroyAFWuLTnOzof5unr2DbM0BbUEWEfhV1B+jOZWa5PBS9iHjyHFrmCK7R8bKlT8js/N1MnJJPmfIFKmebz20eY5FWbkWKUaHo5Lv1P8BiHjfLOmNzCA75AmnoR5MDpy33snAnkzYwwR+WJLqPffyBwNJYDON6R7+BkBMHb68Hia/"
}
`
	s := &Server{Board: keyFromSeed(bytes.Repeat([]byte{1}, 32)), Token: keyFromSeed(bytes.Repeat([]byte{2}, 32)), Scalar: [32]byte{3}}
	key := cheapest.deriveKey(passphrase)
	p := sealServer(s, cheapest, key)
	p.nonce = [24]byte(bytes.Repeat([]byte{9}, 24))
	board, token := s.Board.Seed(), s.Token.Seed()
	secrets := slices.Concat(board[:], token[:], s.Scalar[:], checksumOf(board[:], token[:], s.Scalar[:]))
	newCipher(key).Seal(p.sealed[:0], p.nonce[:], secrets, p.encodeHeader())
	if got := string(p.encodeProtected()); got != want {
		t.Errorf("the file is %s; want %s, or another number", got, want)
	}
	path := filepath.Join(privateDir(t), "keys")
	check(t, createFile(path, []byte(want)))
	if back, err := Unlock(path, passphrase); err != nil || !sameServer(back, s) {
		t.Errorf("read back: %v", err)
	}
}

func TestCreateProtected(t *testing.T) {
	path := filepath.Join(privateDir(t), "keys")
	check(t, Create(path, passphrase))
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	before := listTree(t, filepath.Dir(path))
	s, err := Unlock(path, passphrase)
	check(t, err)
	for name, load := range map[string]func(string) (*Server, error){"Load": Load, "LoadOrCreate": LoadOrCreate} {
		if _, err := load(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, p := range [][]byte{nil, passphrase} {
		if err := Create(path, p); !errors.Is(err, fs.ErrExist) {
			t.Errorf("second Create: %v", err)
		}
	}
	if protected, err := Protected(path); err != nil || !protected {
		t.Errorf("Protected: %v, %v", protected, err)
	}
	if after := listTree(t, filepath.Dir(path)); after != before {
		t.Errorf("reading changed the directory from\n%s to\n%s", before, after)
	}
	text, err := os.ReadFile(path)
	check(t, err)
	for _, secret := range []string{string(passphrase), base64Of(s.Scalar[:])[:40]} {
		if bytes.Contains(text, []byte(secret)) {
			t.Error("a secret is in the file")
		}
	}
	p, err := decodeProtected(text)
	check(t, err)
	if p.kdf.memory != 64<<10 || p.kdf.threads != 4 || p.kdf.passes < 3 || p.kdf.passes > 64 {
		t.Errorf("the file asks for %+v", p.kdf)
	}
}

func TestCreateRefusesAWeakPassphrase(t *testing.T) {
	for name, p := range map[string]string{
		"empty": "", "short": "1234567", "few characters": "ééééé", "long": strings.Repeat("x", 1025),
		"tab": "correct\thorse", "line break": "correct horse\n", "zero": "correct\x00horse", "no UTF-8": "correct \xff horse",
	} {
		path := filepath.Join(privateDir(t), "keys")
		if err := Create(path, []byte(p)); err == nil || err.Error() != CheckPassphrase([]byte(p)).Error() {
			t.Errorf("%s: %v", name, err)
		}
		check(t, Create(path, nil))
		if err := ChangePassphrase(path, nil, []byte(p)); err == nil {
			t.Errorf("%s is accepted by ChangePassphrase", name)
		}
		if _, err := Load(path); err != nil {
			t.Errorf("%s: the file changed: %v", name, err)
		}
	}
	for _, p := range []string{"12345678", strings.Repeat("x", 1024), "ééééééééé", "  spaces  "} {
		if err := CheckPassphrase([]byte(p)); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestPassesFollowTheSpeedOfTheMachine(t *testing.T) {
	for took, want := range map[time.Duration]uint32{
		0: 64, time.Microsecond: 64, 150 * time.Millisecond: 10, 500 * time.Millisecond: 3, time.Hour: 3,
	} {
		if got := passesFor(took); got != want {
			t.Errorf("%v: %d passes, want %d", took, got, want)
		}
	}
}

// Keyboards write the same letter in two ways.
func TestPassphraseIsNormalized(t *testing.T) {
	path := filepath.Join(privateDir(t), "keys")
	s := newServer()
	writeProtected(t, path, s, []byte("caf\u00e9 cr\u00e8me"))
	if got, err := Unlock(path, []byte("cafe\u0301 cre\u0300me")); err != nil || !sameServer(got, s) {
		t.Errorf("the other spelling: %v", err)
	}
	if _, err := Unlock(path, []byte("cafe creme")); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("without accents: %v", err)
	}
}

// Whatever is wrong, the answer is the same.
func TestWrongPassphraseTellsNothing(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "keys")
	s := newServer()
	key := cheapest.deriveKey(passphrase)
	good := sealServer(s, cheapest, key)
	flip := func(at int) *protectedFile {
		p := *good
		p.sealed[at] ^= 1
		return &p
	}
	badScalar := *s
	badScalar.Scalar = [32]byte{}
	want := ""
	for name, tc := range map[string]struct {
		file       *protectedFile
		passphrase string
	}{
		"wrong":             {good, "correct horse battery stable"},
		"empty":             {good, ""},
		"longer":            {good, string(passphrase) + " "},
		"huge":              {good, strings.Repeat("x", 64<<10)},
		"first byte":        {flip(0), string(passphrase)},
		"byte of the tag":   {flip(sealedSize - 1), string(passphrase)},
		"sealed nonsense":   {sealServer(&badScalar, cheapest, key), string(passphrase)},
		"another key's box": {sealServer(s, cheapest, make([]byte, 32)), string(passphrase)},
	} {
		os.Remove(path)
		check(t, createFile(path, tc.file.encodeProtected()))
		_, err := Unlock(path, []byte(tc.passphrase))
		if !errors.Is(err, ErrWrongPassphrase) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want == "" {
			want = err.Error()
		}
		if err.Error() != want {
			t.Errorf("%s: %q, others %q", name, err, want)
		}
		if err := ChangePassphrase(path, []byte(tc.passphrase), []byte("another passphrase")); err == nil || err.Error() != want {
			t.Errorf("%s: ChangePassphrase says %v", name, err)
		}
	}
}

// Time of the processor, because other programs run. Both are tried in turns, and the least
// counts.
func TestWrongPassphraseCostsTheSame(t *testing.T) {
	path := filepath.Join(privateDir(t), "keys")
	k := cheapest
	k.passes = 4
	check(t, createFile(path, sealServer(newServer(), k, k.deriveKey(passphrase)).encodeProtected()))
	right, wrong := time.Hour, time.Hour
	for range 6 {
		right = min(right, costOfUnlock(t, path, passphrase))
		wrong = min(wrong, costOfUnlock(t, path, []byte("wrong")))
	}
	t.Logf("right %v, wrong %v", right, wrong)
	if wrong < right*7/10 || wrong > right*14/10 {
		t.Errorf("the right passphrase takes %v, a wrong one %v", right, wrong)
	}
}

func costOfUnlock(t *testing.T, path string, passphrase []byte) time.Duration {
	t.Helper()
	before := processorTime(t)
	Unlock(path, passphrase)
	return processorTime(t) - before
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	check(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Eight attempts at once take the memory of one.
func TestDerivationsTakeTurns(t *testing.T) {
	const variable = "IDENTITY_TEST_STORM"
	if path := os.Getenv(variable); path != "" {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := Unlock(path, []byte("wrong passphrase")); !errors.Is(err, ErrWrongPassphrase) {
					fmt.Println(err)
				}
			})
		}
		wg.Wait()
		status, err := os.ReadFile("/proc/self/status")
		check(t, err)
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		fmt.Println(peak)
		os.Exit(0)
	}
	path := filepath.Join(privateDir(t), "keys")
	writeProtected(t, path, newServer(), passphrase)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDerivationsTakeTurns$")
	cmd.Env = append(os.Environ(), variable+"="+path)
	out, err := cmd.CombinedOutput()
	check(t, err)
	var peak int
	if _, err := fmt.Sscan(string(out), &peak); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("at most %d MiB", peak>>10)
	if peak < minMemory || peak > 3*minMemory {
		t.Errorf("%d KiB at once, want little more than %d", peak, minMemory)
	}
}

// Every byte of the file is changed, with the right key at hand: nothing but the file itself opens.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	s := newServer()
	key := cheapest.deriveKey(passphrase)
	good := sealServer(s, cheapest, key).encodeProtected()
	opens := func(text []byte) bool {
		f, err := decodeFile(text)
		if err != nil || f.protected == nil {
			return false
		}
		_, ok := f.protected.openSealed(key)
		return ok
	}
	if !opens(good) {
		t.Fatal("the file itself does not open")
	}
	for i := range good {
		for bit := range 8 {
			bad := slices.Clone(good)
			bad[i] ^= 1 << bit
			if opens(bad) {
				t.Fatalf("byte %d (%q) with bit %d flipped opens", i, good[i], bit)
			}
		}
		if opens(good[:i]) {
			t.Fatalf("the first %d bytes open", i)
		}
	}
}

// A forged file costs nothing: it is refused before a key is derived.
func TestForgedFilesAreRefused(t *testing.T) {
	key := make([]byte, 32) // no derivation
	good := string(sealServer(newServer(), cheapest, key).encodeProtected())
	replace := func(old, new string) string {
		if strings.Count(good, old) != 1 {
			t.Fatalf("not one %q in the file", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	salt := base64Of(cheapest.salt[:])
	damaged := "is damaged: restore"
	for name, tc := range map[string]struct{ text, says string }{
		"no passes":         {replace(`"time": 1`, `"time": 0`), "has time 0, and this program takes 1 to 64"},
		"65 passes":         {replace(`"time": 1`, `"time": 65`), "has time 65,"},
		"2³² passes":        {replace(`"time": 1`, `"time": 4294967296`), damaged},
		"negative passes":   {replace(`"time": 1`, `"time": -1`), damaged},
		"passes as text":    {replace(`"time": 1`, `"time": "1"`), damaged},
		"passes with point": {replace(`"time": 1`, `"time": 1.0`), damaged},
		"little memory":     {replace(`65536`, `65535`), "has memory_kib 65535, and this program takes 65536 to 1048576"},
		"much memory":       {replace(`65536`, `1048577`), "has memory_kib 1048577,"},
		"much work":         {strings.Replace(replace(`65536`, `1048576`), `"time": 1`, `"time": 5`, 1), "has memory_kib times time 5242880, and this program takes 4194304"},
		"most work":         {strings.Replace(replace(`65536`, `1048576`), `"time": 1`, `"time": 64`, 1), "has memory_kib times time 67108864,"},
		"no threads":        {replace(`"threads": 4`, `"threads": 0`), "has threads 0, and this program takes 1 to 8"},
		"9 threads":         {replace(`"threads": 4`, `"threads": 9`), "has threads 9,"},
		"260 threads":       {replace(`"threads": 4`, `"threads": 260`), damaged},
		"another function":  {replace(`argon2id`, `scrypt`), damaged},
		"short salt":        {replace(salt, base64Of(cheapest.salt[:15])), damaged},
		"long salt":         {replace(salt, base64Of(make([]byte, 17))), damaged},
		"no salt":           {replace(salt, ""), damaged},
		"salt not base64":   {replace(salt, "!"), damaged},
		"salt twice":        {replace(`    "salt"`, `    "salt": "`+salt+"\",\n    \"salt\""), damaged},
		"format twice":      {replace(`{`+"\n"+`  "format": 2,`, "{\n  \"format\": 1,\n  \"format\": 2,"), damaged},
		"short nonce":       {replace(`"nonce": "`, `"nonce": "AAAA`), damaged},
		"null sealed":       {good[:strings.Index(good, `"sealed"`)] + "\"sealed\": null\n}\n", damaged},
		"long sealed":       {replace(`"sealed": "`, `"sealed": "AAAA`), damaged},
		"unknown field":     {replace(`  "nonce"`, "  \"x\": 1,\n  \"nonce\""), damaged},
		"unknown in kdf":    {replace(`    "salt"`, "    \"x\": 1,\n    \"salt\""), damaged},
		"other case":        {replace(`"nonce"`, `"Nonce"`), damaged},
		"white space":       {replace(`  "nonce"`, `   "nonce"`), damaged},
		"escaped letter":    {replace(`argon2id`, `argon2i\u0064`), damaged},
		"carriage returns":  {strings.ReplaceAll(good, "\n", "\r\n"), damaged},
		"trailing":          {good + "{}", damaged},
		"cut":               {good[:len(good)/2], damaged},
		"huge":              {good + strings.Repeat(" ", maxFileSize), damaged},
		"plain secrets too": {replace(`  "nonce"`, "  \"board_seed\": \""+base64Of(make([]byte, 32))+"\",\n  \"nonce\""), damaged},
		"format 1":          {replace(`"format": 2`, `"format": 1`), damaged},
		"format 3":          {replace(`"format": 2`, `"format": 3`), "has format 3 but"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(privateDir(t), "board", "keys")
			check(t, os.Mkdir(filepath.Dir(path), 0o700))
			check(t, os.WriteFile(path, []byte(tc.text), 0o600))
			expectRefusal(t, path, tc.says)
			derivation.Lock() // an attempt to derive a key would wait for this
			defer derivation.Unlock()
			for name, err := range map[string]error{
				"Unlock":           errOf(Unlock(path, passphrase)),
				"Protected":        errOf(Protected(path)),
				"ChangePassphrase": ChangePassphrase(path, passphrase, passphrase),
			} {
				if err == nil || !strings.Contains(err.Error(), tc.says) || errors.Is(err, ErrWrongPassphrase) {
					t.Errorf("%s says %v, want %q", name, err, tc.says)
				}
			}
		})
	}
}

func errOf[T any](_ T, err error) error { return err }

// What may be at its bounds is read.
func TestBoundsAreInclusive(t *testing.T) {
	for _, k := range []kdf{
		{passes: 1, memory: 64 << 10, threads: 1}, {passes: 64, memory: 64 << 10, threads: 8}, {passes: 4, memory: 1 << 20, threads: 8},
	} {
		text := sealServer(newServer(), k, make([]byte, 32)).encodeProtected()
		if p, err := decodeProtected(text); err != nil || p.kdf != k {
			t.Errorf("%+v: %v", k, err)
		}
	}
}

func FuzzDecodeFile(f *testing.F) {
	f.Add(encodeServer(newServer()))
	f.Add(sealServer(newServer(), cheapest, make([]byte, 32)).encodeProtected())
	f.Add([]byte(`{"format": 2, "kdf": {"time": 1, "time": 2}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := decodeFile(text)
		switch {
		case err != nil:
		case (file.keys == nil) == (file.protected == nil):
			t.Error("neither keys nor a protected file, or both")
		case file.protected != nil && !bytes.Equal(file.protected.encodeProtected(), text):
			t.Error("another text is read as the same file")
		case file.protected != nil && file.protected.kdf.checkBounds() != nil:
			t.Error("a cost out of bounds is accepted")
		}
	})
}

func TestChangePassphrase(t *testing.T) {
	quicken(t)
	path := filepath.Join(privateDir(t), "keys")
	s, err := LoadOrCreate(path)
	check(t, err)
	second := []byte("another passphrase")
	for _, change := range []struct {
		name     string
		old, new []byte
	}{
		{"protect", nil, passphrase}, {"change", passphrase, second}, {"same again", second, second}, {"take off", second, nil}, {"nothing", nil, nil},
	} {
		var salt []byte
		if before, err := os.ReadFile(path); err == nil {
			if f, err := decodeFile(before); err == nil && f.protected != nil {
				salt = f.protected.kdf.salt[:]
			}
		}
		old, err := os.Open(path)
		check(t, err)
		check(t, ChangePassphrase(path, change.old, change.new))
		got, err := loadWith(path, change.new)
		if err != nil || !sameServer(got, s) {
			t.Fatalf("%s: %v", change.name, err)
		}
		if text, _ := os.ReadFile(path); salt != nil && bytes.Contains(text, []byte(base64.StdEncoding.EncodeToString(salt))) {
			t.Errorf("%s: the salt is used again", change.name)
		}
		content := make([]byte, maxFileSize)
		n, _ := old.Read(content)
		old.Close()
		if n < 100 || !bytes.Equal(content[:n], make([]byte, n)) {
			t.Errorf("%s: the old content is not overwritten: %d bytes", change.name, n)
		}
		if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
			t.Errorf("%s: %d files instead of one", change.name, len(entries))
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v", change.name, info.Mode(), err)
		}
	}
}

func TestChangePassphraseRefuses(t *testing.T) {
	plain, protected := filepath.Join(privateDir(t), "keys"), filepath.Join(privateDir(t), "keys")
	check(t, Create(plain, nil))
	writeProtected(t, protected, newServer(), passphrase)
	before := listTree(t, filepath.Dir(plain)) + listTree(t, filepath.Dir(protected))
	for name, tc := range map[string]struct{ err, want error }{
		"passphrase for a plain file":  {ChangePassphrase(plain, passphrase, nil), ErrNotProtected},
		"unlock of a plain file":       {errOf(Unlock(plain, passphrase)), ErrNotProtected},
		"none for a protected file":    {ChangePassphrase(protected, nil, passphrase), ErrLocked},
		"wrong":                        {ChangePassphrase(protected, []byte("wrong passphrase"), nil), ErrWrongPassphrase},
		"missing file":                 {ChangePassphrase(plain+"x", nil, nil), fs.ErrNotExist},
		"unlock of a missing file":     {errOf(Unlock(plain+"x", passphrase)), fs.ErrNotExist},
		"protection of a missing file": {errOf(Protected(plain + "x")), fs.ErrNotExist},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
	if after := listTree(t, filepath.Dir(plain)) + listTree(t, filepath.Dir(protected)); after != before {
		t.Errorf("changed from\n%s to\n%s", before, after)
	}
}

// A backup by a hard link keeps its content.
func TestChangePassphraseSparesLinks(t *testing.T) {
	quicken(t)
	path := filepath.Join(privateDir(t), "keys")
	s, err := LoadOrCreate(path)
	check(t, err)
	backup := filepath.Join(privateDir(t), "keys")
	if err := os.Link(path, backup); err != nil {
		t.Fatal(err)
	}
	check(t, ChangePassphrase(path, nil, passphrase))
	if got, err := Load(backup); err != nil || !sameServer(got, s) {
		t.Errorf("the backup: %v", err)
	}
}

func TestChangePassphraseOnAFullDisk(t *testing.T) {
	const variable = "IDENTITY_TEST_FULL"
	if path := os.Getenv(variable); path != "" {
		quicken(t)
		check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 10, Max: 10}))
		fmt.Printf("error: %v\n", ChangePassphrase(path, nil, passphrase))
		os.Exit(0)
	}
	path := filepath.Join(privateDir(t), "keys")
	check(t, Create(path, nil))
	before := listTree(t, filepath.Dir(path))
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChangePassphraseOnAFullDisk$")
	cmd.Env = append(os.Environ(), variable+"="+path)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "error: change key file "+path+": it is as it was, make room") {
		t.Errorf("%v, %s", err, out)
	}
	after, err := os.ReadFile(path)
	if entries, _ := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 || !strings.Contains(before, fmt.Sprintf("%q", after)) {
		t.Errorf("the file changed, or one is left: %v", err)
	}
}

// quicken makes new files cheap for the rest of a test.
func quicken(t *testing.T) {
	was := derivationTime
	derivationTime = 0
	t.Cleanup(func() { derivationTime = was })
}

// A process is killed after each step of ChangePassphrase. Then the file opens with the old or
// with the new passphrase, and nothing is left beside it.
func TestKillAtEveryStepOfChangePassphrase(t *testing.T) {
	if os.Getenv("IDENTITY_TEST_KILL") != "" {
		killMain(t)
	}
	second := []byte("another passphrase")
	for name, phrases := range map[string][2][]byte{
		"protect": {nil, passphrase}, "change": {passphrase, second}, "take off": {passphrase, nil},
	} {
		old, new := phrases[0], phrases[1]
		steps, seen := 0, map[string]bool{}
		for done := false; !done; steps++ {
			path := filepath.Join(privateDir(t), "keys")
			s := newServer()
			if old == nil {
				check(t, createFile(path, encodeServer(s)))
			} else {
				writeProtected(t, path, s, old)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillAtEveryStepOfChangePassphrase$")
			cmd.Env = append(os.Environ(), "IDENTITY_TEST_KILL="+path, fmt.Sprintf("IDENTITY_TEST_STEP=%d", steps),
				"IDENTITY_TEST_OLD="+string(old), "IDENTITY_TEST_NEW="+string(new))
			out, err := cmd.CombinedOutput()
			if done = err == nil; !done && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("%s: %v: %s", name, err, out)
			}
			opened := ""
			if got, err := loadWith(path, old); err == nil && sameServer(got, s) {
				opened += "old"
			}
			if got, err := loadWith(path, new); err == nil && sameServer(got, s) {
				opened += "new"
			}
			if opened != "old" && opened != "new" || done && opened != "new" {
				t.Errorf("%s: killed at step %d, opens with %q", name, steps, opened)
			}
			if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
				t.Errorf("%s: killed at step %d, %d files", name, steps, len(entries))
			}
			seen[opened] = true
		}
		if steps < 8 || !seen["old"] || !seen["new"] {
			t.Errorf("%s: %d steps, seen %v", name, steps, seen)
		}
	}
}

func killMain(t *testing.T) {
	derivationTime = 0
	var left int
	_, err := fmt.Sscan(os.Getenv("IDENTITY_TEST_STEP"), &left)
	check(t, err)
	atStep = func() {
		if left--; left < 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	phrase := func(name string) []byte {
		if text := os.Getenv(name); text != "" {
			return []byte(text)
		}
		return nil
	}
	if err := ChangePassphrase(os.Getenv("IDENTITY_TEST_KILL"), phrase("IDENTITY_TEST_OLD"), phrase("IDENTITY_TEST_NEW")); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A process is killed as soon as it has done so many things in the directory. Then there are no
// keys, or those that it made, and another attempt succeeds.
func TestKillDuringCreate(t *testing.T) {
	if path := os.Getenv("IDENTITY_TEST_CREATE"); path != "" {
		quicken(t)
		check(t, Create(path, passphrase))
		os.Exit(0)
	}
	killed := 0
	for events := 1; ; events++ {
		path := filepath.Join(privateDir(t), "keys")
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillDuringCreate$")
		cmd.Env = append(os.Environ(), "IDENTITY_TEST_CREATE="+path)
		ended := killAfterEvents(t, cmd, filepath.Dir(path), events)
		_, err := Unlock(path, passphrase)
		if err != nil && (ended || !errors.Is(err, fs.ErrNotExist)) {
			t.Errorf("killed after %d events: %v", events, err)
		}
		quicken(t)
		if err := Create(path, passphrase); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Errorf("killed after %d events, the next attempt: %v", events, err)
		}
		if _, err := Unlock(path, passphrase); err != nil {
			t.Errorf("killed after %d events, after the next attempt: %v", events, err)
		}
		if ended {
			break
		}
		killed++
	}
	t.Logf("killed %d times", killed)
	if killed < 2 {
		t.Errorf("killed %d times only", killed)
	}
}

// killAfterEvents runs a process and kills it after a number of events in a directory. It reports
// whether the process ended before.
func killAfterEvents(t *testing.T, cmd *exec.Cmd, dir string, events int) (ended bool) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	check(t, err)
	watch := os.NewFile(uintptr(fd), "inotify")
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_ATTRIB|unix.IN_CLOSE_WRITE|unix.IN_MOVE|unix.IN_DELETE)
	check(t, err)
	check(t, cmd.Start())
	go func() {
		buffer := make([]byte, 4096)
		for seen := 0; seen < events; {
			n, err := watch.Read(buffer)
			if err != nil {
				return // the process has ended
			}
			for at := 0; at < n; seen++ {
				at += unix.SizeofInotifyEvent + int(buffer[at+12]) // the length of the name is below 256
			}
		}
		cmd.Process.Kill()
	}()
	err = cmd.Wait()
	watch.Close()
	return err == nil
}
