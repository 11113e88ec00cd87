package torproc

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
)

// testingOnlyEnv is the environment variable that, set to 1, keeps every tor
// off the public network.
const testingOnlyEnv = "CWTCH_RELAY_TOR_TESTING_ONLY"

// TestingOnly reports whether only private networks on this machine may be
// used: under go test, or when the environment says so.
func TestingOnly() bool {
	return testing.Testing() || os.Getenv(testingOnlyEnv) == "1"
}

// checkCommand checks the whole configuration that a tor with these arguments reads.
func checkCommand(args []string) error {
	torrc, err := configFile(args, "-f")
	if err != nil {
		return err
	}
	if len(torrc) == 0 {
		return errors.New("the torrc file is empty, tor would join the public network with its defaults")
	}
	defaults, err := configFile(args, "--defaults-torrc")
	if err != nil {
		return err
	}
	if !TestingOnly() {
		return nil
	}
	return CheckLoopback(append(append(defaults, torrc...), optionLines(args)...))
}

// configFile returns the options in the file that follows flag.
func configFile(args []string, flag string) ([]string, error) {
	for i, arg := range args {
		if arg != flag || i+1 == len(args) {
			continue
		}
		text, err := os.ReadFile(args[i+1])
		if err != nil {
			return nil, fmt.Errorf("configuration of tor: %w", err)
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line != "" && line[0] != '#' {
				lines = append(lines, line)
			}
		}
		return lines, nil
	}
	return nil, fmt.Errorf("no %s on the command line, tor would read the system's", flag)
}

// optionLines turns options of a command line into lines of a torrc, as tor
// does: --Key value.
func optionLines(args []string) []string {
	var lines []string
	for i, arg := range args {
		key, ok := strings.CutPrefix(arg, "--")
		switch {
		case !ok || key == "defaults-torrc" || key == "hush":
		case key == "DataDirectory" || key == "CookieAuthFile": // a path, which may be of any form
		case i+1 < len(args) && !strings.HasPrefix(args[i+1], "-"):
			lines = append(lines, key+" "+args[i+1])
		default:
			lines = append(lines, key)
		}
	}
	return lines
}

// optionName is the form of an option's name. Tor would also understand a leading +
// or /, which adds to or clears earlier lines, and %, which includes files.
var optionName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// CheckLoopback returns an error if a tor with these lines of configuration could
// leave this machine: TestingTorNetwork must be 1, there must be a DirAuthority, each
// DirAuthority and FallbackDir must be on 127.0.0.1, and no option may lead around
// that.
//
// It errs on the side of refusing: like tor it accepts a beginning of an option's
// name, in any case of letters, for the option.
func CheckLoopback(torrc []string) error {
	testing, authority := false, false
	for _, line := range torrc {
		key, value, _ := strings.Cut(line, " ")
		value = strings.TrimSpace(value)
		switch {
		case !optionName.MatchString(key), strings.HasSuffix(line, `\`):
			return refuseTorrc("a line that is not plainly \"Option value\"", line)
		case Abbreviates(key, "TestingTorNetwork"):
			if value != "1" {
				return refuseTorrc("TestingTorNetwork that is not 1", line)
			}
			testing = true
		case Abbreviates(key, "DirAuthority", "DirServer"):
			if err := checkDirectory(value); err != nil {
				return refuseTorrc(err.Error(), line)
			}
			authority = true
		case Abbreviates(key, "FallbackDir"):
			if err := checkDirectory(value); err != nil {
				return refuseTorrc(err.Error(), line)
			}
		case Abbreviates(key, "AlternateDirAuthority", "AlternateBridgeAuthority", "Bridge", "UseBridges"):
			return refuseTorrc("another way into a network", line)
		}
	}
	if !testing || !authority {
		return refuseTorrc("no TestingTorNetwork 1 with a DirAuthority on 127.0.0.1", "")
	}
	return nil
}

func refuseTorrc(what, line string) error {
	if line != "" {
		what += fmt.Sprintf(" (%q)", line)
	}
	return fmt.Errorf("refused, as only private networks may be used under go test or with %s=1: the torrc has %s", testingOnlyEnv, what)
}

// checkDirectory checks that a DirAuthority or FallbackDir is on 127.0.0.1. The value
// has flags, an address and fingerprints. The address is the first field
// that begins with a digit.
func checkDirectory(value string) error {
	for field := range strings.FieldsSeq(value) {
		if strings.HasPrefix(strings.ToLower(field), "ipv6=") {
			break
		}
		if field[0] < '0' || field[0] > '9' {
			continue
		}
		addr, err := netip.ParseAddrPort(field)
		if err != nil || addr.Addr() != netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
			break
		}
		if strings.Contains(strings.ToLower(value), "ipv6=") {
			break
		}
		return nil
	}
	return errors.New("a directory that is not on 127.0.0.1")
}

// Abbreviates reports whether tor may take key for one of the options: it
// ignores case and accepts the beginning of a name.
func Abbreviates(key string, options ...string) bool {
	for _, o := range options {
		if key != "" && len(key) <= len(o) && strings.EqualFold(key, o[:len(key)]) {
			return true
		}
	}
	return false
}
