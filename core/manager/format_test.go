package manager

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFormatOfMark: another content of the file needs another number.
func TestFormatOfMark(t *testing.T) {
	dir := t.TempDir()
	known := storeMark{Epoch: "ab", Last: 7, Plugin: "bolt", Files: true, Copy: &storeMark{Epoch: "cd", Last: 6}}
	if err := known.writeMark(dir); err != nil {
		t.Fatal(err)
	}
	const want = `{"format":2,"epoch":"ab","last":7,"storage":"bolt","files":true,"copy":{"epoch":"cd","last":6}}`
	if got, err := os.ReadFile(filepath.Join(dir, markName)); err != nil || string(got) != want {
		t.Errorf("the file is %s, %v; want %s, or another number", got, err, want)
	}
}
