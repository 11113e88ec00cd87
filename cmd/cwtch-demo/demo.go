package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

// demo is where the demonstration happens: a temporary directory, the private
// network and the processes.
type demo struct {
	bin    string
	dir    string
	begun  time.Time
	tor    *tornet.Network
	hosts  []*host
	failed error // the first command that went wrong; the rest is skipped
}

// host is somebody who hosts a relay.
type host struct {
	*demo
	name  string
	home  string    // directory of the relay
	relay *exec.Cmd // nil while none runs
}

func newDemo(bin string) (*demo, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	for _, program := range []string{"cwtch-relay", "cwtch-group"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return nil, fmt.Errorf("find the programs: %w; build them with: make build", err)
		}
	}
	dir, err := os.MkdirTemp("", "cwtch-demo-")
	if err != nil {
		return nil, err
	}
	return &demo{bin: bin, dir: dir, begun: time.Now()}, nil
}

// endAll ends whatever is still running and removes the directory.
func (s *demo) endAll() error {
	var errs []error
	for _, h := range s.hosts {
		if h.relay != nil {
			errs = append(errs, h.stopRelay())
		}
	}
	if s.tor != nil {
		errs = append(errs, s.tor.Close())
	}
	errs = append(errs, os.RemoveAll(s.dir))
	return errors.Join(errs...)
}

// announce tells what happens next, with the time since the beginning.
func (s *demo) announce(format string, a ...any) {
	if s.failed != nil {
		return
	}
	text := strings.ReplaceAll(fmt.Sprintf(format, a...), "\n", "\n        ")
	fmt.Printf("\n%5.1f s  %s\n", time.Since(s.begun).Seconds(), text)
}

func (s *demo) startTorNetwork(ctx context.Context) (err error) {
	s.tor, err = tornet.Start(ctx, filepath.Join(s.dir, "tornet"))
	if err != nil {
		return fmt.Errorf("start the private Tor network: %w", err)
	}
	torrc := strings.Join(s.tor.ClientTorrc(), "\n") + "\n"
	return os.WriteFile(filepath.Join(s.dir, "torrc"), []byte(torrc), 0o600)
}

// makePrivateConfig returns a configuration with its network kept on this machine.
func (s *demo) makePrivateConfig(text string) (string, error) {
	const public = `network "tor" {}`
	before, after, ok := strings.Cut(text, public)
	if !ok {
		return "", fmt.Errorf("the configuration has no line %s to keep on this machine", public)
	}
	var b strings.Builder
	b.WriteString(before)
	b.WriteString("network \"tor\" {\n  torrc = [\n")
	for _, line := range s.tor.ClientTorrc() {
		fmt.Fprintf(&b, "    %s,\n", strconv.Quote(line))
	}
	b.WriteString("  ]\n}")
	b.WriteString(after)
	return b.String(), nil
}

// addHost makes the directory of a relay.
func (s *demo) addHost(name string) (*host, error) {
	h := &host{demo: s, name: name, home: filepath.Join(s.dir, name+"-relay")}
	s.hosts = append(s.hosts, h)
	return h, s.tor.Seed(h.dataDir())
}

func (h *host) dataDir() string    { return filepath.Join(h.home, "data") }
func (h *host) configFile() string { return filepath.Join(h.home, "server.hcl") }

// writeConfig writes the configuration of the relay, kept on this machine.
func (h *host) writeConfig(text string) error {
	text, err := h.makePrivateConfig(text)
	if err != nil {
		return err
	}
	return os.WriteFile(h.configFile(), []byte(text), 0o600)
}

// startRelay starts the relay and returns the bundle that it prints once both
// its services are published.
func (h *host) startRelay(ctx context.Context) (bundle string, err error) {
	log, err := os.Create(filepath.Join(h.home, "relay.log"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	fmt.Printf("\n  %s$ cwtch-relay -config server.hcl\n", h.name)
	relay := exec.Command(filepath.Join(h.bin, "cwtch-relay"), "-config", h.configFile())
	relay.Stderr = log
	relay.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := relay.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := relay.Start(); err != nil {
		return "", err
	}
	h.relay = relay
	stop := context.AfterFunc(ctx, func() { relay.Process.Signal(syscall.SIGTERM) }) //nolint:errcheck // it may have ended
	defer stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Printf("  %s\n", shortenLine(lines.Text()))
		if word := strings.Fields(lines.Text()); len(word) == 2 && word[0] == "bundle" {
			go io.Copy(io.Discard, out) //nolint:errcheck // ends with the relay
			return word[1], nil
		}
	}
	said, _ := os.ReadFile(log.Name())
	return "", fmt.Errorf("the relay ended before it was published:\n%s", said)
}

// stopRelay ends the relay as a host would, and insists on a good end.
func (h *host) stopRelay() error {
	cmd := h.relay
	h.relay = nil
	fmt.Printf("\n  %s$ kill -TERM %d\n", h.name, cmd.Process.Pid)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the relay of %s: %w", h.name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the relay of %s ended badly: %w", h.name, err)
		}
		return nil
	case <-time.After(40 * time.Second):
		cmd.Process.Kill() //nolint:errcheck // it may have ended just now
		return fmt.Errorf("the relay of %s did not end when it was told to", h.name)
	}
}

// runRelay runs a command of cwtch-relay as the host.
func (h *host) runRelay(ctx context.Context, command string) {
	h.runShown(ctx, h.name, nil, "cwtch-relay", command, "-config", h.configFile())
}

// person is somebody with a profile of their own.
type person struct {
	*demo
	name string
}

func (s *demo) addPerson(name string) person { return person{s, name} }

// runGroup runs cwtch-group as this person and returns what it prints.
func (p person) runGroup(ctx context.Context, args ...string) string {
	home := filepath.Join(p.dir, p.name)
	profile := filepath.Join(home, "cwtch-group") // the default one, which is made at its first use
	if _, err := os.Stat(profile); err != nil && p.failed == nil {
		if err := os.MkdirAll(profile, 0o700); err != nil {
			p.failed = err
		} else if err := p.tor.Seed(filepath.Join(profile, "tor")); err != nil {
			p.failed = err
		}
	}
	return p.runShown(ctx, p.name, []string{
		"XDG_CONFIG_HOME=" + home,
		"CWTCH_GROUP_PROFILE=",
		"CWTCH_GROUP_TORRC=" + filepath.Join(p.dir, "torrc"),
	}, "cwtch-group", args...)
}

// expectLines is run for a command that has to print a number of lines.
func (p person) expectLines(ctx context.Context, lines int, args ...string) {
	out := p.runGroup(ctx, args...)
	if got := strings.Count(strings.TrimSpace(out), "\n") + 1; p.failed == nil && got != lines {
		p.failed = fmt.Errorf("%s read %d messages instead of %d", p.name, got, lines)
	}
}

// runShown shows a command, runs it, shows what it prints and returns that.
func (s *demo) runShown(ctx context.Context, who string, env []string, program string, args ...string) string {
	if s.failed != nil {
		return ""
	}
	shown := []string{program}
	for _, a := range args {
		if a = strings.TrimPrefix(a, s.dir+"/"); filepath.Base(a) == "server.hcl" {
			a = "server.hcl"
		}
		if strings.Contains(a, " ") {
			a = strconv.Quote(a)
		}
		shown = append(shown, shortenLine(a))
	}
	fmt.Printf("\n  %s$ %s\n", who, strings.Join(shown, " "))
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var out bytes.Buffer
	cmd.Stdout = &out
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	for line := range strings.Lines(out.String()) {
		fmt.Printf("  %s\n", shortenLine(strings.TrimRight(line, "\n")))
	}
	if err != nil {
		s.failed = fmt.Errorf("%s: %s: %w\n%s", who, program, err, said.String())
	}
	return strings.TrimSpace(out.String())
}

// shortenLine cuts the long texts that only programs read.
func shortenLine(line string) string {
	for _, prefix := range []string{"server:", "tofubundle:server:", "serverless1:", "torv3"} {
		if i := strings.Index(line, prefix+"ey"); i >= 0 && len(line) > i+60 {
			return line[:i+len(prefix)+16] + "…"
		}
	}
	return line
}
