package mesh

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// reportEvery is the time between two reports.
const reportEvery = 2 * time.Second

// reporter tells the operator how far the peers are.
type reporter struct {
	told   peersync.Report
	begun  bool
	nextAt time.Duration
}

// update sends a report if it differs from the last one.
func (t *reporter) update(ctx context.Context, r *replicator) {
	if t.begun && r.now < t.nextAt {
		return
	}
	report := r.makeReport()
	if t.begun && reflect.DeepEqual(report, t.told) {
		return
	}
	if r.host.Report(ctx, report) == nil {
		t.told, t.begun, t.nextAt = report, true, r.now+reportEvery
	}
}

func (r *replicator) makeReport() peersync.Report {
	var report peersync.Report
	inStep := 0
	for _, number := range r.configured {
		p := r.findPeer(number)
		if p == nil {
			report.Peers = append(report.Peers, peersync.PeerReport{Peer: number, Summary: "not connected"})
			continue
		}
		entry := r.describePeer(p)
		if p.repair == nil && entry.Lacks+entry.Missing == 0 && p.schedule.done {
			inStep++
		}
		report.Peers = append(report.Peers, entry)
	}
	report.Summary = fmt.Sprintf("%d of %d peers connected, %d in step", len(r.peers), len(r.configured), inStep)
	return report
}

// describePeer says how far a peer is.
func (r *replicator) describePeer(p *peer) peersync.PeerReport {
	t := &p.transfer
	entry := peersync.PeerReport{
		Peer:    p.number,
		Lacks:   uint64(len(p.tail.seqs) + len(t.haves) + len(t.offered)),
		Missing: uint64(len(t.needs) + len(t.requested)),
	}
	if p.takes && !p.tail.atEnd && r.state.Last >= p.tail.next {
		entry.Lacks += uint64(r.state.Last - p.tail.next + 1) // as far as they are not known there
	}
	switch behind := entry.Lacks + entry.Missing; {
	case p.breach != "":
		entry.Summary = "being disconnected: " + p.breach
	case !p.gives && !p.takes:
		entry.Summary = "neither gives nor takes"
	case r.now < p.sendAt && entry.Lacks > 0:
		entry.Summary = "takes nothing more for now, because its quota is used up or its store fails"
	case r.now < p.takeAt && entry.Missing > 0:
		entry.Summary = "its quota here is used up"
	case len(t.copies) > 0:
		entry.Summary = "it has next to nothing of a part of the board, which is copied"
	case p.repair != nil && p.repair.copying:
		entry.Summary = "it copies a part of the board to this relay"
	case p.repair != nil:
		entry.Summary = fmt.Sprintf("being compared, %d of %d windows left", p.repair.countLeft(), len(p.repair.windows))
	case behind > 0:
		entry.Summary = fmt.Sprintf("behind by %d envelopes", behind)
	default:
		entry.Summary = "in step"
	}
	if p.breach == "" {
		entry.Summary += r.describeRepair(p)
	}
	return entry
}

// countLeft returns how many windows may differ and are not done.
func (re *repair) countLeft() int {
	if !re.compared {
		return len(re.windows)
	}
	return re.expected + re.inFlight + len(re.first) + len(re.answered)
}

// describeRepair says when both ends were last compared, and what repairs have moved.
func (r *replicator) describeRepair(p *peer) string {
	text := "; not compared yet"
	if p.schedule.done {
		switch age := r.now - p.schedule.doneAt; {
		case age < time.Minute:
			text = "; compared within the last minute"
		case age < time.Hour:
			text = fmt.Sprintf("; compared %d min ago", int(age.Minutes()))
		default:
			text = fmt.Sprintf("; compared %d h ago", int(age.Hours()))
		}
	}
	if t := &p.transfer; t.sent+t.received > 0 {
		text += fmt.Sprintf("; repairs sent %d and received %d envelopes", t.sent, t.received)
	}
	return text
}
