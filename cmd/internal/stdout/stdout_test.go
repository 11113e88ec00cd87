package stdout

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// limited takes some bytes and then fails.
type limited struct {
	room int
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.room)
	l.room -= n
	if n < len(p) {
		return n, l.err
	}
	return n, nil
}

// TestStatus shows what becomes of the exit status of a command.
func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name         string
		room         int
		err          error
		status, want int
		stderr       string
	}{
		{"all is written", 1 << 10, nil, 0, 0, ""},
		{"all is written, and the command failed", 1 << 10, nil, 2, 2, ""},
		{"a full disk", 5, syscall.ENOSPC, 0, 1, "error: write standard output: no space left on device\n"},
		{"a full disk, and the command failed", 5, syscall.ENOSPC, 78, 78, ""},
		{"a reader that has enough", 5, fmt.Errorf("write: %w", syscall.EPIPE), 0, 141, ""},
		{"a reader that has enough, and the command failed for it", 5, syscall.EPIPE, 1, 141, ""},
	} {
		var stderr strings.Builder
		w := New(&limited{c.room, c.err})
		fmt.Fprint(w, "four")
		if w.Unread() {
			t.Errorf("%s: it is unread at once", c.name)
		}
		_, first := fmt.Fprint(w, "more")
		_, second := fmt.Fprint(w, "!")
		if !errors.Is(first, c.err) || !errors.Is(second, c.err) {
			t.Errorf("%s: the errors are %v and %v", c.name, first, second)
		}
		if got := w.Status(c.status, &stderr); got != c.want || stderr.String() != c.stderr {
			t.Errorf("%s: exit status %d and %q, want %d and %q", c.name, got, stderr.String(), c.want, c.stderr)
		}
	}
}
