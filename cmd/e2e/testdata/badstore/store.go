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

// badStore is a bolt store that misbehaves on demand.
type badStore struct {
	*bolt.Store
	path      string
	fault     string
	log       *slog.Logger
	pretended storage.Seq // records that it only pretended to store; Append has one caller
}

// readFault returns the current fault. It panics if the fault is to panic.
func (s *badStore) readFault(call string) string {
	word := readInstruction(s.fault)
	if word == "panic" {
		panic("told to panic in " + call)
	}
	return word
}

func (s *badStore) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	switch s.readFault("append") {
	case "crash":
		os.Exit(3)
	case "fatal": // a panic that nobody can recover
		go panic("told to panic aside")
		select {}
	case "die": // once, after storing: the answer is lost
		s.Store.Append(ctx, records)
		os.Remove(s.fault)
		os.Exit(3)
	case "hang": // and answers too late
		s.log.Warn("told to hang")
		for readInstruction(s.fault) == "hang" {
			time.Sleep(10 * time.Millisecond)
		}
	case "stubborn":
		s.log.Warn("told to be stubborn")
		select {}
	case "hangup":
		hangUp()
	case "count": // more outcomes than records
		return make([]storage.Outcome, len(records)+1), nil
	case "pretend":
		return s.pretendToStore(ctx, records)
	case "rewind": // stores, but returns old sequence numbers
		outcomes, err := s.Store.Append(ctx, records)
		for i := range outcomes {
			outcomes[i].Seq = 1
		}
		return outcomes, err
	case "forget": // loses everything and restarts
		os.Remove(s.path)
		os.Exit(3)
	case "flood":
		go s.floodLog()
	case "print":
		for range 1000 {
			fmt.Println("to standard output, which is not for plugins")
		}
	case "fork":
		s.startChild(nil)
	case "escape": // from the process group
		s.startChild(&syscall.SysProcAttr{Setsid: true})
	}
	return s.Store.Append(ctx, records)
}

// pretendToStore answers as if all records were stored, and stores nothing.
func (s *badStore) pretendToStore(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	info, err := s.Store.Info(ctx)
	if err != nil {
		return nil, err
	}
	outcomes := make([]storage.Outcome, len(records))
	for i := range outcomes {
		s.pretended++
		outcomes[i] = storage.Outcome{Status: storage.Stored, Seq: info.Last + s.pretended}
	}
	return outcomes, nil
}

func (s *badStore) floodLog() {
	for line := 0; line%1000 != 0 || readInstruction(s.fault) == "flood"; line++ {
		s.log.Warn("a flood of words "+strings.Repeat("blah ", 20), "line", line)
	}
}

// startChild starts a program that outlives the call, and the plugin if it can.
func (s *badStore) startChild(attr *syscall.SysProcAttr) {
	child := exec.Command("/bin/sleep", "1000")
	child.SysProcAttr = attr
	if err := child.Start(); err != nil {
		s.log.Warn("told to fork and could not", "error", err)
		return
	}
	s.log.Warn("told to fork", "pid", child.Process.Pid)
}

// hangUp closes all connections and prevents new ones.
func hangUp() {
	os.RemoveAll(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"))
	for fd := range 64 {
		syscall.Shutdown(fd, syscall.SHUT_RDWR) //nolint:errcheck // most are no sockets
	}
}

func (s *badStore) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	word := s.readFault("log")
	page, err := s.Store.Log(ctx, req)
	switch word {
	case "huge":
		page.Entries = []storage.Entry{{Seq: req.From, Ciphertext: make([]byte, 20<<20)}}
	case "backwards":
		slices.Reverse(page.Entries)
	case "again": // repeats sequence number 1
		for i := range page.Entries {
			page.Entries[i].Seq = 1
		}
	case "short": // hides the end of the log
		page.Entries, page.Last = nil, 0
	}
	return page, err
}

func (s *badStore) Info(ctx context.Context) (storage.Info, error) {
	word := s.readFault("info")
	info, err := s.Store.Info(ctx)
	if word == "boast" { // claims more envelopes than it has
		info.Last += 1000
		info.Count += 1000
	}
	return info, err
}

func (s *badStore) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	s.readFault("find")
	return s.Store.Find(ctx, signature)
}

func (s *badStore) Health(context.Context) string {
	s.readFault("health")
	return ""
}

func (s *badStore) Close() error {
	if s.readFault("close") == "stubborn" {
		select {}
	}
	return s.Store.Close()
}
