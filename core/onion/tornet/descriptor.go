package tornet

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// maxUpload bounds what a relay may send, in bytes; a descriptor and its extra-info
// have about 5 KiB.
const maxUpload = 64 << 10

// descriptor is what the authority keeps of one relay, in the words of
// dir-spec, "Server descriptor format".
type descriptor struct {
	nickname    string
	fingerprint string // of the RSA identity, upper-case hex
	identity    []byte // the same, 20 bytes
	orPort      uint16
	published   string
	version     string
	protocols   string

	text, extraInfo         []byte // as uploaded
	digest, extraInfoDigest [sha1.Size]byte
	microdescriptor         []byte
	microdescriptorDigest   [sha256.Size]byte
}

var (
	nicknameForm = regexp.MustCompile(`^[A-Za-z0-9]{1,19}$`)
	keyForm      = regexp.MustCompile(`^[A-Za-z0-9+/]{43}$`)
	hexForm      = regexp.MustCompile(`^[0-9A-F]{40}$`)
	timeForm     = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$`)
	versionForm  = regexp.MustCompile(`^Tor \d+\.\d+\.\d+\.\d+[-a-z0-9.]*`)
	protoForm    = regexp.MustCompile(`^[A-Za-z0-9-]+=[0-9,-]*( [A-Za-z0-9-]+=[0-9,-]*)*$`)
)

// parseUpload reads what a relay posts to /tor/: its descriptor, followed by its
// extra-info document. It checks the form of everything that goes into the
// consensus, because every relay would refuse one with a bad line.
//
// It does not check signatures: every process that can connect to 127.0.0.1 may
// join.
func parseUpload(upload []byte) (*descriptor, error) {
	start := bytes.Index(upload, []byte("router "))
	if start < 0 {
		return nil, errors.New("descriptor: no router line")
	}
	d := &descriptor{text: upload[start:]}
	if i := bytes.Index(d.text, []byte("\nextra-info ")); i >= 0 {
		d.text, d.extraInfo = d.text[:i+1], d.text[i+1:]
		signed, ok := signedPart(d.extraInfo)
		if !ok {
			return nil, errors.New("descriptor: extra-info is not signed")
		}
		d.extraInfoDigest = sha1.Sum(signed)
	}
	signed, ok := signedPart(d.text)
	if !ok {
		return nil, errors.New("descriptor: not signed")
	}
	d.digest = sha1.Sum(signed)
	items := firstItems(string(signed))
	if err := d.parseRouterLine(items["router"]); err != nil {
		return nil, err
	}
	d.published = items["published"]
	d.protocols = items["proto"]
	d.version = versionForm.FindString(items["platform"])
	d.fingerprint = strings.ReplaceAll(items["fingerprint"], " ", "")
	ntor := strings.TrimRight(items["ntor-onion-key"], "=")
	ed25519 := items["master-key-ed25519"]
	switch {
	case !hexForm.MatchString(d.fingerprint):
		return nil, errors.New("descriptor: no fingerprint")
	case !timeForm.MatchString(d.published):
		return nil, errors.New("descriptor: no time of publication")
	case d.version == "":
		return nil, errors.New("descriptor: not by a Tor")
	case !protoForm.MatchString(d.protocols):
		return nil, errors.New("descriptor: no protocols")
	case !keyForm.MatchString(ntor) || !keyForm.MatchString(ed25519):
		return nil, errors.New("descriptor: lacks a key")
	}
	d.identity, _ = hex.DecodeString(d.fingerprint) // of hexForm
	d.microdescriptor = makeMicrodescriptor(string(signed), ntor, ed25519)
	d.microdescriptorDigest = sha256.Sum256(d.microdescriptor)
	return d, nil
}

// parseRouterLine reads "nickname address ORPort SOCKSPort DirPort" into d.
func (d *descriptor) parseRouterLine(line string) error {
	f := strings.Fields(line)
	if len(f) != 5 || !nicknameForm.MatchString(f[0]) {
		return errors.New("descriptor: bad router line")
	}
	if address, err := netip.ParseAddr(f[1]); err != nil || address != netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return errors.New("descriptor: the relay is not on 127.0.0.1")
	}
	port, err := strconv.ParseUint(f[2], 10, 16)
	if err != nil || port == 0 {
		return errors.New("descriptor: bad ORPort")
	}
	d.nickname, d.orPort = f[0], uint16(port)
	return nil
}

// signedPart returns the part of a document that its digest covers: everything up
// to and including the line router-signature.
func signedPart(doc []byte) ([]byte, bool) {
	const last = "\nrouter-signature\n"
	i := bytes.Index(doc, []byte(last))
	if i < 0 {
		return nil, false
	}
	return doc[:i+len(last)], true
}

// firstItems maps each keyword of a document to its first arguments.
func firstItems(doc string) map[string]string {
	items := map[string]string{}
	for line := range strings.Lines(doc) {
		keyword, arguments, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, ok := items[keyword]; !ok {
			items[keyword] = arguments
		}
	}
	return items
}

// makeMicrodescriptor makes the part of a descriptor that clients fetch (dir-spec,
// "Computing microdescriptors", consensus method 33 and later). A relay may have no
// TAP key.
func makeMicrodescriptor(doc, ntor, ed25519 string) []byte {
	var b bytes.Buffer
	b.WriteString("onion-key\n")
	const end = "-----END RSA PUBLIC KEY-----\n"
	if _, after, ok := strings.Cut(doc, "\nonion-key\n"); ok {
		if key, _, ok := strings.Cut(after, end); ok {
			b.WriteString(key + end)
		}
	}
	fmt.Fprintf(&b, "ntor-onion-key %s\nid ed25519 %s\n", ntor, ed25519)
	return b.Bytes()
}
