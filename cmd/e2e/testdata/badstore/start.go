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

// begin does what the word says in place of a handshake, and returns where an
// ordinary one is to follow.
func begin(word string, p plugin.Plugin) {
	socket := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	switch word {
	case "silent":
		fmt.Fprintln(os.Stderr, "told to be silent")
		select {}
	case "slow": // a handshake when nobody waits for it any more
		time.Sleep(time.Minute)
	case "garbage": // that would clear a terminal
		shake("hello\x1b[2J")
	case "unfinished": // without a line feed
		fmt.Print("1|1|unix|" + socket + "|grpc|")
		select {}
	case "endless": // a line that is
		for {
			fmt.Print(strings.Repeat("endless ", 1000))
		}
	case "protocol": // of go-plugin
		shake("2|1|unix|" + socket + "|grpc|")
	case "version": // of what is spoken
		shake("1|99|unix|" + socket + "|grpc|")
	case "netrpc":
		shake("1|1|unix|" + socket + "|netrpc|")
	case "tcp": // as go-plugin does on Windows
		shake("1|1|tcp|127.0.0.1:9|grpc|")
	case "elsewhere": // in a directory that is not ours
		shake("1|1|unix|/tmp/elsewhere.sock|grpc|")
	case "certificate": // that is none
		shake("1|1|unix|" + socket + "|grpc|" + strings.Repeat("A", 100))
	case "deaf": // there is a socket at which nobody answers
		l, err := net.Listen("unix", socket)
		if err != nil {
			panic(err)
		}
		_, der, err := bareIdentity(os.Getenv("PLUGIN_CLIENT_CERT"))
		if err != nil {
			panic(err)
		}
		shake("1|1|unix|" + l.Addr().String() + "|grpc|" + base64.RawStdEncoding.EncodeToString(der))
	case "plain": // does not prove who it is, and does not ask either
		os.Unsetenv("PLUGIN_CLIENT_CERT")
	case "bare": // behaves, and owes nothing to go-plugin
		fmt.Fprintln(os.Stderr, "told to be bare")
		if err := serveBare(p, socket, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			fmt.Fprintln(os.Stderr, "told to be bare:", err)
			os.Exit(1)
		}
	}
}

// shake prints a handshake and keeps to it.
func shake(line string) {
	fmt.Println(line)
	select {}
}
