package tornet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// holdTime is how long a request for the consensus may wait until there is one.
// Told 404, tor would back off for longer than the relays take to come.
const holdTime = 20 * time.Second

// authority is a directory authority that does not vote: when the number of
// relays it waits for has come, it signs a consensus of them and keeps it.
type authority struct {
	want   int
	keys   *authorityKeys
	port   int
	now    func() time.Time
	server *http.Server
	served chan struct{} // closed when the server has ended
	ready  chan struct{} // closed when all relays have come

	mu         sync.Mutex
	relays     []*descriptor // ordered by identity; does not change after ready
	consensus  [2][]byte     // by flavour
	validAfter time.Time
}

// newAuthority serves a directory port on 127.0.0.1.
func newAuthority(want int) (*authority, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	keys, err := newAuthorityKeys(time.Now(), ln.Addr().String())
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	a := &authority{
		want: want, keys: keys, port: ln.Addr().(*net.TCPAddr).Port, now: time.Now,
		served: make(chan struct{}), ready: make(chan struct{}),
	}
	a.server = &http.Server{Handler: a, ReadTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() {
		defer close(a.served)
		_ = a.server.Serve(ln) // ends with ErrServerClosed
	}()
	return a, nil
}

func (a *authority) close() error {
	err := a.server.Close()
	<-a.served
	return err
}

// torrc is the line that makes tor trust this authority and no other. The last
// fingerprint is that of a relay that authorities also are; nobody asks for it.
func (a *authority) torrc() string {
	return fmt.Sprintf("DirAuthority tornet no-v2 v3ident=%s 127.0.0.1:%d %s",
		a.keys.identityFingerprint(), a.port, a.keys.signingFingerprint())
}

// published reports whether there is a consensus.
func (a *authority) published() bool {
	select {
	case <-a.ready:
		return true
	default:
		return false
	}
}

// descriptors returns the relays, ordered by identity.
func (a *authority) descriptors() []*descriptor {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.relays)
}

// accept takes the descriptor of a relay. Later uploads of relays that are in
// the consensus change nothing: their keys and ports do not change either.
func (a *authority) accept(upload []byte) error {
	d, err := parseUpload(upload)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i, known := slices.BinarySearchFunc(a.relays, d, func(x, y *descriptor) int { return bytes.Compare(x.identity, y.identity) })
	switch {
	case a.published():
		return nil
	case known:
		a.relays[i] = d
	default:
		a.relays = slices.Insert(a.relays, i, d)
	}
	if len(a.relays) < a.want {
		return nil
	}
	if err := a.sign(); err != nil {
		return err
	}
	close(a.ready)
	return nil
}

// sign makes the consensus of the present hour. a.mu is held.
func (a *authority) sign() error {
	a.validAfter = a.now().Truncate(interval)
	for _, f := range []flavour{unflavoured, microdesc} {
		text, err := writeConsensus(f, a.validAfter, a.port, a.relays, a.keys)
		if err != nil {
			return err
		}
		a.consensus[f] = text
	}
	return nil
}

// current returns the consensus, signed again every hour.
func (a *authority) current(f flavour) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now().Sub(a.validAfter) >= interval {
		if err := a.sign(); err != nil {
			return nil, err
		}
	}
	return a.consensus[f], nil
}

// ServeHTTP is the directory port (dir-spec, "HTTP status codes" and the URLs
// of "Standards compliance"). The URL is taken as it was sent: digests in it
// contain slashes, which net/http's mux would clean away.
func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.RequestURI, ".z")
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Encoding", "identity")
	switch {
	case r.Method == http.MethodPost && path == "/tor/":
		upload, err := io.ReadAll(io.LimitReader(r.Body, maxUpload+1))
		if err == nil && len(upload) > maxUpload {
			err = errors.New("descriptor: too long")
		}
		if err == nil {
			err = a.accept(upload)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	case r.Method != http.MethodGet:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case strings.HasPrefix(path, "/tor/keys/"):
		_, _ = w.Write(a.keys.certificate) // a relay that has gone asks again
	case a.hold(r):
		doc, err := a.document(path)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case len(doc) == 0:
			http.NotFound(w, r)
		default:
			_, _ = w.Write(doc)
		}
	default:
		http.NotFound(w, r)
	}
}

// hold waits for the consensus and reports whether there is one.
func (a *authority) hold(r *http.Request) bool {
	timer := time.NewTimer(holdTime)
	defer timer.Stop()
	select {
	case <-a.ready:
		return true
	case <-r.Context().Done():
	case <-timer.C:
	}
	return false
}

// document returns what path names, nil if there is no such thing.
func (a *authority) document(path string) ([]byte, error) {
	if strings.HasPrefix(path, "/tor/status-vote/current/consensus-microdesc") {
		return a.current(microdesc)
	}
	if strings.HasPrefix(path, "/tor/status-vote/current/consensus") {
		return a.current(unflavoured)
	}
	var out []byte
	for _, d := range a.descriptors() {
		switch {
		case named(path, "/tor/micro/d/", "-", unpadded.EncodeToString(d.microdescriptorDigest[:])):
			out = append(out, d.microdescriptor...)
		case path == "/tor/server/all",
			named(path, "/tor/server/d/", "+", fmt.Sprintf("%X", d.digest)),
			named(path, "/tor/server/fp/", "+", d.fingerprint):
			out = append(out, d.text...)
		case path == "/tor/extra/all",
			named(path, "/tor/extra/d/", "+", fmt.Sprintf("%X", d.extraInfoDigest)),
			named(path, "/tor/extra/fp/", "+", d.fingerprint):
			out = append(out, d.extraInfo...)
		}
	}
	return out, nil
}

// named reports whether path is prefix and a list of names with name in it.
// Hex is compared in any case of letters; base64 cannot be, and clients send
// it as it stands in the consensus.
func named(path, prefix, separator, name string) bool {
	list, ok := strings.CutPrefix(path, prefix)
	if !ok {
		return false
	}
	for n := range strings.SplitSeq(list, separator) {
		if n == name || separator == "+" && strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
