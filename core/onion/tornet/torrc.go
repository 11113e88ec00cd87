package tornet

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Settings of tor that make a small network on one machine fast. The figures are
// for 64-byte round trips and for 8 KiB packets echoed over one circuit, measured
// with tor 0.4.9.11.
const (
	// fastScheduler replaces KIST, which sends every 2 ms at every hop: a round trip
	// takes 0.9 ms instead of 16.
	fastScheduler = "Schedulers Vanilla"

	// consensusParams keeps tor's congestion control from sinking to its floor when
	// the machine is busy: 5 MB/s instead of 0.9. They must be ordered by name, or
	// relays refuse the consensus (dir-spec, "params").
	consensusParams = "cc_cwnd_init=1000 cc_cwnd_max=5000 cc_cwnd_min=1000"
)

func (n *Network) emptyFile() string  { return filepath.Join(n.dir, "empty") }
func (n *Network) resolvFile() string { return filepath.Join(n.dir, "resolv.conf") }

// commonTorrc returns the lines that relays and clients share.
func (n *Network) commonTorrc() []string {
	empty := strconv.Quote(n.emptyFile())
	return []string{
		"TestingTorNetwork 1",
		"AssumeReachable 1",
		n.authority.torrcLine(),
		"OutboundBindAddress 127.0.0.1", // so that nothing can be routed out of this machine
		"AddressDisableIPv6 1",
		"PathsNeededToBuildCircuits 0.25",
		"GeoIPFile " + empty, // else every tor parses 25 MB
		"GeoIPv6File " + empty,
		fastScheduler,
	}
}

// relayTorrc returns the configuration of one relay, in a directory of its own.
func (n *Network) relayTorrc(dir, name string) []string {
	return append(n.commonTorrc(),
		"DataDirectory "+strconv.Quote(filepath.Join(dir, "data")),
		"Nickname "+name,
		"ContactInfo tornet@test.invalid",
		"Address 127.0.0.1",
		"ORPort 127.0.0.1:auto",
		"SocksPort 0",
		"ExitRelay 0",
		"ExitPolicy reject *:*",
		// Relays read the system's resolver even when they never resolve.
		"ServerDNSResolvConfFile "+strconv.Quote(n.resolvFile()),
		"ServerDNSAllowBrokenConfig 1",
		"ServerDNSDetectHijacking 0",
		"ServerDNSTestAddresses 127.0.0.1",
		"ShutdownWaitLength 0",
		fmt.Sprintf("__OwningControllerProcess %d", os.Getpid()),
		"Log notice stdout",
	)
}

// ClientTorrc returns the lines with which a client or an onion service joins the
// network. Its DataDirectory and ports must be added.
func (n *Network) ClientTorrc() []string {
	return append(append(n.commonTorrc(), "ClientOnly 1"), n.fallbacks...)
}
