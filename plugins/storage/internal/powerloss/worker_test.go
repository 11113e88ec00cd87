//go:build linux && amd64

package powerloss

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/sqlite"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	workerVariable = "POWERLOSS_TEST_WORKER"
	jobDone        = "done\n"
)

// job is what one process does with a store, in the worker.
type job struct {
	Store string // which plugin
	Path  string
	Steps []step
}

// step is one call. An append or a spend is of N records from First on, see
// [record].
type step struct {
	// Do is open, append, watch, spend, prune, compact or close; watch is an append beside a
	// reader. A prune raises the floor to the hour of record First and removes N envelopes.
	// "make directory" and "confirm" are of package durable and need no store.
	Do       string
	First, N int
}

// stepResult is what the worker says after a step.
type stepResult struct {
	Step     int
	Error    string `json:",omitempty"`
	Full     bool   `json:",omitempty"`
	Outcomes []storage.Outcome
	Look     *readerView `json:",omitempty"` // of watch, while it goes on
}

// readerView is what a reader sees at a moment.
type readerView struct {
	Last    storage.Seq
	Tokens  uint64
	Entries int  // of the log
	Found   bool // the first envelope that is being appended
}

// ledgerStore is what both plugins are.
type ledgerStore interface {
	storage.Store
	storage.Ledger
}

// openStore opens a store that merges its index, or copies its log, with every
// larger batch.
func openStore(plugin, path string) (ledgerStore, error) {
	if plugin == "bolt" {
		return bolt.Open(path, bolt.Options{MaxRecent: 16})
	}
	return sqlite.Open(path, sqlite.Options{MaxWAL: 256 << 10})
}

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		runWorker()
		return
	}
	os.Exit(m.Run())
}

// runWorker does jobs until there are no more. A store that a job has left open stays
// so, which is how its process would leave it if it were killed.
func runWorker() {
	out := os.NewFile(sayFD, "said")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var j job
		if err := json.Unmarshal(in.Bytes(), &j); err != nil {
			panic(err)
		}
		j.do(func(s stepResult) {
			line, err := json.Marshal(s)
			if err != nil {
				panic(err)
			}
			out.Write(line)
		})
		out.WriteString(jobDone)
	}
}

func (j job) do(say func(stepResult)) {
	var s ledgerStore
	for i, step := range j.Steps {
		var outcomes []storage.Outcome
		var err error
		switch {
		case step.Do == "make directory":
			err = durable.MakeDir(j.Path, 0o700)
		case step.Do == "confirm":
			err = confirmFile(j.Path)
		case step.Do == "open":
			s, err = openStore(j.Store, j.Path)
		case s == nil:
			err = errors.New("not open")
		case step.Do == "append":
			outcomes, err = s.Append(context.Background(), numberedRecords(step.First, step.N))
		case step.Do == "watch":
			outcomes, err = appendWatched(s, numberedRecords(step.First, step.N), func(l readerView) { say(stepResult{Step: i, Look: &l}) })
		case step.Do == "spend":
			err = s.Spend(context.Background(), numberedSpends(step.First, step.N))
		case step.Do == "prune":
			_, err = s.(storage.Pruner).Prune(context.Background(), storage.PruneRequest{Floor: numberedRecord(step.First).Born, Max: step.N})
		case step.Do == "compact":
			err = j.compactStore(s.(storage.Compactor))
		case step.Do == "close":
			err = s.Close()
		}
		answer := stepResult{Step: i, Outcomes: outcomes, Full: errors.Is(err, storage.ErrFull)}
		if err != nil {
			answer.Error = err.Error()
			if step.Do == "open" {
				s = nil // not a nil pointer in an interface
			}
		}
		say(answer)
	}
}

// compactStore compacts a store, a bolt store in several steps.
func (j job) compactStore(s storage.Compactor) error {
	req := storage.CompactRequest{Room: 16 << 20}
	if j.Store == "bolt" {
		req.Max = 16 << 10
	}
	for {
		done, err := s.Compact(context.Background(), req)
		if err != nil || !done.More {
			return err
		}
	}
}

func confirmFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return durable.Confirm(f)
}

// appendWatched appends records, and says all the while what a reader sees, once before
// and once behind it.
func appendWatched(s storage.Store, rs []storage.Record, say func(readerView)) (outcomes []storage.Outcome, err error) {
	see := func() {
		info, err := s.Info(context.Background())
		page, err2 := s.Log(context.Background(), storage.LogRequest{})
		_, err3 := s.Find(context.Background(), rs[0].Signature)
		if err := errors.Join(err, err2); err != nil || err3 != nil && !errors.Is(err3, storage.ErrNotFound) {
			panic(errors.Join(err, err3))
		}
		say(readerView{info.Last, info.Tokens, len(page.Entries), err3 == nil})
	}
	see()
	done := make(chan struct{})
	go func() {
		defer close(done)
		outcomes, err = s.Append(context.Background(), rs)
	}()
	for appending := true; appending; {
		select {
		case <-done:
			appending = false
		default:
		}
		see()
	}
	return outcomes, err
}

// numberedRecord is the record with a number: always the same one.
func numberedRecord(n int) storage.Record {
	if r, ok := made.Load(n); ok {
		return r.(storage.Record)
	}
	r := makeRecord(n)
	made.Store(n, r)
	return r
}

var made sync.Map // records by their numbers

// recordsPerHour is how many records, in the order of their numbers, are of one hour.
const recordsPerHour = 8

func makeRecord(n int) storage.Record {
	h := func(what string) [32]byte {
		return sha256.Sum256(binary.BigEndian.AppendUint64([]byte(what), uint64(n)))
	}
	signature, fill, nullifier := h("signature"), h("ciphertext"), storage.Nullifier(h("nullifier"))
	ciphertext := make([]byte, 200+37*(n%40))
	for i := range ciphertext {
		ciphertext[i] = fill[i%len(fill)]
	}
	return storage.Record{
		ID: storage.NewID(signature[:], ciphertext), Born: storage.Hour(7 + n%(1<<20)/recordsPerHour), Signature: signature[:], Ciphertext: ciphertext, Nullifier: &nullifier,
	}
}

func numberedRecords(first, n int) (rs []storage.Record) {
	for i := range n {
		rs = append(rs, numberedRecord(first+i))
	}
	return rs
}

// numberedSpends spends tokens of records that are not in the log.
func numberedSpends(first, n int) (list []storage.SpentToken) {
	for _, r := range numberedRecords(first, n) {
		list = append(list, storage.SpentToken{Token: storage.NewTokenID(*r.Nullifier), ID: r.ID})
	}
	return list
}

// parseSaid reads what the worker said.
func parseSaid(e event) (s stepResult) {
	if err := json.Unmarshal(e.data, &s); err != nil {
		panic(fmt.Sprintf("%s: %v", e.data, err))
	}
	return s
}
