package check_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// preface is how a client begins HTTP/2 (RFC 9113, section 3.4), with empty
// settings. A server that accepts it answers with its own settings.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// checkStrangers connects to the plugin of the relay without TLS, without a
// certificate, and with a certificate that imitates the relay's. The plugin must
// answer none of them.
func checkStrangers(ts *testscript.TestScript, _ []string) {
	sockets, err := filepath.Glob(filepath.Join(ts.Getenv("TMPDIR"), "*", "plugin-dir*", "*"))
	ts.Check(err)
	if len(sockets) != 1 {
		ts.Fatalf("there are %d sockets of plugins", len(sockets))
	}
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"in the clear":             func(c net.Conn) net.Conn { return c },
		"without a certificate":    func(c net.Conn) net.Conn { return tls.Client(c, strangerConfig()) },
		"with another certificate": func(c net.Conn) net.Conn { return tls.Client(c, strangerConfig(imitateCertificate(ts))) },
	} {
		conn, err := net.Dial("unix", sockets[0])
		ts.Check(err)
		conn.SetDeadline(time.Now().Add(patience))
		wrapped := wrap(conn)
		io.WriteString(wrapped, preface) // if it fails, reading fails too
		if n, err := wrapped.Read(make([]byte, 100)); n > 0 || err == nil {
			ts.Fatalf("the plugin answers a stranger %s", name)
		}
		conn.Close()
	}
}

func strangerConfig(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: certificates, InsecureSkipVerify: true, NextProtos: []string{"h2"}}
}

func imitateCertificate(ts *testscript.TestScript) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
