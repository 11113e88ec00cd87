package pluginproc

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// Handshake is the content of the first line that a plugin writes.
type Handshake struct {
	Socket      string
	Certificate *x509.Certificate
	// SocketExists reports whether the socket existed when the line came.
	SocketExists bool
}

// maxPrinted bounds the part of later standard output that is kept, in bytes.
const maxPrinted = 256

// stdout is the standard output of a plugin as go-plugin reads it: the handshake line once
// it is complete and correct, and nothing else. On its own, go-plugin would wait forever for
// a missing line feed, and it can name few faults of a line.
type stdout struct {
	pipe         *os.File
	slowDown     func(bytes int) // waits after a read; may be nil
	checkAddress func(network, address string) (string, string, error)

	line   []byte // as far as it has been read
	unread []byte // the part of the line that go-plugin has not read yet

	mu           sync.Mutex
	parsed       *Handshake
	err          error
	partial      string // the quoted beginning of a line that has no end yet
	printed      []byte
	printedBytes int64 // after the line
}

func (s *stdout) Close() error { return s.pipe.Close() }

// Read returns the line, or io.EOF if it has a fault, and discards what follows.
func (s *stdout) Read(b []byte) (int, error) {
	if s.handshake() == nil {
		if err := s.readLine(); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = err
			return 0, io.EOF
		}
	}
	if len(s.unread) > 0 {
		n := copy(b, s.unread)
		s.unread = s.unread[n:]
		return n, nil
	}
	for {
		part, err := s.readPart()
		if err != nil {
			return 0, io.EOF
		}
		s.recordPrinted(part)
	}
}

func (s *stdout) readPart() ([]byte, error) {
	part := make([]byte, 4<<10)
	n, err := s.pipe.Read(part)
	if n > 0 && s.slowDown != nil {
		s.slowDown(n)
	}
	if n > 0 {
		return part[:n], nil
	}
	return nil, err
}

// readLine reads and parses the handshake line.
func (s *stdout) readLine() error {
	for {
		part, err := s.readPart()
		before := len(s.line)
		s.line = append(s.line, part...)
		if end := bytes.IndexByte(part, '\n'); end >= 0 {
			line := s.line[:before+end]
			shaken, err := s.parseLine(string(line))
			if err != nil {
				return err
			}
			s.unread = append(slices.Clone(line), '\n')
			s.mu.Lock()
			s.parsed, s.partial = shaken, ""
			s.mu.Unlock()
			s.recordPrinted(s.line[len(line)+1:])
			return nil
		}
		s.mu.Lock()
		s.partial = quoteStart(s.line)
		s.mu.Unlock()
		switch {
		case len(s.line) > host.MaxHandshakeLine:
			return fmt.Errorf("wrote %d bytes and no line feed in place of its handshake line: %s", len(s.line), quoteStart(s.line))
		case err != nil && len(s.line) > 0:
			return fmt.Errorf("%w was complete, which has no line feed: %s", errNoLine, quoteStart(s.line))
		case err != nil:
			return errNoLine
		}
	}
}

// errNoLine means that the process ended or closed its standard output too early.
var errNoLine = errors.New("ended before its handshake line")

// quoteStart quotes the beginning of a line, safe to show.
func quoteStart(line []byte) string { return strconv.Quote(rpc.Clean(string(line), 200)) }

// lineStart matches the beginning of a handshake line.
var lineStart = regexp.MustCompile(`[0-9]+\|[0-9]+\|(unix|tcp)\|`)

// parseLine parses 1|1|unix|PATH|grpc|CERTIFICATE and names the first fault.
func (s *stdout) parseLine(line string) (*Handshake, error) {
	line = strings.TrimRight(line, "\r")
	fields := strings.Split(line, "|")
	begin := lineStart.FindStringIndex(line)
	switch {
	case begin != nil && begin[0] > 0:
		return nil, fmt.Errorf("printed %s in front of its handshake line: nothing else may be written on standard output", quoteStart([]byte(line[:begin[0]])))
	case len(fields) < 4 || !isNumber(fields[0]) || !isNumber(fields[1]):
		return nil, fmt.Errorf("printed %s in place of its handshake line: nothing else may be written on standard output", quoteStart([]byte(line)))
	case fields[0] != "1":
		return nil, fmt.Errorf("begins its handshake line with %.20s, a version of go-plugin's handshake; it has to be 1", fields[0])
	}
	offered := slices.Sorted(maps.Keys(framingVersions))
	if version, err := strconv.Atoi(fields[1]); err != nil || !slices.Contains(offered, version) {
		return nil, fmt.Errorf("chose version %.20s of the framing, the second number of its handshake line; this relay speaks %s", fields[1], strings.Trim(fmt.Sprint(offered), "[]"))
	}
	_, socket, err := s.checkAddress(fields[2], fields[3])
	switch {
	case err != nil:
		return nil, err
	case len(fields) < 5 || fields[4] != "grpc":
		return nil, fmt.Errorf("speaks %s by its handshake line, and has to speak grpc", quoteStart([]byte(strings.Join(fields[4:min(5, len(fields))], ""))))
	case len(fields) < 6 || fields[5] == "":
		return nil, errors.New("has no certificate in its handshake line, and would be called without TLS")
	}
	certificate, err := parseCertificate(fields[5])
	if err != nil {
		return nil, err
	}
	_, err = os.Lstat(socket)
	return &Handshake{Socket: socket, Certificate: certificate, SocketExists: err == nil}, nil
}

func parseCertificate(text string) (*x509.Certificate, error) {
	if strings.HasSuffix(text, "=") {
		return nil, errors.New(`pads the certificate in its handshake line: leave out the "=" at the end of the base64`)
	}
	der, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("has no base64 in place of the certificate in its handshake line: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("has no certificate in DER in its handshake line: %w", err)
	}
	return certificate, nil
}

func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

func (s *stdout) handshake() *Handshake {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parsed
}

// recordPrinted counts what is printed after the line and keeps its beginning.
func (s *stdout) recordPrinted(part []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.printedBytes += int64(len(part))
	s.printed = append(s.printed, part[:min(len(part), maxPrinted-len(s.printed))]...)
}

// lineError returns the fault of the handshake line, if it has one.
func (s *stdout) lineError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// endedBeforeLine reports whether the process ended or closed its standard output before the
// line was complete.
func (s *stdout) endedBeforeLine() bool { return errors.Is(s.lineError(), errNoLine) }

// explainTimeout says how far the handshake got in its time.
func (s *stdout) explainTimeout() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.parsed != nil:
		return "; its line has come, and nobody answers at the socket"
	case s.partial != "":
		return "; it has written " + s.partial + " without a line feed"
	}
	return ""
}

// Handshake is the content of the plugin's first line.
func (p *Process) Handshake() Handshake { return *p.runner.stdout.handshake() }

// Printed returns how many bytes the plugin wrote on standard output after its handshake
// line, which it must not do, and the beginning of them, safe to show.
func (p *Process) Printed() (bytes int64, text string) {
	s := p.runner.stdout
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.printedBytes, rpc.Clean(string(s.printed), maxPrinted)
}
