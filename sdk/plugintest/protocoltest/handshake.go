package protocoltest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

var handshakeChecks = []check{
	{"ProtocolSocket", "the socket exists before the handshake line is written", (*fixture).checkSocket},
	{"ProtocolCertificate", "the certificate has been valid for at least ten seconds, in case a clock is set back, and stays valid for at least a year", (*fixture).checkCertificate},
	{"ProtocolClient", "a client without TLS, without a certificate or with another certificate is refused", (*fixture).checkClient},
	{"ProtocolStdout", "the handshake line is the only output on standard output", (*fixture).checkStdout},
	{"ProtocolVersions", "the plugin chooses a version of the framing that it speaks from those offered", (*fixture).checkVersions},
	{"ProtocolSignals", "SIGTERM and SIGINT are ignored", (*fixture).checkSignals},
	{"ProtocolFiles", "only the user can access the files and the socket, whatever the umask at the start", (*fixture).checkFiles},
	{"ProtocolAsked", "Describe and Validate answer at any time, also in a process without a directory, and Describe always gives the same answer", (*fixture).checkDescribeAndValidate},
	{"ProtocolRequests", "a request of 16 MiB is accepted", (*fixture).checkRequestSize},
}

func (f *fixture) handshakeOf(p process) pluginproc.Handshake {
	return p.(*pluginproc.Process).Handshake()
}

func (f *fixture) checkSocket() {
	f.skipIfAttached()
	if p := f.startPlugin(pluginproc.StartConfig{}, f.root); !f.handshakeOf(p).SocketExists {
		f.Error("the handshake line came before the socket existed: a fast relay cannot connect")
	}
}

// Bounds on the validity of a certificate. A clock may be set back, and a relay connects again
// to a process that has run for months if the connection is lost.
const (
	validSince = 10 * time.Second
	validFor   = 365 * 24 * time.Hour
)

func (f *fixture) checkCertificate() {
	f.skipIfAttached()
	now, c := time.Now(), f.handshakeOf(f.startAndDescribe()).Certificate
	if begin := now.Sub(c.NotBefore); begin < validSince {
		f.Errorf("it has been valid for %v only", begin.Round(time.Second))
	}
	if rest := c.NotAfter.Sub(now); rest < validFor-24*time.Hour { // leave a day for rounding
		f.Errorf("it is valid for another %v only", rest.Round(time.Hour))
	}
}

func (f *fixture) checkClient() {
	f.skipIfAttached()
	p := f.startAndDescribe()
	h := f.handshakeOf(p)
	roots := x509.NewCertPool()
	roots.AddCert(h.Certificate)
	secure := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13}
	stranger := secure.Clone()
	stranger.Certificates = []tls.Certificate{f.makeCertificate()}
	for _, c := range []struct {
		who         string
		credentials credentials.TransportCredentials
	}{
		{"without a certificate", credentials.NewTLS(secure)},
		{"with a certificate that is not the relay's", credentials.NewTLS(stranger)},
		{"without TLS", insecure.NewCredentials()},
	} {
		switch err := f.tryDescribe(h.Socket, c.credentials); status.Code(err) {
		case codes.Unavailable:
		case codes.OK:
			f.Errorf("a client %s was answered", c.who)
		case codes.DeadlineExceeded:
			f.Errorf("a client %s was neither answered nor refused within %v", c.who, host.DescribeTimeout)
		default:
			f.Errorf("a client %s was accepted and got the answer %v", c.who, err)
		}
	}
	if _, err := p.Client().Describe(f.Context()); err != nil {
		f.Errorf("afterwards, the relay's own call: %v", err)
	}
}

// tryDescribe calls Describe on a connection of its own.
func (f *fixture) tryDescribe(socket string, c credentials.TransportCredentials) error {
	f.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(c), grpc.WithAuthority("localhost"))
	if err != nil {
		f.Fatalf("%v", err)
	}
	defer conn.Close() //nolint:errcheck // only says that it is closed already
	ctx, cancel := context.WithTimeout(f.Context(), host.DescribeTimeout)
	defer cancel()
	_, err = pb.NewPluginClient(conn).Describe(ctx, &pb.DescribeRequest{})
	return err
}

// makeCertificate makes a certificate with the same name as the relay's.
func (f *fixture) makeCertificate() tls.Certificate {
	f.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatalf("make a key: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.Fatalf("make a certificate: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var (
	observeTime = time.Second // how long a check watches for what must not happen
	grace       = time.Second // how long an event may take to become visible
)

// checkStdout watches a plugin from its start to its end.
func (f *fixture) checkStdout() {
	f.skipIfAttached()
	p := f.openPlugin(f.root)
	if err := f.kind.largeCall(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	if waitFor(observeTime, p.Exited()) {
		return // endPlugin reports it
	}
	f.shutDownPlugin(p)
	if n, text := p.(*pluginproc.Process).Printed(); n > 0 {
		f.Errorf("%d bytes were written on standard output after the handshake line: %q", n, text)
	}
}

// checkVersions also offers a version that does not exist.
func (f *fixture) checkVersions() {
	f.skipIfAttached()
	for _, offered := range []string{"1,2", "2,1"} {
		f.startAndDescribeWith(pluginproc.StartConfig{OfferedVersions: offered}, f.root)
	}
}

func (f *fixture) checkSignals() {
	f.skipIfAttached()
	p := f.openPlugin(f.root)
	f.expectEnd(p)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if err := syscall.Kill(p.PID(), s); err != nil {
			f.Fatalf("send %v: %v", s, err)
		}
		if waitFor(observeTime/2, p.Exited()) {
			p.Kill()
			f.Fatalf("%v ended the process: %s", s, p.ExitReason())
		}
	}
	f.requireServing(p)
}

// checkFiles starts the plugin with a umask that gives other users access.
func (f *fixture) checkFiles() {
	f.skipIfAttached()
	dir := f.makeDir("own")
	var p process
	withUmask(0o022, func() { p = f.startAndDescribeWith(pluginproc.StartConfig{}, dir) })
	socket := f.handshakeOf(p).Socket
	f.configurePlugin(p, dir)
	if err := f.kind.largeCall(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	f.expectPrivate(socket, "the socket")
	f.shutDownPlugin(p)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir {
			f.expectPrivate(path, path[len(dir)+1:])
		}
		return err
	})
	if err != nil {
		f.Errorf("list the files: %v", err)
	}
}

func (f *fixture) expectPrivate(path, name string) {
	f.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		f.Errorf("find the mode of %s: %v", name, err)
		return
	}
	if open := info.Mode().Perm() & 0o077; open != 0 && info.Mode()&fs.ModeSymlink == 0 {
		f.Errorf("%s has the mode %#o: set umask(077) at the start", name, info.Mode().Perm())
	}
}

// checkDescribeAndValidate asks without a directory, before and after Configure, and after Drain.
func (f *fixture) checkDescribeAndValidate() {
	var first *pb.DescribeResponse
	ask := func(p process, when string) {
		f.Helper()
		ctx, cancel := context.WithTimeout(f.Context(), 2*host.DescribeTimeout)
		defer cancel()
		d, err := pb.NewPluginClient(p.Client().Conn()).Describe(ctx, &pb.DescribeRequest{})
		if err != nil {
			f.Fatalf("%s: describe: %v", when, err)
		}
		if first == nil {
			first = d
		}
		if !proto.Equal(first, d) {
			f.Errorf("%s, Describe gives another answer than at first", when)
		}
		if err := p.Client().Validate(ctx, f.config); err != nil {
			f.Fatalf("%s: Validate of the configuration under test: %v", when, err)
		}
	}
	if f.opener.Attach == nil {
		p := f.startAndDescribeWith(pluginproc.StartConfig{}, "")
		ask(p, "without a directory")
		ask(p, "asked again")
		f.endPlugin(p)
	}
	p := f.startAndDescribe()
	ask(p, "before Configure")
	f.configurePlugin(p, f.root)
	ask(p, "after Configure")
	if err := p.Client().Drain(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	ask(p, "after Drain")
}

// checkRequestSize sends a request of the maximum size. It consists of a field that Describe does
// not know.
func (f *fixture) checkRequestSize() {
	p := f.startAndDescribe()
	req := &pb.DescribeRequest{}
	const header = 5 // the tag of field 15, and a length of four bytes
	size := host.MaxMessage - header
	unknown := append(make([]byte, 0, host.MaxMessage), 15<<3|2, byte(size)|0x80, byte(size>>7)|0x80, byte(size>>14)|0x80, byte(size>>21))
	req.ProtoReflect().SetUnknown(append(unknown, make([]byte, size)...))
	ctx, cancel := context.WithTimeout(f.Context(), host.CallTimeout)
	defer cancel()
	if _, err := pb.NewPluginClient(p.Client().Conn()).Describe(ctx, req); err != nil {
		f.Errorf("Describe with %d bytes in an unknown field: %v", proto.Size(req), err)
	}
}
