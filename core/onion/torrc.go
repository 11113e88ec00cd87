package onion

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/onion/internal/torproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// reservedOptions are options that StartTor sets itself, or that must not be set. The
// last two would publish services without hiding where they are.
var reservedOptions = []string{
	"DataDirectory", "DataDirectoryGroupReadable",
	"ControlPort", "ControlSocket", "ControlSocketsGroupWritable", "ControlPortWriteToFile",
	"CookieAuthentication", "CookieAuthFile", "CookieAuthFileGroupReadable", "HashedControlPassword",
	"SocksPort", "SocksSocketsGroupWritable", "__ControlPort", "__SocksPort",
	"__OwningControllerProcess", "__DisableSignalHandlers",
	"DisableNetwork", "RunAsDaemon", "User",
	"Log", "SafeLogging",
	"HiddenServiceNonAnonymousMode", "HiddenServiceSingleHopMode",
}

// torrcLine is the form of a line of [TorConfig.Torrc]. Tor would also understand a +
// or / before the name, which adds to or clears other lines, and %, which includes
// files.
var torrcLine = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)( [^\x00-\x1f\x7f]*)?$`)

// CheckTorrc returns an error for the first line that [StartTor] would refuse: one
// that is not plainly "Option value", or an option that would take control of tor
// away or let its log tell more. Only tor itself can tell whether it knows an option.
func CheckTorrc(lines []string) error {
	for i, line := range lines {
		if err := checkLine(line); err != nil {
			return fmt.Errorf("torrc line %d (%q): %w", i+1, line, err)
		}
	}
	return nil
}

func checkLine(line string) error {
	m := torrcLine.FindStringSubmatch(line)
	if m == nil {
		return errors.New("write it as \"Option value\", one option to a line")
	}
	if strings.HasSuffix(line, `\`) {
		return errors.New("a backslash at the end would join the next line to this one: remove it")
	}
	for word := range strings.FieldsSeq(m[2]) {
		word = strings.Trim(word, `"`)
		if strings.HasPrefix(word, "~") || strings.HasPrefix(word, "$HOME") || strings.HasPrefix(word, "${") { // $ begins a fingerprint as well
			if err := pathname.Check(word); err != nil {
				return err
			}
		}
	}
	for _, option := range reservedOptions {
		if torproc.Abbreviates(m[1], option) {
			return fmt.Errorf("%s is set by the relay, remove the line", option)
		}
	}
	return nil
}

// ownTorrc returns the configuration of a tor of ours. DataDirectory and the cookie
// file are on the command line, where a path needs no quotes.
func ownTorrc(sockets sockets, extra []string) []string {
	return append([]string{
		"ControlSocket " + sockets.controlPath(),
		// Onion services only: nothing may leave through an exit, ever. Streams
		// with different credentials never share a circuit.
		"SocksPort unix:" + sockets.socksPath() + " OnionTrafficOnly IsolateSOCKSAuth ExtendedErrors",
		fmt.Sprintf("__OwningControllerProcess %d", os.Getpid()),
		"Log notice stdout",
		"SafeLogging 1",
	}, extra...)
}
