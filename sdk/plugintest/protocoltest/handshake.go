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
	{"ProtocolSocket", "the socket is there before the line that names it", (*fixture).socket},
	{"ProtocolCertificate", "the certificate is valid since ten seconds at least, for a clock that is set back, and for a year at least", (*fixture).certificate},
	{"ProtocolClient", "a client with no certificate, with another one or without TLS is turned away", (*fixture).client},
	{"ProtocolStdout", "one line on standard output, and nothing before or after it", (*fixture).stdout},
	{"ProtocolVersions", "of the versions of the framing that are offered, one that the plugin speaks is chosen", (*fixture).versions},
	{"ProtocolSignals", "SIGTERM and SIGINT do nothing", (*fixture).signals},
	{"ProtocolFiles", "files and the socket are for the user alone, whatever the umask at the start", (*fixture).files},
	{"ProtocolAsked", "Describe and Validate answer at any time, also in a process without a directory, and Describe always says the same", (*fixture).asks},
	{"ProtocolRequests", "a request of 16 MiB is taken", (*fixture).requests},
}

// handshake is what the plugin said in its line.
func (f *fixture) handshake(p process) pluginproc.Handshake {
	return p.(*pluginproc.Process).Handshake()
}

func (f *fixture) socket() {
	f.onlyProcess()
	if p := f.start(pluginproc.StartConfig{}, f.root); !f.handshake(p).Bound {
		f.Error("the handshake line came, and there was no socket yet: a relay that is quick does not reach the plugin")
	}
}

// Bounds on the validity of a certificate: a clock may be set, and a process runs
// for months and is connected to anew when its connection is lost.
const (
	validSince = 10 * time.Second
	validFor   = 365 * 24 * time.Hour
)

func (f *fixture) certificate() {
	f.onlyProcess()
	now, c := time.Now(), f.handshake(f.begin()).Certificate
	if begin := now.Sub(c.NotBefore); begin < validSince {
		f.Errorf("it is valid since %v", begin.Round(time.Second))
	}
	if rest := c.NotAfter.Sub(now); rest < validFor-24*time.Hour { // leave a day for rounding
		f.Errorf("it is valid for %v more", rest.Round(time.Hour))
	}
}

func (f *fixture) client() {
	f.onlyProcess()
	p := f.begin()
	h := f.handshake(p)
	roots := x509.NewCertPool()
	roots.AddCert(h.Certificate)
	secure := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13}
	stranger := secure.Clone()
	stranger.Certificates = []tls.Certificate{f.identity()}
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
			f.Errorf("a client %s was neither answered nor turned away within %v", c.who, host.DescribeTimeout)
		default:
			f.Errorf("a client %s was let in, and answered with %v", c.who, err)
		}
	}
	if _, err := p.Client().Describe(f.Context()); err != nil {
		f.Errorf("after that the relay's own call: %v", err)
	}
}

// tryDescribe calls Describe by a connection of its own.
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

// identity makes a certificate with the name of the relay's.
func (f *fixture) identity() tls.Certificate {
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

// lingers is how long a check waits for what must not happen, and grace how long
// what has happened may take to be seen.
var (
	lingers = time.Second
	grace   = time.Second
)

// stdout goes through a whole life, and stays a moment.
func (f *fixture) stdout() {
	f.onlyProcess()
	p := f.open(f.root)
	if err := f.kind.load(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	if within(lingers, p.Exited()) {
		return // the end says why
	}
	f.shutDown(p)
	if n, text := p.(*pluginproc.Process).Printed(); n > 0 {
		f.Errorf("%d bytes were written on standard output behind the handshake line: %q", n, text)
	}
}

// versions offers one more version than there is.
func (f *fixture) versions() {
	f.onlyProcess()
	for _, offered := range []string{"1,2", "2,1"} {
		f.beginWith(pluginproc.StartConfig{OfferedVersions: offered}, f.root)
	}
}

func (f *fixture) signals() {
	f.onlyProcess()
	p := f.open(f.root)
	f.expectEnd(p)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if err := syscall.Kill(p.PID(), s); err != nil {
			f.Fatalf("send %v: %v", s, err)
		}
		if within(lingers/2, p.Exited()) {
			p.Kill()
			f.Fatalf("%v ended the process: %s", s, p.ExitReason())
		}
	}
	f.serves(p)
}

// files starts the plugin with a umask that lets others read and enter.
func (f *fixture) files() {
	f.onlyProcess()
	dir := f.dir("own")
	var p process
	withUmask(0o022, func() { p = f.beginWith(pluginproc.StartConfig{}, dir) })
	socket := f.handshake(p).Socket
	f.configure(p, dir)
	if err := f.kind.load(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	f.isPrivate(socket, "the socket")
	f.shutDown(p)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir {
			f.isPrivate(path, path[len(dir)+1:])
		}
		return err
	})
	if err != nil {
		f.Errorf("look at the files: %v", err)
	}
}

func (f *fixture) isPrivate(path, name string) {
	f.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		f.Errorf("look at %s: %v", name, err)
		return
	}
	if open := info.Mode().Perm() & 0o077; open != 0 && info.Mode()&fs.ModeSymlink == 0 {
		f.Errorf("%s has the mode %#o: set umask(077) at the start", name, info.Mode().Perm())
	}
}

// asks asks before and after Configure, and once without a directory.
func (f *fixture) asks() {
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
			f.Errorf("%s Describe says something else than at first", when)
		}
		if err := p.Client().Validate(ctx, f.config); err != nil {
			f.Fatalf("%s: the configuration with which the plugin is tested: %v", when, err)
		}
	}
	if f.opener.Attach == nil {
		p := f.beginWith(pluginproc.StartConfig{}, "")
		ask(p, "without a directory")
		ask(p, "asked again")
		f.end(p)
	}
	p := f.begin()
	ask(p, "before Configure")
	f.configure(p, f.root)
	ask(p, "after Configure")
	if err := p.Client().Drain(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	ask(p, "after Drain")
}

// requests sends a message that is as long as one may be. What is in it is for a
// version of Describe that there is not.
func (f *fixture) requests() {
	p := f.begin()
	req := &pb.DescribeRequest{}
	const header = 5 // field 15, of bytes, and a length of four bytes
	size := host.MaxMessage - header
	unknown := append(make([]byte, 0, host.MaxMessage), 15<<3|2, byte(size)|0x80, byte(size>>7)|0x80, byte(size>>14)|0x80, byte(size>>21))
	req.ProtoReflect().SetUnknown(append(unknown, make([]byte, size)...))
	ctx, cancel := context.WithTimeout(f.Context(), host.CallTimeout)
	defer cancel()
	if _, err := pb.NewPluginClient(p.Client().Conn()).Describe(ctx, req); err != nil {
		f.Errorf("Describe with %d bytes that it does not know: %v", proto.Size(req), err)
	}
}
