package pluginproc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ExplainExec improves err, the error of executing the file at path. If the file is a
// script whose interpreter cannot be read, the kernel's error sounds as if the script were
// missing.
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

// tryRead returns why a file cannot be read. It does not open pipes and devices, where
// that could block or have an effect.
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

// interpreterOf returns the interpreter that the first line of a script names, or "".
func interpreterOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 256)) // the kernel reads no more either
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
