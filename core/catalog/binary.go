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

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

const checksumPrefix = "sha256:"

// check looks at the form of a declaration and gives the sum that it demands.
func (x External) check() ([]byte, error) {
	what := fmt.Sprintf("%s plugin %q", x.Kind, x.Name)
	d := plugin.Description{Kind: x.Kind, Name: x.Name, Version: "0"}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	switch {
	case !filepath.IsAbs(x.Path):
		return nil, fmt.Errorf("%s: the path %q is not absolute", what, x.Path)
	case x.Checksum == "" && x.Dev:
		return nil, nil
	case x.Checksum == "":
		return nil, fmt.Errorf("%s: checksum is missing: write checksum = \"sha256:…\" with the output of sha256sum %s", what, x.Path)
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(x.Checksum, checksumPrefix))
	if err != nil || len(sum) != sha256.Size || !strings.HasPrefix(x.Checksum, checksumPrefix) {
		return nil, fmt.Errorf("%s: the checksum %.100q is not sha256: and 64 hexadecimal digits", what, x.Checksum)
	}
	return sum, nil
}

// open opens the file to be executed and checks it; want is its sum, or nil
// when any will do. It returns the file and its sum.
func (x External) open(want []byte) (file *os.File, sum []byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s plugin %q: %w", x.Kind, x.Name, err)
			if file != nil {
				file.Close()
			}
			file = nil
		}
	}()
	path, err := filepath.EvalSymlinks(x.Path)
	if err != nil {
		return nil, nil, err
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, nil, err
	}
	// Not blocking, since the path may lead to a pipe.
	file, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := checkFile(file, path); err != nil {
		return file, nil, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return file, nil, fmt.Errorf("read %s: %w", path, err)
	}
	sum = h.Sum(nil)
	if want != nil && !bytes.Equal(sum, want) {
		return file, nil, fmt.Errorf("%s has the checksum sha256:%x, not the one that the configuration demands; if you have replaced the file yourself, write the new one there", path, sum)
	}
	return file, sum, nil
}

func checkDir(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return checkOwner(info, path)
}

func checkFile(file *os.File, path string) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not executable: chmod +x %s", path, path)
	}
	return checkOwner(info, path)
}

// checkOwner: nobody but root and the user of the relay may be able to put
// other content there.
func checkOwner(info os.FileInfo, path string) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("the owner of files can not be read on this system")
	}
	if uid := os.Geteuid(); stat.Uid != 0 && int(stat.Uid) != uid {
		return fmt.Errorf("%s belongs to user %d, not to root or to the user of the relay (%d)", path, stat.Uid, uid)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be written by its group or by everybody: chmod go-w %s", path, path)
	}
	return nil
}
