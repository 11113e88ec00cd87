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

// Sum computes the checksum of a file in the form of [Program]: "sha256:" and 64
// hexadecimal digits.
func Sum(path string) (string, error) {
	file, err := openRegular(path)
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

// howToSum says how to get the right checksum.
func (p *Program) howToSum() string {
	return fmt.Sprintf("write the line into its block that this prints: %s", pathname.Command("cwtch-relay", "plugin", "sum", p.Path))
}

// howToInstall says where nobody can replace a program. It leaves the directories on the
// way to it as they are: they may be somebody's home.
func (p *Program) howToInstall() string {
	at := filepath.Join("/usr/local/lib/cwtch-relay", filepath.Base(p.Path))
	return fmt.Sprintf("put a copy where nobody can, and write path = %q: %s", at, pathname.Command("sudo", "install", "-D", "-m", "0755", p.Path, at))
}

// parseChecksum checks the form of a declaration and returns the sum that it demands.
func (p *Program) parseChecksum() ([]byte, error) {
	d := plugin.Description{Kind: p.Kind, Name: p.Name, Version: "0"}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	switch {
	case !filepath.IsAbs(p.Path):
		return nil, fmt.Errorf("%v: the path %q is not absolute", p, p.Path)
	case p.Checksum == "" && p.Dev:
		return nil, nil
	case p.Checksum == "":
		return nil, fmt.Errorf("%v: checksum is missing: %s", p, p.howToSum())
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(p.Checksum, checksumPrefix))
	if err != nil || len(sum) != sha256.Size || !strings.HasPrefix(p.Checksum, checksumPrefix) {
		return nil, fmt.Errorf("%v: the checksum %.100q is not sha256: and 64 hexadecimal digits: %s", p, p.Checksum, p.howToSum())
	}
	return sum, nil
}

// openFile opens the file to execute, after the checks that its origin asks for.
func (p *Program) openFile() (*os.File, error) {
	switch {
	case p.IsBuiltIn():
		return os.Open("/proc/self/exe") // the running one, also after an upgrade
	case p.named != "":
		return p.openNamed()
	}
	file, err := p.openDeclared()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", p, err)
	}
	return file, nil
}

func (p *Program) openNamed() (*os.File, error) {
	file, err := openRegular(p.Path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Mode()&0o111 == 0 {
		err = fmt.Errorf("%v is not a program that can be executed", p)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func (p *Program) openDeclared() (*os.File, error) {
	path, _, err := ownership.ResolveTrusted(p.Path, trustedUsers())
	if err != nil {
		return nil, p.explainExposed(err)
	}
	file, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	if err := p.verifyFile(file); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// trustedUsers are those who may own a plugin and the directories on the way to it.
func trustedUsers() []int { return []int{0, os.Geteuid()} }

// explainExposed adds what to do if err is an [ownership.ExposedError].
func (p *Program) explainExposed(err error) error {
	if errors.As(err, new(*ownership.ExposedError)) {
		return fmt.Errorf("%w, who could replace the plugin: %s", err, p.howToInstall())
	}
	return err
}

// verifyFile checks the open file, which nothing can replace any more.
func (p *Program) verifyFile(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not executable: %s", file.Name(), pathname.Command("chmod", "+x", file.Name()))
	}
	if err := ownership.CheckTrusted(file.Name(), info, trustedUsers()); err != nil {
		return p.explainExposed(err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be written by its group or by everybody, who could replace the plugin: %s",
			file.Name(), pathname.Command("chmod", "go-w", file.Name()))
	}
	if p.sum == nil {
		return nil
	}
	sum, err := hashFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(sum, p.sum) {
		return fmt.Errorf("%s has the checksum %s%x, not %s as the configuration demands: if you have replaced the file yourself, %s",
			file.Name(), checksumPrefix, sum, p.Checksum, p.howToSum())
	}
	return nil
}

// openRegular opens a regular file, and nothing else: the path may lead to a pipe, on
// which reading would wait.
func openRegular(path string) (*os.File, error) {
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
