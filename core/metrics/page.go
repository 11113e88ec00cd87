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

What a server tells its stats plugins, every ten seconds. All of it is a sum over all clients since the server started, or a
number of now (gauge). Nothing is about one client, and there is no time of day in it. How the numbers look in a monitoring system,
with which prefix for example, is for the plugin to say. It knows the name of the server beside the numbers.

Names, units and labels do not change from release to release; new ones may come. A metric with a unit has it at the end of its
name, and what is merely counted has none.

The numbers are not secret from the operator, and yet not for everybody: who watches ` + "`connections_open` and `posts`" + ` closely can
tell when a group is awake, and who can also make a client post learns at which server it is. What is the same in all servers of a
relay shows which servers share one. Do not publish them as they are.

| metric | kind | unit | labels | |
|---|---|---|---|---|
`

// Markdown returns docs/metrics.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(pageIntro)
	everything := relay.Status{Store: &relay.StoreStatus{}}
	for _, m := range append(Of(everything), OfRelay(Relay{}, Status{})...) {
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
