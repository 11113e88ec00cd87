package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress shows what the program is waiting for: on a terminal as one line that
// changes, elsewhere as one line for each stage.
type progress struct {
	w        io.Writer
	terminal bool
	quiet    bool

	mu    sync.Mutex
	stage string
	shown bool      // a line stands on the terminal
	last  time.Time // of a detail
}

// detailEvery limits how often the line on a terminal changes.
const detailEvery = 100 * time.Millisecond

func newProgress(w io.Writer, terminal, quiet bool) *progress {
	return &progress{w: w, terminal: terminal, quiet: quiet}
}

// Stage begins a stage.
func (p *progress) Stage(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage, p.last = printable(fmt.Sprintf(format, args...)), time.Time{}
	p.show(p.stage)
}

// Detail tells how far the stage is. It is for terminals.
func (p *progress) Detail(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.terminal && now.Sub(p.last) >= detailEvery {
		p.last = now
		p.show(p.stage + ": " + printable(fmt.Sprintf(format, args...)))
	}
}

// Note is a line that stays.
func (p *progress) Note(format string, args ...any) {
	p.Done()
	if !p.quiet {
		fmt.Fprintln(p.w, printable(fmt.Sprintf(format, args...)))
	}
}

// Warn is a line that stays, also where no progress is wanted.
func (p *progress) Warn(text string) {
	p.Done()
	fmt.Fprintln(p.w, printable(text))
}

// Done takes the line off the terminal, so that something else can be printed.
func (p *progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		io.WriteString(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) show(line string) {
	switch {
	case p.quiet:
	case p.terminal:
		p.shown = true
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	default:
		fmt.Fprintln(p.w, line)
	}
}
