package metrics

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

const pageIntro = `# Metrics

<!-- Generated from the table in core/metrics. Do not edit. -->

A server passes these metrics to its stats plugins every ten seconds. A counter is a sum over all clients since the server started; a
gauge is a present value. No metric is about a single client, and none has a time of day. The plugin decides how the metrics look in
a monitoring system, for example which prefix they have. It also knows the name of the server.

Names, units and labels do not change between releases; new ones may be added. If a metric has a unit, its name ends in the unit.
A metric without a unit counts something.

The metrics are for the operator only. Somebody who watches ` + "`connections_open` and `posts`" + ` closely can tell when a group
is awake. If they can also make a client post, they learn which server the client uses. Equal values of several servers show that
these servers share a relay. Do not publish the metrics as they are.

| metric | kind | unit | labels | |
|---|---|---|---|---|
`

// Markdown returns docs/metrics.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(pageIntro)
	everything := relay.Status{Store: &relay.StoreStatus{}, Budget: relay.BudgetStatus{PostsPerHour: 1, BytesPerDay: 1}}
	for _, m := range append(readAll(serverTable, everything), readAll(relayTable, relayFigures{})...) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Kind, m.Unit, listLabels(m.Points), m.Doc)
	}
	return b.String()
}

// listLabels lists the labels of a metric, each with all its values.
func listLabels(points []stats.Point) string {
	var text []string
	for i, l := range points[0].Labels {
		var values []string
		for _, p := range points {
			if value := "`" + p.Labels[i].Value + "`"; !slices.Contains(values, value) {
				values = append(values, value)
			}
		}
		text = append(text, fmt.Sprintf("`%s`: %s", l.Name, strings.Join(values, ", ")))
	}
	return strings.Join(text, "; ")
}
