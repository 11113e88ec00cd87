package replica

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// LinkStatus is the link to a peer as the operator sees it. Its JSON form is part of the output
// of the status command. The counts are since the relay started.
type LinkStatus struct {
	Name   string         `json:"name"`
	Number peersync.Peer  `json:"number"` // as in the report of the plugin
	Onion  identity.Onion `json:"onion"`
	Role   string         `json:"role"` // replica, or mirror: nothing is taken from it
	// State is up, connecting, down until NextDial, refused until then for what the peer has
	// done, or paused.
	State string `json:"state"`
	// Since is when it came up or went down.
	Since *time.Time `json:"since,omitempty"`
	// Reason is why the link is down, or why the last one has ended.
	Reason string `json:"reason,omitempty"`
	// NextDial is when this relay tries to connect next.
	NextDial *time.Time `json:"next_dial,omitempty"`

	// What the peer says: its plugin, whether it takes envelopes, how many it has, and by how
	// many seconds its clock was ahead.
	Version    string `json:"version,omitempty"`
	Takes      bool   `json:"takes,omitempty"`
	Envelopes  uint64 `json:"envelopes,omitempty"`
	ClockAhead int64  `json:"clock_ahead_seconds,omitempty"`

	EnvelopesIn  uint64 `json:"envelopes_in"` // that came, new or not
	EnvelopesOut uint64 `json:"envelopes_out"`

	BytesIn   uint64 `json:"bytes_in"` // frames, without what encryption and Tor add
	BytesOut  uint64 `json:"bytes_out"`
	BodiesIn  uint64 `json:"bodies_in"` // bytes of envelopes among them
	BodiesOut uint64 `json:"bodies_out"`
	// Stored envelopes came from this peer first, Known ones were there, Refused ones were
	// too old, over quota, invalid or lost.
	Stored  uint64 `json:"stored"`
	Known   uint64 `json:"known"`
	Refused uint64 `json:"refused"`

	// How much of its quotas the peer has used up now, and the quotas of an hour and of a day.
	QuotaEnvelopes   uint64 `json:"quota_envelopes"`
	QuotaBytes       uint64 `json:"quota_bytes"`
	EnvelopesPerHour uint64 `json:"envelopes_per_hour"`
	BytesPerDay      uint64 `json:"bytes_per_day"`
}

// linkStatuses returns the links to the peers that are configured.
func (r *Replica) linkStatuses() []LinkStatus {
	r.lockEngine()
	defer r.unlockQuietly()
	list := make([]LinkStatus, 0, len(r.peers))
	for i, p := range r.peers {
		c := r.configured[i]
		s := LinkStatus{
			Name: c.Name, Number: p.Number, Onion: c.Onion, Role: c.role(), State: "down",
			EnvelopesPerHour: c.Quota.EnvelopesPerHour, BytesPerDay: c.Quota.BytesPerDay,
		}
		t := r.traffic[p.Number]
		s.BytesIn, s.BytesOut = t.in, t.out
		l := r.links[p.Number]
		if l != nil {
			s.BytesIn, s.BytesOut = s.BytesIn+l.in.Load(), s.BytesOut+l.out.Load()
		}
		if r.engine == nil {
			s.Reason = "the plugin does not run yet"
		} else if known, ok := r.engine.Status(p.Number); ok {
			r.describeLink(&s, known)
		}
		switch {
		case c.Paused:
			s.State, s.Reason, s.NextDial = "paused", "", nil
		case s.State != "up" && (l != nil || r.dialing[p.Number]):
			s.State, s.NextDial = "connecting", nil // or the other side has not said what it is
		case s.State != "up" && r.dialErrors[p.Number] != "":
			s.Reason = r.dialErrors[p.Number]
		}
		list = append(list, s)
	}
	return list
}

// describeLink fills in what the engine knows of a link.
func (r *Replica) describeLink(s *LinkStatus, known exchange.PeerStatus) {
	if known.Up {
		s.State = "up"
	} else if known.Barred {
		s.State = "refused"
	}
	if known.Since > 0 {
		s.Since = new(r.begin.Add(known.Since).UTC())
	}
	if at, wanted := r.engine.NextDial(s.Number); wanted && r.open && r.dial != nil {
		s.NextDial = new(r.begin.Add(at).UTC())
	}
	s.Reason, s.Version, s.Takes, s.Envelopes = known.Reason, known.Version, known.Takes, known.State.Count
	s.ClockAhead = int64(known.Clock / time.Second)
	s.BodiesIn, s.BodiesOut = known.BodiesIn, known.BodiesOut
	s.EnvelopesIn, s.EnvelopesOut = known.EnvelopesIn, known.EnvelopesOut
	s.Stored, s.Known, s.Refused = known.Stored, known.Known, known.Refused
	s.QuotaEnvelopes, s.QuotaBytes = known.Spent.EnvelopesPerHour, known.Spent.BytesPerDay
}
