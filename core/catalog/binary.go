package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

const checksumPrefix = "sha256:"

// Sum computes the checksum of a file, as [External] has it: "sha256:" and 64
// hexadecimal digits.
func Sum(path string) (string, error) {
	file, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum, err := hashFile(file)
	if err != nil {
		return "", err
	}
	return checksumPrefix + hex.EncodeToString(sum), nil
}

// String names the plugin in errors.
func (x External) String() string { return fmt.Sprintf("%s plugin %q", x.Kind, x.Name) }

// howToSum says how to get the right checksum.
func (x External) howToSum() string {
	return fmt.Sprintf("write the line into its block that this prints: %s", pathname.Command("cwtch-relay", "plugin", "sum", x.Path))
}

// howToInstall says where nobody can replace a program. It leaves the directories on the
// way to it as they are: they may be somebody's home.
func (x External) howToInstall() string {
	at := filepath.Join("/usr/local/lib/cwtch-relay", filepath.Base(x.Path))
	return fmt.Sprintf("put a copy where nobody can, and write path = %q: %s", at, pathname.Command("sudo", "install", "-D", "-m", "0755", x.Path, at))
}

// parseChecksum looks at the form of a declaration and gives the sum that it demands.
func (x External) parseChecksum() ([]byte, error) {
	d := plugin.Description{Kind: x.Kind, Name: x.Name, Version: "0"}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	switch {
	case !filepath.IsAbs(x.Path):
		return nil, fmt.Errorf("%v: the path %q is not absolute", x, x.Path)
	case x.Checksum == "" && x.Dev:
		return nil, nil
	case x.Checksum == "":
		return nil, fmt.Errorf("%v: checksum is missing: %s", x, x.howToSum())
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(x.Checksum, checksumPrefix))
	if err != nil || len(sum) != sha256.Size || !strings.HasPrefix(x.Checksum, checksumPrefix) {
		return nil, fmt.Errorf("%v: the checksum %.100q is not sha256: and 64 hexadecimal digits: %s", x, x.Checksum, x.howToSum())
	}
	return sum, nil
}

// openVerified opens the file to be executed and checks it; want is its sum, or nil
// when any will do. It returns the file and its sum.
func (x External) openVerified(want []byte) (*os.File, []byte, error) {
	path, _, err := ownership.ResolveTrusted(x.Path, trustedUsers())
	if err != nil {
		return nil, nil, fmt.Errorf("%v: %w", x, x.explainExposed(err))
	}
	file, err := openFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%v: %w", x, err)
	}
	sum, err := x.verifyFile(file, want)
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("%v: %w", x, err)
	}
	return file, sum, nil
}

// trustedUsers are those who may own a plugin and the directories on the way to it.
func trustedUsers() []int { return []int{0, os.Geteuid()} }

// explainExposed says what to do if err is that of a path that another user could change.
func (x External) explainExposed(err error) error {
	if errors.As(err, new(*ownership.ExposedError)) {
		return fmt.Errorf("%w, who could replace the plugin: %s", err, x.howToInstall())
	}
	return err
}

// verifyFile looks at the open file, which nothing can replace any more.
func (x External) verifyFile(file *os.File, want []byte) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("%s is not executable: %s", file.Name(), pathname.Command("chmod", "+x", file.Name()))
	}
	if err := ownership.CheckTrusted(file.Name(), info, trustedUsers()); err != nil {
		return nil, x.explainExposed(err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s can be written by its group or by everybody, who could replace the plugin: %s",
			file.Name(), pathname.Command("chmod", "go-w", file.Name()))
	}
	sum, err := hashFile(file)
	if err != nil {
		return nil, err
	}
	if want != nil && !bytes.Equal(sum, want) {
		return nil, fmt.Errorf("%s has the checksum %s%x, not %s as the configuration demands: if you have replaced the file yourself, %s",
			file.Name(), checksumPrefix, sum, x.Checksum, x.howToSum())
	}
	return sum, nil
}

// openFile opens a regular file, and nothing else: the path may lead to a pipe,
// upon which reading would wait.
func openFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func hashFile(file *os.File) ([]byte, error) {
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return nil, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	return h.Sum(nil), nil
}
