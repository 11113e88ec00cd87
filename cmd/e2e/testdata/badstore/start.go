package main

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// misbehaveAtStart does what the word says in place of a handshake. It returns if an
// ordinary handshake is to follow.
func misbehaveAtStart(word string, p plugin.Plugin) {
	socket := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	switch word {
	case "silent":
		fmt.Fprintln(os.Stderr, "told to be silent")
		select {}
	case "slow": // the handshake comes too late
		time.Sleep(time.Minute)
	case "garbage": // would clear a terminal
		printHandshakeAndHang("hello\x1b[2J")
	case "unfinished": // without a line feed
		fmt.Print("1|1|unix|" + socket + "|grpc|")
		select {}
	case "endless": // a line without end
		for {
			fmt.Print(strings.Repeat("endless ", 1000))
		}
	case "protocol": // an unknown version of go-plugin's protocol
		printHandshakeAndHang("2|1|unix|" + socket + "|grpc|")
	case "version": // an unknown version of the plugin protocol
		printHandshakeAndHang("1|99|unix|" + socket + "|grpc|")
	case "netrpc":
		printHandshakeAndHang("1|1|unix|" + socket + "|netrpc|")
	case "tcp": // as go-plugin does on Windows
		printHandshakeAndHang("1|1|tcp|127.0.0.1:9|grpc|")
	case "elsewhere": // outside the directory for sockets
		printHandshakeAndHang("1|1|unix|/tmp/elsewhere.sock|grpc|")
	case "certificate": // not a certificate
		printHandshakeAndHang("1|1|unix|" + socket + "|grpc|" + strings.Repeat("A", 100))
	case "deaf": // nobody answers at the socket
		l, err := net.Listen("unix", socket)
		if err != nil {
			panic(err)
		}
		_, der, err := bareIdentity(os.Getenv("PLUGIN_CLIENT_CERT"))
		if err != nil {
			panic(err)
		}
		printHandshakeAndHang("1|1|unix|" + l.Addr().String() + "|grpc|" + base64.RawStdEncoding.EncodeToString(der))
	case "plain": // no certificate on either side
		os.Unsetenv("PLUGIN_CLIENT_CERT")
	case "bare": // behaves, without go-plugin
		fmt.Fprintln(os.Stderr, "told to be bare")
		if err := serveBare(p, socket, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			fmt.Fprintln(os.Stderr, "told to be bare:", err)
			os.Exit(1)
		}
	}
}

// printHandshakeAndHang prints a handshake line and does nothing more.
func printHandshakeAndHang(line string) {
	fmt.Println(line)
	select {}
}
