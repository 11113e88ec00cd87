package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// progress shows what the program waits for: on a terminal in one line that changes,
// elsewhere in one line for each stage.
type progress struct {
	w        io.Writer
	terminal bool
	quiet    bool
	json     bool // warnings are JSON

	mu    sync.Mutex
	stage string
	said  map[string]bool // lines since the last note, if there is no terminal
	shown bool            // a line stands on the terminal
	last  time.Time       // time of the last detail
}

// detailEvery limits how often the line on a terminal changes.
const detailEvery = 100 * time.Millisecond

// maxSaid bounds the lines between two notes, if there is no terminal.
const maxSaid = 200

func newProgress(w io.Writer, terminal, quiet bool) *progress {
	return &progress{w: w, terminal: terminal, quiet: quiet}
}

// Stage shows that a stage begins.
func (p *progress) Stage(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage, p.last = printableText(fmt.Sprintf(format, args...)), time.Time{}
	p.showLine(p.stage)
}

// Detail shows on a terminal how far the stage is.
func (p *progress) Detail(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.terminal && now.Sub(p.last) >= detailEvery {
		p.last = now
		p.showLine(p.stage + ": " + printableText(fmt.Sprintf(format, args...)))
	}
}

// Note prints a line that stays. Lines that were shown before may be shown again.
func (p *progress) Note(format string, args ...any) {
	p.Done()
	p.mu.Lock()
	p.said = nil
	p.mu.Unlock()
	if !p.quiet {
		fmt.Fprintln(p.w, printableText(fmt.Sprintf(format, args...)))
	}
}

// Warn prints a line that stays, even if no progress is wanted.
func (p *progress) Warn(text string) {
	p.Done()
	if p.json {
		b, err := json.Marshal(map[string]string{"warning": text})
		if err != nil {
			panic(err) // a string always marshals
		}
		fmt.Fprintln(p.w, escapeJSON(b))
		return
	}
	fmt.Fprintln(p.w, printableText(text))
}

// Done removes the line from the terminal, so that something else can be printed.
func (p *progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		io.WriteString(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) showLine(line string) {
	switch {
	case p.quiet:
	case p.terminal:
		p.shown = true
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	case len(p.said) < maxSaid && !p.said[line]: // says once that it waits for a server
		if p.said == nil {
			p.said = make(map[string]bool)
		}
		p.said[line] = true
		fmt.Fprintln(p.w, line)
	}
}
