package scan

import (
	"fmt"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// MaxGaps is how many ranges [Gaps] tells apart.
const MaxGaps = 256

// Range is a range of sequence numbers, both of which are in it.
type Range struct {
	First storage.Seq `json:"first"`
	Last  storage.Seq `json:"last"`
}

func (r Range) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d to %d", r.First, r.Last)
}

// Gaps are the sequence numbers that are missing from a log, ascending.
type Gaps struct {
	Count  uint64  `json:"count"`            // of numbers
	Ranges []Range `json:"ranges,omitempty"` // the first MaxGaps ranges
	More   uint64  `json:"more,omitempty"`   // ranges behind them
	Last   Range   `json:"last,omitzero"`    // the last range
}

// Add adds the numbers from first to last, which are higher than all before. It does nothing
// if there are none.
func (g *Gaps) Add(first, last storage.Seq) {
	if first > last {
		return
	}
	g.Count += uint64(last - first + 1)
	switch n := len(g.Ranges); {
	case n > 0 && g.Last.Last+1 == first:
		if g.Last.Last = last; g.More == 0 {
			g.Ranges[n-1] = g.Last
		}
		return
	case n < MaxGaps:
		g.Ranges = append(g.Ranges, Range{first, last})
	default:
		g.More++
	}
	g.Last = Range{first, last}
}

// Describe names the first most ranges, and how many others there are.
func (g *Gaps) Describe(most int) string {
	var b strings.Builder
	shown := min(most, len(g.Ranges))
	for i, r := range g.Ranges[:shown] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(r.String())
	}
	if others := uint64(len(g.Ranges)-shown) + g.More; others > 0 {
		fmt.Fprintf(&b, " and %d more ranges, the last of which is %v", others, g.Last)
	}
	return b.String()
}
