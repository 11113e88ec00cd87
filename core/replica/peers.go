package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Peer is another relay with a replica of the board, as the operator has configured it.
type Peer struct {
	Name   string // for the operator
	Onion  identity.Onion
	Gives  bool // what it sends is stored
	Paused bool
	Quota  exchange.Quota
}

func (p Peer) role() string {
	if p.Gives {
		return "replica"
	}
	return "mirror"
}

// peersFormat is the version of the file that this package writes. Version 1 has hours in the
// place of seconds.
const peersFormat = 2

// peersFile is the file of the numbers of peers as JSON.
type peersFile struct {
	Format int            `json:"format"`
	Next   peersync.Peer  `json:"next"` // the lowest number that no peer has ever had
	Peers  []numberedPeer `json:"peers"`
}

// numberedPeer is what is remembered of a peer while it is configured: its number, and what it
// has used up of its quota by a certain time.
type numberedPeer struct {
	Onion     identity.Onion `json:"onion"`
	Number    peersync.Peer  `json:"number"`
	Envelopes uint64         `json:"envelopes"`
	Bytes     uint64         `json:"bytes"`
	Unix      int64          `json:"unix"`           // seconds
	Hour      storage.Hour   `json:"hour,omitempty"` // of version 1
}

// peerNumbers gives peers their numbers, which are in a file so that they last.
type peerNumbers struct {
	path string
	file peersFile
}

func loadPeerNumbers(path string) (*peerNumbers, error) {
	n := &peerNumbers{path: path, file: peersFile{Format: peersFormat, Next: 1}}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the numbers of peers: %w", err)
	}
	defer file.Close()
	if err := durable.Confirm(file); err != nil {
		return nil, fmt.Errorf("make %s durable: %w; check the disk", path, err)
	}
	if err := json.NewDecoder(file).Decode(&n.file); err != nil {
		return nil, fmt.Errorf("read the numbers of peers in %s: %w; restore it, or move it and the cursors beside it aside, and the boards are compared anew", path, err)
	}
	switch n.file.Format {
	case peersFormat:
	case 1:
		for i := range n.file.Peers { // nothing refills within the hour
			p := &n.file.Peers[i]
			p.Unix, p.Hour = int64(p.Hour+1)*3600, 0
		}
	default:
		return nil, fmt.Errorf("the numbers of peers in %s have format %d and this release knows formats up to %d: run the release that wrote them, or a later one", path, n.file.Format, peersFormat)
	}
	return n, nil
}

// setPeers gives new peers a number, and forgets those that are not among them. It returns the
// numbers in the order of peers, when they are durable. If they cannot be, it returns those of
// the peers that had one: to forget the others nothing has to be durable.
func (n *peerNumbers) setPeers(peers []Peer) (numbered []numberedPeer, err error) {
	var kept []numberedPeer
	next := peersFile{Format: peersFormat, Next: max(n.file.Next, 1)}
	for _, p := range peers {
		i := slices.IndexFunc(n.file.Peers, func(known numberedPeer) bool { return known.Onion == p.Onion })
		if i >= 0 {
			next.Peers = append(next.Peers, n.file.Peers[i])
			kept = append(kept, n.file.Peers[i])
			continue
		}
		next.Peers = append(next.Peers, numberedPeer{Onion: p.Onion, Number: next.Next})
		next.Next++
	}
	if next.Next == n.file.Next && len(next.Peers) == len(n.file.Peers) {
		n.file = next // only the order may differ
		return next.Peers, nil
	}
	if err := n.writeFile(next); err != nil {
		n.file.Peers = kept
		return kept, err
	}
	return next.Peers, nil
}

// saveSpent notes what the peers have used up of their quotas, and when: what is the same as before
// has been used up anew. It writes nothing as long as nothing is used up.
func (n *peerNumbers) saveSpent(spent func(peersync.Peer) exchange.Quota, now time.Time) error {
	next := peersFile{Format: peersFormat, Next: n.file.Next, Peers: slices.Clone(n.file.Peers)}
	matters := false
	for i := range next.Peers {
		p := &next.Peers[i]
		q := spent(p.Number)
		matters = matters || p.Envelopes+p.Bytes+q.EnvelopesPerHour+q.BytesPerDay > 0
		p.Envelopes, p.Bytes, p.Unix = q.EnvelopesPerHour, q.BytesPerDay, now.Unix()
	}
	if !matters {
		return nil
	}
	return n.writeFile(next)
}

// spentOf returns what a peer has used up of its quota, after what has refilled since then. A
// clock that went back refills nothing.
func (p numberedPeer) spentOf(q exchange.Quota, now time.Time) exchange.Quota {
	seconds := max(now.Unix()-p.Unix, 0)
	return exchange.Quota{
		EnvelopesPerHour: spentAfter(p.Envelopes, q.EnvelopesPerHour, float64(seconds)/3600),
		BytesPerDay:      spentAfter(p.Bytes, q.BytesPerDay, float64(seconds)/(24*3600)),
	}
}

// spentAfter returns what is left of what was used up when so many periods have refilled the limit.
func spentAfter(spent, limit uint64, periods float64) uint64 {
	refilled := float64(limit) * periods
	if refilled >= float64(spent) {
		return 0
	}
	return spent - uint64(refilled)
}

func (n *peerNumbers) writeFile(next peersFile) error {
	data, err := json.Marshal(next)
	if err == nil {
		err = durable.WriteFile(n.path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the numbers of peers: %w", err)
	}
	n.file = next
	return nil
}
