package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestPromise4Blind runs a conversation with common failures at log level debug.
// Then it searches everything that the relay has printed and written for secrets.
func TestPromise4Blind(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	begin := time.Now()
	h.start()
	s := &secrets{}
	told := h.runConversation(s)
	h.stop()
	told += h.relay.stdout.String() + h.relay.log.String()
	if !strings.Contains(told, "level=DEBUG") {
		t.Fatal("the log is not that of the level debug")
	}
	s.searchFor(t, "what the relay has said", told, func(n needle) bool { return true })

	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		s.searchFor(t, path, string(content), func(n needle) bool {
			return !n.keptIn[filepath.Base(path)]
		})
		if filepath.Base(path) == "messages.db" {
			checkNoExactTime(t, s.maskRandom(content), begin, time.Now())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	checkHourOnly(h, begin)
}

// runConversation runs the conversation and returns the output of the operator's
// commands meanwhile.
func (h *harness) runConversation(s *secrets) (told string) {
	keys := h.loadKeys("main")
	s.add("the seed of the board", seedOf(keys.Board), "keys")
	s.add("the seed of the token service", seedOf(keys.Token), "keys")
	s.add("the scalar of the token service", keys.Scalar[:], "keys")
	text, err := h.runRelay("bundle")
	if err != nil {
		h.Fatal(text)
	}
	b, err := bundle.Parse(strings.TrimSpace(text))
	if err != nil {
		h.Fatal(err)
	}
	club, err := group.New("the club of readers", keys.Board.Onion())
	if err != nil {
		h.Fatal(err)
	}
	invite := club.Invite()
	s.add("the id of the group", club.ID[:])
	s.add("the key of the group", invite.SharedKey[:])
	s.add("the name of the group", []byte(club.Name))
	s.add("a word of the conversation", []byte("Middlemarch"))

	tokens, err := client.Buy(h.ctx, h.net, b, 10, nil)
	if err != nil {
		h.Fatal(err)
	}
	for _, t := range tokens {
		s.add("a token", t.T[:], "messages.db")
		s.add("the signed point of a token", t.W[:])
	}
	alice, bob := newMember(h, s), newMember(h, s)
	alice.request(wire.Request{Replay: &wire.Replay{}}, 1)
	bob.request(wire.Request{Replay: &wire.Replay{LastCommit: []byte("unknown")}}, 1)

	first := s.sealMessage(h, club, "Shall we read Middlemarch?")
	alice.post(first, tokens[0], 2)                                     // the result and the echo
	alice.post(s.sealMessage(h, club, "All of it"), tokens[0], 1)       // the token is spent
	alice.post(first, token.Token{T: tokens[1].T}, 1)                   // and this one is forged
	bob.post(s.sealMessage(h, club, "Middlemarch it is"), tokens[2], 3) // it comes after Alice's
	h.storagePlugin().kill()
	alice.post(s.sealMessage(h, club, "At last"), tokens[3], 3)
	alice.post(first, tokens[4], 2) // a duplicate
	for _, args := range [][]string{{"status"}, {"status", "-json"}} {
		out, err := h.runRelay(args...)
		if err != nil {
			h.Error(out)
		}
		told += out
	}
	late := newMember(h, s)
	late.request(wire.Request{Replay: &wire.Replay{LastCommit: first.Signature}}, 4)
	late.send([]byte(`{"MessageType":2,"PostRequest":{"Token":"` + strings.Repeat("x", 100)))
	late.hungUp()
	rude, err := h.net.Dial(h.ctx, keys.Board.Onion(), client.Port)
	if err != nil {
		h.Fatal(err)
	}
	rude.Write(bytes.Repeat([]byte("no tapir "), 1000))
	rude.Close()
	bob.reset()
	alice.Close()
	return told
}

func seedOf(k identity.Key) []byte {
	seed := k.Seed()
	return seed[:]
}

// member is a connection to the board whose secrets the test knows.
type member struct {
	*tapir.Conn
	nc net.Conn
	h  *harness
	s  *secrets
}

func newMember(h *harness, s *secrets) *member {
	h.Helper()
	board := h.loadKeys("main").Board.Onion()
	nc, err := h.net.Dial(h.ctx, board, client.Port)
	if err != nil {
		h.Fatal(err)
	}
	key := identity.NewKey()
	c, err := tapir.Client(h.ctx, nc, key, board)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { c.Close() })
	context.AfterFunc(h.ctx, func() { c.Close() })
	s.add("the onion of a client", []byte(key.Onion()))
	s.add("the key of a client", key.Public())
	if a, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		s.needles = append(s.needles, needle{what: "the address of a client", forms: [][]byte{[]byte(a.String())}})
	}
	return &member{c, nc, h, s}
}

func (m *member) send(payload []byte) {
	m.h.Helper()
	if err := m.Send(payload); err != nil {
		m.h.Fatal(err)
	}
}

// request sends a request and reads the given number of replies.
func (m *member) request(r wire.Request, replies int) {
	m.h.Helper()
	m.send(wire.AppendRequest(nil, r))
	for range replies {
		if err := m.Receive(func([]byte) error { return nil }); err != nil {
			m.h.Fatal(err)
		}
	}
}

func (m *member) post(e wire.Envelope, t token.Token, replies int) {
	m.h.Helper()
	spent := t.Spend(e.AppendJSON(nil), []byte(m.h.loadKeys("main").Board.Onion()))
	m.s.add("what spends a token", spent.MAC[:])
	m.request(wire.Request{Post: &wire.Post{Token: wire.Token{T: spent.T[:], MAC: spent.MAC[:]}, EGM: e}}, replies)
}

// reset resets the connection, so that the relay has an error to report.
func (m *member) reset() {
	if c, ok := m.nc.(interface{ SetLinger(int) error }); ok {
		c.SetLinger(0)
	}
	m.Close()
}

// hungUp waits until the relay closes the connection.
func (m *member) hungUp() {
	for m.Receive(func([]byte) error { return nil }) == nil {
	}
}

// secrets is what must not be found.
type secrets struct{ needles []needle }

// needle is a secret in the forms in which programs print bytes.
type needle struct {
	what   string
	forms  [][]byte
	raw    []byte
	keptIn map[string]bool // names of files that may hold it
}

func (s *secrets) add(what string, b []byte, keptIn ...string) {
	n := needle{what: what, raw: b, keptIn: make(map[string]bool)}
	n.forms = [][]byte{
		b,
		[]byte(hex.EncodeToString(b)),
		[]byte(strings.ToUpper(hex.EncodeToString(b))),
		[]byte(base64.RawStdEncoding.EncodeToString(b)),
		[]byte(base64.RawURLEncoding.EncodeToString(b)),
		[]byte(strings.Trim(fmt.Sprint(b), "[]")),
		[]byte(strings.Trim(fmt.Sprintf("%q", b), `"`)),
	}
	for _, name := range keptIn {
		n.keptIn[name] = true
	}
	s.needles = append(s.needles, n)
}

// sealMessage makes a message of a new member of the group.
func (s *secrets) sealMessage(h *harness, g group.Group, text string) wire.Envelope {
	h.Helper()
	author := identity.NewKey()
	e, err := g.Seal(author, group.Draft{Text: text, Time: time.Now()})
	if err != nil {
		h.Fatal(err)
	}
	id := storage.NewID(e.Signature, e.Ciphertext)
	s.add("the onion of an author", []byte(author.Onion()))
	s.add("the key of an author", author.Public())
	s.add("the id of an envelope", id[:], "messages.db")
	s.add("a signature", e.Signature, "messages.db")
	s.add("a ciphertext", e.Ciphertext, "messages.db")
	s.add("the beginning of a ciphertext", e.Ciphertext[:64], "messages.db")
	return e
}

func (s *secrets) searchFor(t *testing.T, where, text string, forbidden func(needle) bool) {
	t.Helper()
	for _, n := range s.needles {
		if !forbidden(n) {
			continue
		}
		for _, form := range n.forms {
			if strings.Contains(text, string(form)) {
				t.Errorf("%s has %s in it", where, n.what)
				break
			}
		}
	}
}

// maskRandom removes the random bytes that a store may hold, since they could match
// something by accident.
func (s *secrets) maskRandom(content []byte) []byte {
	for _, n := range s.needles {
		if n.keptIn["messages.db"] {
			content = bytes.ReplaceAll(content, n.raw, make([]byte, len(n.raw)))
		}
	}
	return content
}

// checkNoExactTime searches for a time between begin and end in every usual form:
// binary in both byte orders, in seconds or fractions of them, and as text.
func checkNoExactTime(t *testing.T, content []byte, begin, end time.Time) {
	t.Helper()
	between := func(n, from, to int64) bool { return from <= n && n <= to }
	for i := range len(content) - 8 {
		for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
			long, short := int64(order.Uint64(content[i:])), int64(order.Uint32(content[i:]))
			if between(short, begin.Unix(), end.Unix()) || between(long, begin.UnixMilli(), end.UnixMilli()) ||
				between(long, begin.UnixMicro(), end.UnixMicro()) || between(long, begin.UnixNano(), end.UnixNano()) {
				t.Errorf("at byte %d the store has a time that is finer than an hour", i)
			}
		}
	}
	for at := begin; !at.After(end.Add(time.Second)); at = at.Add(time.Second) {
		for _, text := range []string{fmt.Sprint(at.Unix()), at.UTC().Format("15:04:05"), at.UTC().Format("150405Z")} {
			if bytes.Contains(content, []byte(text)) {
				t.Errorf("the store has the time %s in it", text)
			}
		}
	}
}

// checkHourOnly checks that the store holds the hour of the post and nothing finer.
func checkHourOnly(h *harness, begin time.Time) {
	h.Helper()
	store, err := bolt.Open(h.path("data", "servers", "main", "storage", "messages.db"), bolt.Options{})
	if err != nil {
		h.Fatal(err)
	}
	defer store.Close()
	page, err := store.Log(h.ctx, storage.LogRequest{})
	if err != nil || len(page.Entries) != 3 {
		h.Fatalf("the store has %d envelopes: %v", len(page.Entries), err)
	}
	for _, e := range page.Entries {
		if e.Born < storage.HourOf(begin) || e.Born > storage.HourOf(time.Now()) {
			h.Errorf("an envelope was born in hour %d", e.Born)
		}
	}
}
