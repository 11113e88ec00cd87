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

// Handshake is what a plugin says of itself in its first line.
type Handshake struct {
	Socket      string
	Certificate *x509.Certificate
	// Bound tells that the socket was there when the line came.
	Bound bool
}

// maxPrinted bounds what is kept of standard output behind the handshake, in bytes.
const maxPrinted = 256

// stdout reads the standard output of a plugin for go-plugin: the handshake line,
// once it is complete and good, and nothing of what follows. go-plugin would wait in
// vain for the end of a line that has none, and names few faults of one.
type stdout struct {
	from    *os.File
	pace    func(bytes int) // waits after so much; nil: it does not
	toLocal func(network, address string) (string, string, error)

	line []byte // as far as it has been read
	left []byte // of the line, for go-plugin

	mu      sync.Mutex
	shaken  *Handshake
	fault   error
	partial string // of a line that has no end yet
	printed []byte
	more    int64 // bytes printed behind the line
}

func (s *stdout) Close() error { return s.from.Close() }

// Read gives the line, and io.EOF in place of one that is none.
func (s *stdout) Read(b []byte) (int, error) {
	if s.handshake() == nil {
		if err := s.readLine(); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.fault = err
			return 0, io.EOF
		}
	}
	if len(s.left) > 0 {
		n := copy(b, s.left)
		s.left = s.left[n:]
		return n, nil
	}
	for {
		part, err := s.read()
		if err != nil {
			return 0, io.EOF
		}
		s.keep(part)
	}
}

func (s *stdout) read() ([]byte, error) {
	part := make([]byte, 4<<10)
	n, err := s.from.Read(part)
	if n > 0 && s.pace != nil {
		s.pace(n)
	}
	if n > 0 {
		return part[:n], nil
	}
	return nil, err
}

// readLine reads the line and what it says.
func (s *stdout) readLine() error {
	for {
		part, err := s.read()
		before := len(s.line)
		s.line = append(s.line, part...)
		if end := bytes.IndexByte(part, '\n'); end >= 0 {
			line := s.line[:before+end]
			shaken, err := s.parse(string(line))
			if err != nil {
				return err
			}
			s.left = append(slices.Clone(line), '\n')
			s.mu.Lock()
			s.shaken, s.partial = shaken, ""
			s.mu.Unlock()
			s.keep(s.line[len(line)+1:])
			return nil
		}
		s.mu.Lock()
		s.partial = shown(s.line)
		s.mu.Unlock()
		switch {
		case len(s.line) > host.MaxHandshakeLine:
			return fmt.Errorf("wrote %d bytes and no line feed in place of its handshake line: %s", len(s.line), shown(s.line))
		case err != nil && len(s.line) > 0:
			return fmt.Errorf("%w was complete, which has no line feed: %s", errNoLine, shown(s.line))
		case err != nil:
			return errNoLine
		}
	}
}

// errNoLine tells that a process ended, or closed its standard output, without a word.
var errNoLine = errors.New("ended before its handshake line")

// shown is the beginning of a line, fit to be shown.
func shown(line []byte) string { return strconv.Quote(rpc.Clean(string(line), 200)) }

// startsLine is how a handshake line begins.
var startsLine = regexp.MustCompile(`[0-9]+\|[0-9]+\|(unix|tcp)\|`)

// parse reads 1|1|unix|PATH|grpc|CERTIFICATE.
func (s *stdout) parse(line string) (*Handshake, error) {
	line = strings.TrimRight(line, "\r")
	fields := strings.Split(line, "|")
	begin := startsLine.FindStringIndex(line)
	switch {
	case begin != nil && begin[0] > 0:
		return nil, fmt.Errorf("printed %s in front of its handshake line: nothing else may be written on standard output", shown([]byte(line[:begin[0]])))
	case len(fields) < 4 || !isNumber(fields[0]) || !isNumber(fields[1]):
		return nil, fmt.Errorf("printed %s in place of its handshake line: nothing else may be written on standard output", shown([]byte(line)))
	case fields[0] != "1":
		return nil, fmt.Errorf("begins its handshake line with %.20s, a version of go-plugin's handshake; it has to be 1", fields[0])
	}
	offered := slices.Sorted(maps.Keys(framings))
	if version, err := strconv.Atoi(fields[1]); err != nil || !slices.Contains(offered, version) {
		return nil, fmt.Errorf("chose version %.20s of the framing, the second number of its handshake line; this relay speaks %s", fields[1], strings.Trim(fmt.Sprint(offered), "[]"))
	}
	_, socket, err := s.toLocal(fields[2], fields[3])
	switch {
	case err != nil:
		return nil, err
	case len(fields) < 5 || fields[4] != "grpc":
		return nil, fmt.Errorf("speaks %s by its handshake line, and has to speak grpc", shown([]byte(strings.Join(fields[4:min(5, len(fields))], ""))))
	case len(fields) < 6 || fields[5] == "":
		return nil, errors.New("has no certificate in its handshake line, and would be called without TLS")
	}
	certificate, err := parseCertificate(fields[5])
	if err != nil {
		return nil, err
	}
	_, err = os.Lstat(socket)
	return &Handshake{Socket: socket, Certificate: certificate, Bound: err == nil}, nil
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
	return s.shaken
}

// keep remembers a little of what is printed behind the line.
func (s *stdout) keep(part []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more += int64(len(part))
	s.printed = append(s.printed, part[:min(len(part), maxPrinted-len(s.printed))]...)
}

// faulty is what is wrong with the handshake line, if anything.
func (s *stdout) faulty() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// ended tells that the process ended, or closed its standard output, before the line.
func (s *stdout) ended() bool { return errors.Is(s.faulty(), errNoLine) }

// late says what there was of the handshake when its time was over.
func (s *stdout) late() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shaken != nil:
		return "; its line has come, and nobody answers at the socket"
	case s.partial != "":
		return "; it has written " + s.partial + " without a line feed"
	}
	return ""
}

// Handshake is what the plugin said in its first line.
func (p *Process) Handshake() Handshake { return *p.runner.stdout.handshake() }

// Printed is how many bytes the plugin has written on standard output behind its
// handshake, which it must not, and the first of them, fit to be shown.
func (p *Process) Printed() (bytes int64, text string) {
	s := p.runner.stdout
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.more, rpc.Clean(string(s.printed), maxPrinted)
}
