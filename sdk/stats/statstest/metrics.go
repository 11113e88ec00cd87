package statstest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// counted is a counter of n.
func counted(n float64) stats.Metric {
	return stats.Metric{Name: "posts", Doc: "Posts.", Kind: stats.Counter, Points: []stats.Point{{Value: n}}}
}

// all has every kind, with points that are easily confused.
func all(n uint64) []stats.Metric {
	return []stats.Metric{
		{Name: "posts", Doc: "Posts, by what became of them.", Kind: stats.Counter, Points: []stats.Point{
			{Labels: labels("how", "x", "result", "refused"), Value: 0},
			{Labels: labels("how", "x", "result", "stored"), Value: float64(n)},
			{Labels: labels("how", "y", "result", "stored"), Value: float64(3 * n)},
		}},
		{Name: "connections", Kind: stats.Gauge, Points: []stats.Point{{Value: -float64(n)}}},
		{Name: "post_seconds", Unit: "seconds", Kind: stats.Histogram, Points: []stats.Point{{
			Count: 3 * n, Sum: 0.1 * float64(n),
			Buckets: buckets(0.005, 0, 0.25, float64(n), 1, float64(2*n), math.Inf(1), float64(3*n)),
		}}},
	}
}

// odd has values and texts that are valid and seldom.
func odd() []stats.Metric {
	return []stats.Metric{
		{Name: "a", Kind: stats.Counter, Points: []stats.Point{{Value: math.MaxFloat64}}},
		{Name: "b_1__", Kind: stats.Gauge, Points: []stats.Point{{Value: 0.1}}},
		{Name: "c", Kind: stats.Gauge, Points: []stats.Point{{Value: -math.SmallestNonzeroFloat64}}},
		{Name: "d", Kind: stats.Counter}, // nothing occurred so far
		{Name: "e", Kind: stats.Counter, Points: []stats.Point{
			{Labels: labels("l", ""), Value: 1},
			{Labels: labels("l", `quo"te\n`), Value: 1 << 53},
			{Labels: labels("l", "äöü 邮"), Value: 3},
			{Labels: labels("l", "{a=b},"), Value: 4},
		}},
		{Name: "f", Kind: stats.Histogram, Points: []stats.Point{
			{Labels: labels("op", "no values"), Buckets: buckets(math.Inf(1), 0)},
			{Labels: labels("op", "negative"), Count: 2, Sum: -5, Buckets: buckets(-1, 1, math.Inf(1), 2)},
		}},
	}
}

// largest fills every bound that fits below MaxBytes together: one metric and
// one point have all they can have, the rest is as many as there may be.
func largest() []stats.Metric {
	metrics := make([]stats.Metric, stats.MaxMetrics)
	for i := range metrics {
		name := fmt.Sprintf("m%0*d_seconds", stats.MaxName-len("m_seconds"), i)
		metrics[i] = stats.Metric{Name: name, Unit: "seconds", Doc: strings.Repeat("d", 200), Kind: stats.Gauge}
		for j := range stats.MaxPoints {
			metrics[i].Points = append(metrics[i].Points, stats.Point{Labels: labels("p", fmt.Sprint(j)), Value: float64(j)})
		}
	}
	metrics[0].Kind = stats.Histogram
	metrics[0].Unit = strings.Repeat("u", stats.MaxName-len("m_"))
	metrics[0].Name, metrics[0].Doc = "m_"+metrics[0].Unit, strings.Repeat("d", stats.MaxText)
	metrics[0].Points = []stats.Point{{Count: stats.MaxBuckets, Sum: 1}}
	p := &metrics[0].Points[0]
	for i := range stats.MaxLabels {
		p.Labels = append(p.Labels, stats.Label{Name: fmt.Sprintf("l%0*d", stats.MaxName-1, i), Value: strings.Repeat("v", stats.MaxValue)})
	}
	for i := range stats.MaxBuckets {
		p.Buckets = append(p.Buckets, stats.Bucket{UpTo: float64(i), Count: uint64(i + 1)})
	}
	p.Buckets[stats.MaxBuckets-1].UpTo = math.Inf(1)
	return metrics
}

// labels makes labels of names and values.
func labels(pairs ...string) (out []stats.Label) {
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, stats.Label{Name: pair[0], Value: pair[1]})
	}
	return out
}

// buckets makes buckets of bounds and counts.
func buckets(pairs ...float64) (out []stats.Bucket) {
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, stats.Bucket{UpTo: pair[0], Count: uint64(pair[1])})
	}
	return out
}
