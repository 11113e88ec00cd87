package identity

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/text/unicode/norm"
)

var (
	// ErrLocked is matched by the error for a key file that only its passphrase opens.
	ErrLocked = errors.New("the keys are protected with a passphrase")
	// ErrWrongPassphrase is matched by the error for a passphrase that does not open a key
	// file. Nobody can tell a wrong passphrase from damage to the encrypted part.
	ErrWrongPassphrase = errors.New("wrong passphrase")
	// ErrNotProtected is matched by the error for a passphrase given for a key file that has none.
	ErrNotProtected = errors.New("the keys are not protected with a passphrase")
)

// Bounds of a new passphrase.
const (
	minPassphrase = 8    // characters
	maxPassphrase = 1024 // bytes
)

// What a key file may ask for, so that a forged one costs no more. The lower bounds keep a
// forged one from being opened, and then guessed at, for less.
const (
	minMemory, maxMemory   = 64 << 10, 1 << 20 // KiB
	minPasses, maxPasses   = 1, 64
	minThreads, maxThreads = 1, 8
	// maxWork bounds passes times memory: what the slowest new file takes. More memory leaves
	// fewer passes, since a derivation holds up those of all other servers.
	maxWork = maxPasses * newMemory
)

// A new key file gets 64 MiB, 4 threads and at least 3 passes, as RFC 9106 recommends where
// memory is scarce, and as many passes as take about derivationTime here. Memory does not
// grow with the machine: the relay may run in a container that has little of it, and a
// person may move the file to a smaller machine.
const (
	newMemory  = minMemory
	newPasses  = 3
	newThreads = 4
)

// derivationTime is a variable for tests alone.
var derivationTime = 500 * time.Millisecond

// CheckPassphrase reports whether a passphrase may be set: at least 8 characters, at most
// 1024 bytes, valid UTF-8, no control characters.
func CheckPassphrase(passphrase []byte) error {
	switch {
	case !utf8.Valid(passphrase):
		return errors.New("the passphrase is not valid UTF-8: type it as text")
	case utf8.RuneCount(passphrase) < minPassphrase:
		return fmt.Errorf("the passphrase is too short: take %d characters or more, better five words drawn at random", minPassphrase)
	case len(passphrase) > maxPassphrase:
		return fmt.Errorf("the passphrase is too long: take %d bytes or fewer", maxPassphrase)
	case bytes.IndexFunc(passphrase, unicode.IsControl) >= 0:
		return errors.New("the passphrase has a control character, such as a tab or a line break: leave it out")
	}
	return nil
}

// Create draws new keys and writes them to a new file at path, as [LoadOrCreate] does. The
// keys are protected with the passphrase, unless it is nil; then their plain form has never been
// on the disk. If there is a file already, the error matches [fs.ErrExist].
func Create(path string, passphrase []byte) error {
	if _, err := os.Lstat(path); err == nil { // before the derivation, which takes long
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	s := newServer()
	defer s.wipeKeys()
	text, err := encodeKeys(s, passphrase)
	if err != nil {
		return err
	}
	defer clear(text)
	return createFile(path, text)
}

// Unlock returns the keys in the protected file at path. It refuses what [Load] refuses. A
// wrong passphrase takes as long as the right one. If the file is not protected, the error
// matches [ErrNotProtected].
//
// Derivations of keys take their turns within the process, because each takes 64 MiB or more.
// The caller limits the number of attempts, and wipes the passphrase.
func Unlock(path string, passphrase []byte) (*Server, error) {
	f, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if f.protected == nil {
		f.keys.wipeKeys()
		return nil, &fileError{path, "is not protected with a passphrase: leave the passphrase out", ErrNotProtected}
	}
	key := f.protected.kdf.deriveKey(passphrase)
	defer clear(key)
	s, ok := f.protected.openSealed(key)
	if !ok {
		return nil, &fileError{path, "does not open with this passphrase: check the spelling; if the passphrase is right, the file is damaged: restore it from a backup", ErrWrongPassphrase}
	}
	return s, nil
}

// Protected reports whether the keys in the file at path are protected with a passphrase. It
// refuses what [Load] refuses.
func Protected(path string) (bool, error) {
	f, err := readFile(path)
	if err != nil {
		return false, err
	}
	if f.keys != nil {
		f.keys.wipeKeys()
	}
	return f.protected != nil, nil
}

// ChangePassphrase replaces the file at path by one with the same keys and another passphrase.
// If old is nil the keys were not protected; if new is nil they no longer are. After a crash
// at any moment the file is the old or the new one. The old content is overwritten, but a disk
// or a file system may keep copies of it, such as an SSD does: only keys that were protected
// from the beginning have never been in plain form on the disk.
func ChangePassphrase(path string, old, new []byte) error {
	if new != nil {
		if err := CheckPassphrase(new); err != nil {
			return err
		}
	}
	s, err := loadWith(path, old)
	if err != nil {
		return err
	}
	defer s.wipeKeys()
	text, err := encodeKeys(s, new)
	if err != nil {
		return err
	}
	defer clear(text)
	return replaceFile(path, text)
}

func loadWith(path string, passphrase []byte) (*Server, error) {
	if passphrase == nil {
		return Load(path)
	}
	return Unlock(path, passphrase)
}

// encodeKeys returns the text of a key file, protected unless the passphrase is nil.
func encodeKeys(s *Server, passphrase []byte) ([]byte, error) {
	if passphrase == nil {
		return encodeServer(s), nil
	}
	if err := CheckPassphrase(passphrase); err != nil {
		return nil, err
	}
	k := calibrateKDF()
	key := k.deriveKey(passphrase)
	defer clear(key)
	return sealServer(s, k, key).encodeProtected(), nil
}

// kdf says how Argon2id makes a key of a passphrase.
type kdf struct {
	passes, memory uint32 // memory in KiB
	threads        uint8
	salt           [16]byte
}

// calibrateKDF returns what a new file asks for: derivationTime on this machine, as long as it is
// as busy as now.
func calibrateKDF() kdf {
	k := kdf{passes: newPasses, memory: newMemory, threads: newThreads}
	rand.Read(k.salt[:]) // never fails, see crypto/rand
	derivation.Lock()
	defer derivation.Unlock()
	start := time.Now()
	k.argon2Locked(nil)
	k.passes = passesFor(time.Since(start))
	return k
}

// passesFor returns how many passes take derivationTime if newPasses take as long as given.
func passesFor(took time.Duration) uint32 {
	return uint32(min(max(newPasses*derivationTime/max(took, 1), newPasses), maxPasses))
}

// derivation is held by the one that makes a key of a passphrase.
var derivation sync.Mutex

// deriveKey makes a key of a passphrase. Passphrases that look the same are the same: keyboards
// differ in how they write letters with accents.
func (k kdf) deriveKey(passphrase []byte) []byte {
	if !norm.NFC.IsNormal(passphrase) {
		passphrase = norm.NFC.Bytes(passphrase)
		defer clear(passphrase)
	}
	derivation.Lock()
	defer derivation.Unlock()
	return k.argon2Locked(passphrase)
}

// argon2Locked is called with derivation held.
func (k kdf) argon2Locked(passphrase []byte) []byte {
	// Gives the memory back at once, and what the passphrase left in it.
	defer debug.FreeOSMemory()
	return argon2.IDKey(passphrase, k.salt[:], k.passes, k.memory, k.threads, chacha20poly1305.KeySize)
}

// sealedSize is the length of three secrets and a checksum, encrypted.
const sealedSize = 4*32 + chacha20poly1305.Overhead

// protectedFile is a key file of format 2.
type protectedFile struct {
	kdf    kdf
	nonce  [chacha20poly1305.NonceSizeX]byte
	sealed [sealedSize]byte
}

// sealServer encrypts the secrets of a server and their checksum.
func sealServer(s *Server, k kdf, key []byte) *protectedFile {
	board, token := s.Board.Seed(), s.Token.Seed()
	secrets := make([]byte, 0, sealedSize)
	defer func() {
		clear(board[:])
		clear(token[:])
		clear(secrets[:cap(secrets)])
	}()
	secrets = append(secrets, board[:]...)
	secrets = append(secrets, token[:]...)
	secrets = append(secrets, s.Scalar[:]...)
	secrets = append(secrets, checksumOf(board[:], token[:], s.Scalar[:])...)
	p := &protectedFile{kdf: k}
	rand.Read(p.nonce[:]) // never fails, see crypto/rand
	newCipher(key).Seal(p.sealed[:0], p.nonce[:], secrets, p.encodeHeader())
	return p
}

// openSealed decrypts the secrets, and reports whether key is right and they are whole.
func (p *protectedFile) openSealed(key []byte) (*Server, bool) {
	secrets := make([]byte, 0, sealedSize)
	defer func() { clear(secrets[:cap(secrets)]) }()
	secrets, err := newCipher(key).Open(secrets, p.nonce[:], p.sealed[:], p.encodeHeader())
	if err != nil {
		return nil, false
	}
	s, err := newServerFrom(secrets[:32], secrets[32:64], secrets[64:96], secrets[96:])
	return s, err == nil
}

func newCipher(key []byte) cipher.AEAD {
	c, err := chacha20poly1305.NewX(key)
	if err != nil {
		panic("identity: " + err.Error()) // for a wrong length, or where Go allows FIPS 140 only
	}
	return c
}

// encodeHeader returns the file up to the encrypted part. It is the associated data, so nobody
// can change a field of it and leave the rest.
func (p *protectedFile) encodeHeader() []byte {
	return fmt.Appendf(nil, `{
  "format": %d,
  "kdf": {
    "name": "argon2id",
    "time": %d,
    "memory_kib": %d,
    "threads": %d,
    "salt": %q
  },
  "nonce": %q,
`, protectedFormat, p.kdf.passes, p.kdf.memory, p.kdf.threads,
		base64.StdEncoding.EncodeToString(p.kdf.salt[:]), base64.StdEncoding.EncodeToString(p.nonce[:]))
}

func (p *protectedFile) encodeProtected() []byte {
	return fmt.Appendf(p.encodeHeader(), "  \"sealed\": %q\n}\n", base64.StdEncoding.EncodeToString(p.sealed[:]))
}

// decodeProtected reads what encodeProtected wrote, and nothing that differs from it in a
// single byte: no field twice, none that is unknown, one spelling of each value.
func decodeProtected(text []byte) (*protectedFile, error) {
	var f struct {
		KDF struct {
			Time      uint32 `json:"time"`
			MemoryKiB uint32 `json:"memory_kib"`
			Threads   uint8  `json:"threads"`
			Salt      []byte `json:"salt"`
		} `json:"kdf"`
		Nonce  []byte `json:"nonce"`
		Sealed []byte `json:"sealed"`
	}
	p := &protectedFile{}
	if json.Unmarshal(text, &f) != nil ||
		len(f.KDF.Salt) != len(p.kdf.salt) || len(f.Nonce) != len(p.nonce) || len(f.Sealed) != len(p.sealed) {
		return nil, errDamaged
	}
	p.kdf = kdf{f.KDF.Time, f.KDF.MemoryKiB, f.KDF.Threads, [16]byte(f.KDF.Salt)}
	copy(p.nonce[:], f.Nonce)
	copy(p.sealed[:], f.Sealed)
	if !bytes.Equal(p.encodeProtected(), text) {
		return nil, errDamaged
	}
	return p, p.kdf.checkBounds()
}

// checkBounds refuses a cost with which a forged file would hold up the relay, or be cheap to guess.
func (k kdf) checkBounds() error {
	for _, v := range []struct {
		name            string
		value, min, max uint32
	}{
		{"time", k.passes, minPasses, maxPasses},
		{"memory_kib", k.memory, minMemory, maxMemory},
		{"threads", uint32(k.threads), minThreads, maxThreads},
	} {
		if v.value < v.min || v.value > v.max {
			return fmt.Errorf("has %s %d, and this program takes %d to %d: restore the file from a backup, or use the newer program that wrote it", v.name, v.value, v.min, v.max)
		}
	}
	if work := k.passes * k.memory; work > maxWork { // no overflow: both are within bounds
		return fmt.Errorf("has memory_kib times time %d, and this program takes %d at most: restore the file from a backup, or use the newer program that wrote it", work, maxWork)
	}
	return nil
}
