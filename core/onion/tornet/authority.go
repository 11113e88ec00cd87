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

// consensusWait is how long a request waits for the first consensus. After a 404,
// tor would back off for longer than the relays take to come.
const consensusWait = 20 * time.Second

// authority is a directory authority that does not vote: it waits for a number of
// relays and then signs a consensus of them.
type authority struct {
	wantRelays int
	keys       *authorityKeys
	port       int
	now        func() time.Time
	server     *http.Server
	served     chan struct{} // closed when the server has ended
	ready      chan struct{} // closed when all relays have come

	mu         sync.Mutex
	relays     []*descriptor // ordered by identity; does not change after ready
	consensus  [2][]byte     // by flavour
	validAfter time.Time
}

// newAuthority starts an authority with a directory port on 127.0.0.1.
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
		wantRelays: want, keys: keys, port: ln.Addr().(*net.TCPAddr).Port, now: time.Now,
		served: make(chan struct{}), ready: make(chan struct{}),
	}
	a.server = &http.Server{Handler: a, ReadTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() {
		defer close(a.served)
		_ = a.server.Serve(ln) // ends with ErrServerClosed
	}()
	return a, nil
}

func (a *authority) stopServing() error {
	err := a.server.Close()
	<-a.served
	return err
}

// torrcLine returns the line that makes tor trust this authority and no other. Its
// last fingerprint names the relay that every authority also is; nobody asks that.
func (a *authority) torrcLine() string {
	return fmt.Sprintf("DirAuthority tornet no-v2 v3ident=%s 127.0.0.1:%d %s",
		a.keys.identityFingerprint(), a.port, a.keys.signingFingerprint())
}

// hasConsensus reports whether there is a consensus.
func (a *authority) hasConsensus() bool {
	select {
	case <-a.ready:
		return true
	default:
		return false
	}
}

// listRelays returns the descriptors of the relays, ordered by identity.
func (a *authority) listRelays() []*descriptor {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.relays)
}

// addRelay adds or replaces the descriptor of a relay. With all relays there it
// signs the consensus; later uploads change nothing, as keys and ports stay.
func (a *authority) addRelay(upload []byte) error {
	d, err := parseUpload(upload)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i, known := slices.BinarySearchFunc(a.relays, d, func(x, y *descriptor) int { return bytes.Compare(x.identity, y.identity) })
	switch {
	case a.hasConsensus():
		return nil
	case known:
		a.relays[i] = d
	default:
		a.relays = slices.Insert(a.relays, i, d)
	}
	if len(a.relays) < a.wantRelays {
		return nil
	}
	if err := a.signConsensus(); err != nil {
		return err
	}
	close(a.ready)
	return nil
}

// signConsensus makes and signs the consensus of the present hour. a.mu is held.
func (a *authority) signConsensus() error {
	a.validAfter = a.now().Truncate(consensusInterval)
	for _, f := range []flavour{unflavoured, microdesc} {
		text, err := writeConsensus(f, a.validAfter, a.port, a.relays, a.keys)
		if err != nil {
			return err
		}
		a.consensus[f] = text
	}
	return nil
}

// currentConsensus returns the consensus of the present hour.
func (a *authority) currentConsensus(f flavour) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now().Sub(a.validAfter) >= consensusInterval {
		if err := a.signConsensus(); err != nil {
			return nil, err
		}
	}
	return a.consensus[f], nil
}

// ServeHTTP serves the directory port (dir-spec, "HTTP status codes" and the URLs
// of "Standards compliance"). It reads the URL as it was sent: digests in it contain
// slashes, which net/http's mux would clean away.
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
			err = a.addRelay(upload)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	case r.Method != http.MethodGet:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case strings.HasPrefix(path, "/tor/keys/"):
		_, _ = w.Write(a.keys.certificate) // a relay whose connection broke asks again
	case a.awaitConsensus(r):
		doc, err := a.findDocument(path)
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

// awaitConsensus waits for the consensus and reports whether there is one.
func (a *authority) awaitConsensus(r *http.Request) bool {
	timer := time.NewTimer(consensusWait)
	defer timer.Stop()
	select {
	case <-a.ready:
		return true
	case <-r.Context().Done():
	case <-timer.C:
	}
	return false
}

// findDocument returns what path names, or nil.
func (a *authority) findDocument(path string) ([]byte, error) {
	if strings.HasPrefix(path, "/tor/status-vote/current/consensus-microdesc") {
		return a.currentConsensus(microdesc)
	}
	if strings.HasPrefix(path, "/tor/status-vote/current/consensus") {
		return a.currentConsensus(unflavoured)
	}
	var out []byte
	for _, d := range a.listRelays() {
		switch {
		case listsName(path, "/tor/micro/d/", "-", unpadded.EncodeToString(d.microdescriptorDigest[:])):
			out = append(out, d.microdescriptor...)
		case path == "/tor/server/all",
			listsName(path, "/tor/server/d/", "+", fmt.Sprintf("%X", d.digest)),
			listsName(path, "/tor/server/fp/", "+", d.fingerprint):
			out = append(out, d.text...)
		case path == "/tor/extra/all",
			listsName(path, "/tor/extra/d/", "+", fmt.Sprintf("%X", d.extraInfoDigest)),
			listsName(path, "/tor/extra/fp/", "+", d.fingerprint):
			out = append(out, d.extraInfo...)
		}
	}
	return out, nil
}

// listsName reports whether path is prefix and a list of names with name in it.
// Names in hex may have any case of letters; those in base64 must be exact.
func listsName(path, prefix, separator, name string) bool {
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
