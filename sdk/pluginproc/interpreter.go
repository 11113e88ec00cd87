package pluginproc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ExplainExec is err, of an attempt to execute the file at path, and says so when
// it is the interpreter of a script that cannot be read: the kernel then answers
// as if it were the script.
func ExplainExec(path string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	interpreter := interpreterOf(path)
	if interpreter == "" {
		return err
	}
	if cause := tryRead(interpreter); cause != nil {
		return fmt.Errorf("its first line names an interpreter that cannot be read: %w; "+
			"a sandbox shows /usr, /bin and /lib, and elsewhere what sandbox { read = [\"…\"] } grants", cause)
	}
	return err
}

// tryRead opens a file for a moment. It leaves pipes and devices alone, which may
// block, or do something.
func tryRead(path string) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// interpreterOf is what the first line of a script names.
func interpreterOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 256)) // of which the kernel reads as much
	if err != nil {
		return ""
	}
	line, isScript := bytes.CutPrefix(head, []byte("#!"))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	words := bytes.Fields(line)
	if !isScript || len(words) == 0 {
		return ""
	}
	return string(words[0])
}
