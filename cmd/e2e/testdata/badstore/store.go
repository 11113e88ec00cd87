package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// badStore is a good store most of the time.
type badStore struct {
	*bolt.Store
	path  string
	fault string
	log   *slog.Logger
	lied  storage.Seq // how many records it has pretended to store; Append is called by one caller
}

// told is what the store has been told to do in the call. It panics if that is
// to panic.
func (s *badStore) told(call string) string {
	word := wordIn(s.fault)
	if word == "panic" {
		panic("told to panic in " + call)
	}
	return word
}

func (s *badStore) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	switch s.told("append") {
	case "crash":
		os.Exit(3)
	case "fatal": // a panic that nobody can recover from
		go panic("told to panic aside")
		select {}
	case "die": // once, and late: all is stored and nobody knows
		s.Store.Append(ctx, records)
		os.Remove(s.fault)
		os.Exit(3)
	case "hang": // and answers when nobody waits any more
		s.log.Warn("told to hang")
		for wordIn(s.fault) == "hang" {
			time.Sleep(10 * time.Millisecond)
		}
	case "stubborn":
		s.log.Warn("told to be stubborn")
		select {}
	case "hangup":
		hangUp()
	case "count": // claims more than it was given
		return make([]storage.Outcome, len(records)+1), nil
	case "pretend":
		return s.pretend(ctx, records)
	case "rewind": // stores, and then says that it was long ago
		outcomes, err := s.Store.Append(ctx, records)
		for i := range outcomes {
			outcomes[i].Seq = 1
		}
		return outcomes, err
	case "forget": // loses everything and comes back
		os.Remove(s.path)
		os.Exit(3)
	case "flood":
		go s.flood()
	case "print":
		for range 1000 {
			fmt.Println("to standard output, which is not for plugins")
		}
	case "fork":
		s.fork(nil)
	case "escape": // from the process group
		s.fork(&syscall.SysProcAttr{Setsid: true})
	}
	return s.Store.Append(ctx, records)
}

// pretend tells that all is stored, in the right order, and stores nothing.
func (s *badStore) pretend(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	info, err := s.Store.Info(ctx)
	if err != nil {
		return nil, err
	}
	outcomes := make([]storage.Outcome, len(records))
	for i := range outcomes {
		s.lied++
		outcomes[i] = storage.Outcome{Status: storage.Stored, Seq: info.Last + s.lied}
	}
	return outcomes, nil
}

func (s *badStore) flood() {
	for line := 0; line%1000 != 0 || wordIn(s.fault) == "flood"; line++ {
		s.log.Warn("a flood of words "+strings.Repeat("blah ", 20), "line", line)
	}
}

// fork starts a program that outlives the call, and the plugin if it can.
func (s *badStore) fork(attr *syscall.SysProcAttr) {
	child := exec.Command("/bin/sleep", "1000")
	child.SysProcAttr = attr
	if err := child.Start(); err != nil {
		s.log.Warn("told to fork and could not", "error", err)
		return
	}
	s.log.Warn("told to fork", "pid", child.Process.Pid)
}

// hangUp ends all connections, and takes care that no other is possible.
func hangUp() {
	os.RemoveAll(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"))
	for fd := range 64 {
		syscall.Shutdown(fd, syscall.SHUT_RDWR) //nolint:errcheck // most are no sockets
	}
}

func (s *badStore) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	word := s.told("log")
	page, err := s.Store.Log(ctx, req)
	switch word {
	case "huge":
		page.Entries = []storage.Entry{{Seq: req.From, Ciphertext: make([]byte, 20<<20)}}
	case "backwards":
		slices.Reverse(page.Entries)
	case "again": // what was asked for before
		for i := range page.Entries {
			page.Entries[i].Seq = 1
		}
	case "short": // forgets the end
		page.Entries, page.Last = nil, 0
	}
	return page, err
}

func (s *badStore) Info(ctx context.Context) (storage.Info, error) {
	word := s.told("info")
	info, err := s.Store.Info(ctx)
	if word == "boast" { // of more than there is
		info.Last += 1000
		info.Count += 1000
	}
	return info, err
}

func (s *badStore) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	s.told("find")
	return s.Store.Find(ctx, signature)
}

func (s *badStore) Health(context.Context) string {
	s.told("health")
	return ""
}

func (s *badStore) Close() error {
	if s.told("close") == "stubborn" {
		select {}
	}
	return s.Store.Close()
}
