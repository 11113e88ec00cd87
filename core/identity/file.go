package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// Formats of the key file that this package reads and writes.
const (
	plainFormat     = 1 // the secrets as they are
	protectedFormat = 2 // the secrets encrypted with a passphrase
)

// maxFileSize bounds what is read of a key file, in bytes. A real one has 300 to 500.
const maxFileSize = 4 << 10

// serverFile is the key file of format 1 as JSON. Secrets are standard base64.
type serverFile struct {
	Format      int    `json:"format"`
	BoardSeed   []byte `json:"board_seed"`
	TokenSeed   []byte `json:"token_seed"`
	TokenScalar []byte `json:"token_scalar"`
	// Checksum is the SHA-256 of the secrets. Without it a damaged byte would
	// give the server another address instead of an error.
	Checksum []byte `json:"checksum"`
}

// LoadOrCreate returns the keys in the file at path. If there is no such file it
// draws new keys and writes them, with mode 0600, in a way that survives a crash
// at any moment: after LoadOrCreate returned, the keys are on disk. The
// directory must exist. Several processes may call LoadOrCreate for one path at
// the same time and get the same keys.
//
// It never changes a file that exists, and it refuses one that it cannot trust:
// a symbolic link, not a regular file, of another user, open to group or others,
// damaged or of an unknown format. Every error is one sentence with the path and
// what to do about it. For a protected file the error matches [ErrLocked].
func LoadOrCreate(path string) (*Server, error) {
	s, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	err = Create(path, nil)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	// Read back what is there now: ours, or that of a process that was faster.
	return Load(path)
}

// Load returns the keys in the file at path and refuses what [LoadOrCreate]
// refuses. If there is no file the error matches [fs.ErrNotExist].
func Load(path string) (*Server, error) {
	f, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if f.protected != nil {
		return nil, &fileError{path, "is protected with a passphrase: unlock the server with its passphrase", ErrLocked}
	}
	return f.keys, nil
}

// fileError is a mistake that callers tell from others, as one sentence about a key file.
type fileError struct {
	path, text string
	kind       error
}

func (e *fileError) Error() string { return "key file " + e.path + " " + e.text }
func (e *fileError) Unwrap() error { return e.kind }

// keyFile is what a key file holds: keys, or keys that are still encrypted.
type keyFile struct {
	keys      *Server
	protected *protectedFile
}

// readFile reads a key file and refuses what [LoadOrCreate] refuses.
func readFile(path string) (keyFile, error) {
	if err := checkDirectory(filepath.Dir(path)); err != nil {
		return keyFile{}, err
	}
	removeUnfinished(path)
	// O_NONBLOCK so that a named pipe does not hold us up before it is refused.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, syscall.ELOOP):
		return keyFile{}, fmt.Errorf("key file %s is a symbolic link: put the file itself there", path)
	case errors.Is(err, fs.ErrPermission):
		return keyFile{}, explainUnreadable(path, err)
	case err != nil:
		return keyFile{}, fmt.Errorf("open key file: %w", err)
	}
	defer f.Close()
	if err := checkFile(path, f); err != nil {
		return keyFile{}, err
	}
	// The process that made the file may have been killed before it was durable,
	// and the keys of a published server must not vanish.
	if err := durable.Confirm(f); err != nil {
		return keyFile{}, fmt.Errorf("make key file %s durable: %w: check its disk", path, err)
	}
	text := make([]byte, maxFileSize+1)
	defer clear(text)
	n, err := io.ReadFull(f, text)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return keyFile{}, fmt.Errorf("read key file %s: %w", path, err)
	}
	file, err := decodeFile(text[:n])
	if err != nil {
		return keyFile{}, fmt.Errorf("key file %s %w", path, err)
	}
	return file, nil
}

// checkDirectory refuses a directory in which another user could swap the key
// file.
func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Not wrapped: the caller would take it for a missing key file.
		return fmt.Errorf("directory %s for the key file does not exist: create it with mode 0700", dir)
	case err != nil:
		return fmt.Errorf("look at directory of key file: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory: the key file needs one", dir)
	}
	if err := ownership.CheckOwner(dir, info, "keys", "storage"); err != nil {
		return fmt.Errorf("directory %w", err)
	}
	if info.Mode()&fs.ModeSticky != 0 { // everybody can add names, and replace only their own
		return nil
	}
	if err := ownership.CheckMode(dir, info, 0o002, "keys", "storage"); err != nil {
		return fmt.Errorf("directory %w", err)
	}
	return nil
}

// explainUnreadable says what keeps this user from reading a key file.
func explainUnreadable(path string, err error) error {
	info, statErr := os.Lstat(path)
	if statErr != nil {
		return fmt.Errorf("key file %s may not be read by user %s: %w", path, ownership.UserName(os.Geteuid()), err)
	}
	if err := ownership.CheckOwner(path, info, "keys"); err != nil {
		return fmt.Errorf("key file %w", err)
	}
	return fmt.Errorf("key file %s cannot be read, its mode is %04o: run %s", path, info.Mode().Perm(), pathname.Command("chmod", "600", path))
}

// checkFile refuses a key file that others could have read or written.
func checkFile(path string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("key file %s is not a regular file: restore the keys from a backup", path)
	}
	if err := ownership.CheckOwner(path, info, "keys"); err != nil {
		return fmt.Errorf("key file %w", err)
	}
	if err := ownership.CheckMode(path, info, 0o077); err != nil {
		return fmt.Errorf("key file %w, and consider its keys known if others use this machine", err)
	}
	return nil
}

// createFile writes a new file at path. The file appears there with its whole content or
// not at all; if there is one already the error matches [fs.ErrExist].
func createFile(path string, text []byte) error {
	err := durable.CreateFile(path, text, 0o600)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create key file %s: nothing was kept, make room or permit writing to %s and start again: %w", path, filepath.Dir(path), err)
	}
	return err
}

func encodeServer(s *Server) []byte {
	board, token := s.Board.Seed(), s.Token.Seed()
	defer clear(board[:])
	defer clear(token[:])
	// Not by encoding/json, whose buffers keep copies of the text.
	text := append(make([]byte, 0, maxFileSize), fmt.Sprintf("{\n  \"format\": %d", plainFormat)...)
	for _, field := range []struct {
		name  string
		value []byte
	}{
		{"board_seed", board[:]},
		{"token_seed", token[:]},
		{"token_scalar", s.Scalar[:]},
		{"checksum", checksumOf(board[:], token[:], s.Scalar[:])},
	} {
		text = append(text, ",\n  \""+field.name+"\": \""...)
		text = base64.StdEncoding.AppendEncode(text, field.value)
		text = append(text, '"')
	}
	return append(text, "\n}\n"...)
}

// errDamaged continues the words "key file PATH", and holds nothing of the text.
var errDamaged = errors.New("is damaged: restore it from a backup; without one its address is lost, and a new server needs a name of its own")

// decodeFile reads what encodeServer or encodeProtected wrote. Its errors are like errDamaged.
func decodeFile(text []byte) (keyFile, error) {
	if len(text) > maxFileSize {
		return keyFile{}, errDamaged
	}
	var version struct {
		Format int `json:"format"`
	}
	if json.Unmarshal(text, &version) != nil {
		return keyFile{}, errDamaged
	}
	var f keyFile
	var err error
	switch {
	case version.Format > protectedFormat:
		err = fmt.Errorf("has format %d but this program knows only up to %d: use the newer program that wrote it", version.Format, protectedFormat)
	case version.Format == protectedFormat:
		f.protected, err = decodeProtected(text)
	default:
		f.keys, err = decodeServer(text)
	}
	return f, err
}

// decodeServer reads what encodeServer wrote.
func decodeServer(text []byte) (*Server, error) {
	var f serverFile
	defer func() {
		clear(f.BoardSeed)
		clear(f.TokenSeed)
		clear(f.TokenScalar)
	}()
	// Not by a Decoder that knows unknown fields: it keeps a copy of the text.
	if json.Unmarshal(text, &f) != nil || !hasOnlyFields(text) || f.Format != plainFormat {
		return nil, errDamaged
	}
	return newServerFrom(f.BoardSeed, f.TokenSeed, f.TokenScalar, f.Checksum)
}

// newServerFrom returns the server with these secrets if they are whole. It keeps none of
// the slices.
func newServerFrom(board, token, tokenScalar, checksum []byte) (*Server, error) {
	if len(board) != 32 || len(token) != 32 || len(tokenScalar) != 32 ||
		!bytes.Equal(checksum, checksumOf(board, token, tokenScalar)) ||
		!checkScalar([32]byte(tokenScalar)) {
		return nil, errDamaged
	}
	return &Server{Board: keyFromSeed(board), Token: keyFromSeed(token), Scalar: [32]byte(tokenScalar)}, nil
}

// hasOnlyFields reports whether text has all fields of a serverFile and no other.
func hasOnlyFields(text []byte) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return false
	}
	for _, value := range fields {
		defer clear(value)
	}
	for _, name := range []string{"format", "board_seed", "token_seed", "token_scalar", "checksum"} {
		if fields[name] == nil {
			return false
		}
	}
	return len(fields) == 5
}

func checksumOf(board, token, tokenScalar []byte) []byte {
	h := sha256.New()
	h.Write([]byte("cwtch-relay/server-keys/v1"))
	h.Write(board)
	h.Write(token)
	h.Write(tokenScalar)
	return h.Sum(nil)
}
