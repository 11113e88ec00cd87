package onion

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
)

// TestTorLinesAreLimited shows that what tor prints does not fill a disk, whatever it
// is.
func TestTorLinesAreLimited(t *testing.T) {
	var out bytes.Buffer
	source, err := newSource(TorConfig{DataDir: t.TempDir() + "/tor", Logger: slog.New(slog.NewTextHandler(&out, nil))}, defaultTiming)
	if err != nil {
		t.Fatal(err)
	}
	defer source.closeSource()
	l := &torLog{log: source.(*childSource).log}
	const printed = 100_000
	for i := range printed {
		fmt.Fprintf(l, "Nov 22 15:54:01.000 [warn] Problem number %d\n", i)
	}
	if n := bytes.Count(out.Bytes(), []byte{'\n'}); n == 0 || n > 500 {
		t.Errorf("%d of %d lines are in the log", n, printed)
	}
}
