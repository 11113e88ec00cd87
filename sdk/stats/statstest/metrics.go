package statstest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// counterOf returns a counter with the value n.
func counterOf(n float64) stats.Metric {
	return stats.Metric{Name: "posts", Doc: "Posts.", Kind: stats.Counter, Points: []stats.Point{{Value: n}}}
}

// allMetrics returns metrics of every kind, with points that are easily confused.
func allMetrics(n uint64) []stats.Metric {
	return []stats.Metric{
		{Name: "posts", Doc: "Posts, by what became of them.", Kind: stats.Counter, Points: []stats.Point{
			{Labels: makeLabels("how", "x", "result", "refused"), Value: 0},
			{Labels: makeLabels("how", "x", "result", "stored"), Value: float64(n)},
			{Labels: makeLabels("how", "y", "result", "stored"), Value: float64(3 * n)},
		}},
		{Name: "connections", Kind: stats.Gauge, Points: []stats.Point{{Value: -float64(n)}}},
		{Name: "post_seconds", Unit: "seconds", Kind: stats.Histogram, Points: []stats.Point{{
			Count: 3 * n, Sum: 0.1 * float64(n),
			Buckets: makeBuckets(0.005, 0, 0.25, float64(n), 1, float64(2*n), math.Inf(1), float64(3*n)),
		}}},
	}
}

// oddMetrics returns metrics with rare but valid values and texts.
func oddMetrics() []stats.Metric {
	return []stats.Metric{
		{Name: "a", Kind: stats.Counter, Points: []stats.Point{{Value: math.MaxFloat64}}},
		{Name: "b_1__", Kind: stats.Gauge, Points: []stats.Point{{Value: 0.1}}},
		{Name: "c", Kind: stats.Gauge, Points: []stats.Point{{Value: -math.SmallestNonzeroFloat64}}},
		{Name: "d", Kind: stats.Counter}, // nothing occurred so far
		{Name: "e", Kind: stats.Counter, Points: []stats.Point{
			{Labels: makeLabels("l", ""), Value: 1},
			{Labels: makeLabels("l", `quo"te\n`), Value: 1 << 53},
			{Labels: makeLabels("l", "äöü 邮"), Value: 3},
			{Labels: makeLabels("l", "{a=b},"), Value: 4},
		}},
		{Name: "f", Kind: stats.Histogram, Points: []stats.Point{
			{Labels: makeLabels("op", "no values"), Buckets: makeBuckets(math.Inf(1), 0)},
			{Labels: makeLabels("op", "negative"), Count: 2, Sum: -5, Buckets: makeBuckets(-1, 1, math.Inf(1), 2)},
		}},
	}
}

// largestMetrics returns MaxMetrics metrics that reach as many bounds as fit below MaxBytes: one
// metric and one of its points reach every bound, the others have MaxPoints points.
func largestMetrics() []stats.Metric {
	metrics := make([]stats.Metric, stats.MaxMetrics)
	for i := range metrics {
		name := fmt.Sprintf("m%0*d_seconds", stats.MaxName-len("m_seconds"), i)
		metrics[i] = stats.Metric{Name: name, Unit: "seconds", Doc: strings.Repeat("d", 200), Kind: stats.Gauge}
		for j := range stats.MaxPoints {
			metrics[i].Points = append(metrics[i].Points, stats.Point{Labels: makeLabels("p", fmt.Sprint(j)), Value: float64(j)})
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

// makeLabels makes labels from pairs of a name and a value.
func makeLabels(pairs ...string) (out []stats.Label) {
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, stats.Label{Name: pair[0], Value: pair[1]})
	}
	return out
}

// makeBuckets makes buckets from pairs of a bound and a count.
func makeBuckets(pairs ...float64) (out []stats.Bucket) {
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, stats.Bucket{UpTo: pair[0], Count: uint64(pair[1])})
	}
	return out
}
