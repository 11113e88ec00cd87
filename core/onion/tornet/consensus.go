package tornet

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// flavour is one of the two forms of a consensus (dir-spec, "Consensus flavors").
// Relays fetch both, clients only the one with microdescriptors.
type flavour int

const (
	unflavoured flavour = iota
	microdesc
)

// consensusInterval is how long a consensus is fresh. It must be that of the public
// network: under TestingTorNetwork the time period of onion services and the
// shared random run are 24 intervals, and with much longer ones tor's
// descriptor revision counter overflows ("BUG:
// set_descriptor_revision_counter") and later descriptors are refused.
const consensusInterval = time.Hour

// Protocols that tor 0.4.8 and 0.4.9 have. Clients would stop if a higher version were
// required.
const (
	relayProtocols  = "Cons=2 Desc=2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=2 Link=4-5 LinkAuth=3 Microdesc=2 Relay=2-4"
	clientProtocols = "Cons=2 Desc=2 FlowCtrl=1 Link=4 Microdesc=2 Relay=2"
)

// consensusFlags are the flags of every relay.
const consensusFlags = "Fast Guard HSDir Running Stable V2Dir Valid"

// bandwidthWeights balance a network of equal guards without exits.
const bandwidthWeights = "Wbd=3333 Wbe=0 Wbg=0 Wbm=10000 Wdb=10000 Web=10000 Wed=3333 Wee=10000 Weg=3333 Wem=10000 " +
	"Wgb=10000 Wgd=3333 Wgg=10000 Wgm=10000 Wmb=10000 Wmd=3333 Wme=0 Wmg=0 Wmm=10000"

var unpadded = base64.RawStdEncoding

// writeConsensus makes and signs a consensus of relays, which are ordered by
// identity. dirPort is that of the authority.
func writeConsensus(f flavour, validAfter time.Time, dirPort int, relays []*descriptor, keys *authorityKeys) ([]byte, error) {
	var b bytes.Buffer
	writePreamble(&b, f, validAfter, dirPort, keys)
	for _, r := range relays {
		writeRelay(&b, f, r)
	}
	fmt.Fprintf(&b, "directory-footer\nbandwidth-weights %s\ndirectory-signature ", bandwidthWeights)

	// The signature covers the space after the keyword, but not the rest of its line.
	var digest []byte
	algorithm := ""
	if f == microdesc {
		sum := sha256.Sum256(b.Bytes())
		digest, algorithm = sum[:], "sha256 "
	} else {
		sum := sha1.Sum(b.Bytes())
		digest = sum[:]
	}
	signature, err := signDigest(keys.signing, digest, "SIGNATURE")
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "%s%s %s\n%s", algorithm, keys.identityFingerprint(), keys.signingFingerprint(), signature)
	return b.Bytes(), nil
}

func writePreamble(b *bytes.Buffer, f flavour, validAfter time.Time, dirPort int, keys *authorityKeys) {
	b.WriteString("network-status-version 3")
	if f == microdesc {
		b.WriteString(" microdesc")
	}
	b.WriteString("\nvote-status consensus\nconsensus-method 35\n")
	validAfter = validAfter.UTC()
	fmt.Fprintf(b, "valid-after %s\n", validAfter.Format(timeLayout))
	fmt.Fprintf(b, "fresh-until %s\n", validAfter.Add(consensusInterval).Format(timeLayout))
	fmt.Fprintf(b, "valid-until %s\n", validAfter.Add(24*consensusInterval).Format(timeLayout))
	b.WriteString("voting-delay 2 2\nclient-versions \nserver-versions \n")
	b.WriteString("known-flags Authority Exit " + consensusFlags + "\n")
	fmt.Fprintf(b, "recommended-client-protocols %s\nrecommended-relay-protocols %s\n", clientProtocols, relayProtocols)
	fmt.Fprintf(b, "required-client-protocols %s\nrequired-relay-protocols %s\n", clientProtocols, relayProtocols)
	fmt.Fprintf(b, "params %s\n", consensusParams)
	fmt.Fprintf(b, "dir-source tornet %s 127.0.0.1 127.0.0.1 %d %d\n", keys.identityFingerprint(), dirPort, dirPort)
	fmt.Fprintf(b, "contact tornet@test.invalid\nvote-digest %s\n", strings.Repeat("A", 40))
}

func writeRelay(b *bytes.Buffer, f flavour, r *descriptor) {
	identity := unpadded.EncodeToString(r.identity)
	if f == microdesc {
		fmt.Fprintf(b, "r %s %s 2038-01-01 00:00:00 127.0.0.1 %d 0\n", r.nickname, identity, r.orPort)
		fmt.Fprintf(b, "m %s\n", unpadded.EncodeToString(r.microdescriptorDigest[:]))
	} else {
		fmt.Fprintf(b, "r %s %s %s %s 127.0.0.1 %d 0\n", r.nickname, identity, unpadded.EncodeToString(r.digest[:]), r.published, r.orPort)
	}
	fmt.Fprintf(b, "s %s\nv %s\npr %s\nw Bandwidth=10000\n", consensusFlags, r.version, r.protocols)
	if f == unflavoured {
		b.WriteString("p reject 1-65535\n")
	}
}
