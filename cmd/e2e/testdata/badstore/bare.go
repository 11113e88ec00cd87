package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// serveBare serves a plugin as another language would: only the services of
// cwtch-relay, without the controller, stdio and broker services of go-plugin.
func serveBare(p plugin.Plugin, socket string, log *slog.Logger) error {
	config, der, err := bareIdentity(os.Getenv("PLUGIN_CLIENT_CERT"))
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() { // the lifeline
		io.Copy(io.Discard, os.NewFile(3, "lifeline")) //nolint:errcheck // however it ends, the relay is gone
		os.Exit(0)
	}()
	fmt.Printf("1|1|unix|%s|grpc|%s\n", l.Addr(), base64.RawStdEncoding.EncodeToString(der))
	return plugin.NewServer(p, log).Serve(tls.NewListener(l, config))
}

// bareIdentity makes the certificate of the plugin and the TLS configuration, which
// admits only the relay, by the certificate in the environment.
func bareIdentity(relay string) (*tls.Config, []byte, error) {
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM([]byte(relay)) {
		return nil, nil, errors.New("the relay gave no certificate")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    trusted,
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2"},
	}, der, nil
}
