package lab

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// A chart is drawn as SVG, without colours: the classes s0 to s7 get theirs from the page, in its
// light and its dark form. Series differ in the form of their marks and lines as well.

// Sizes of a chart in its own units. Texts have 12.
const (
	chartWidth  = 440.0
	chartHeight = 290.0
	marginLeft  = 58.0
	marginRight = 14.0
	marginTop   = 12.0
	marginBelow = 46.0
	maxSeries   = 8
)

// axis maps values to a place in the chart.
type axis struct {
	label     string
	from, to  float64 // values
	low, high float64 // places
	log       bool
	ticks     []tick
}

type tick struct {
	value float64
	label string
}

// place returns where a value is.
func (a axis) place(v float64) float64 {
	from, to := a.from, a.to
	if a.log {
		v, from, to = math.Log(max(v, a.from)), math.Log(from), math.Log(to)
	}
	return a.low + (min(max(v, from), to)-from)/(to-from)*(a.high-a.low)
}

// timeTicks are places on an axis of time.
var timeTicks = []tick{
	{0.1, "0.1 s"}, {1, "1 s"}, {10, "10 s"}, {60, "1 min"}, {600, "10 min"}, {3600, "1 h"}, {6 * 3600, "6 h"},
	{86400, "1 d"}, {7 * 86400, "7 d"}, {30 * 86400, "30 d"}, {365 * 86400, "1 y"},
}

// timeAxis is logarithmic, and has room for the given delays in seconds.
func timeAxis(label string, least, most float64) axis {
	a := axis{label: label, log: true, low: marginLeft, high: chartWidth - marginRight}
	first, last := 0, len(timeTicks)-1
	for first < last && timeTicks[first+1].value <= least {
		first++
	}
	for last > first+1 && timeTicks[last-1].value >= most {
		last--
	}
	a.ticks = timeTicks[first : last+1]
	a.from, a.to = a.ticks[0].value, a.ticks[len(a.ticks)-1].value
	if len(a.ticks) > 7 { // too narrow for all
		var some []tick
		for i, t := range a.ticks {
			if i%2 == 0 || i == len(a.ticks)-1 {
				some = append(some, t)
			}
		}
		a.ticks = some
	}
	return a
}

// shareAxis is from 0 to 100 %, upwards.
func shareAxis(label string) axis {
	a := axis{label: label, from: 0, to: 1, low: chartHeight - marginBelow, high: marginTop}
	for _, p := range []float64{0, 25, 50, 75, 100} {
		a.ticks = append(a.ticks, tick{p / 100, fmt.Sprintf("%.0f %%", p)})
	}
	return a
}

// series is a line of a chart.
type series struct {
	name   string
	points []point
	marks  bool
}

type point struct{ x, y float64 }

// chart is a drawing with its height.
type chart struct {
	SVG    template.HTML
	Height float64
}

// drawing collects the elements of a chart.
type drawing struct {
	strings.Builder
	height float64
}

func (d *drawing) addf(format string, args ...any) { fmt.Fprintf(d, format, args...) }

// begin starts a chart. A person who cannot see it hears its title and description.
func (d *drawing) begin(height float64, title, description string) {
	d.height = height
	d.addf(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s"><title>%s</title><desc>%s</desc>`, chartWidth, height, html.EscapeString(title+". "+description), html.EscapeString(title), html.EscapeString(description))
}

func (d *drawing) end() chart {
	d.addf("</svg>")
	return chart{template.HTML(d.String()), d.height} //nolint:gosec // all texts were escaped
}

func (d *drawing) text(x, y float64, anchor, class, text string) {
	d.addf(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, html.EscapeString(text))
}

// horizontal draws the axis below a chart of a height.
func (d *drawing) horizontal(a axis, height float64) {
	base := height - marginBelow
	for i, t := range a.ticks {
		x, anchor := a.place(t.value), "middle"
		if i == len(a.ticks)-1 && x > chartWidth-marginRight-12 {
			anchor = "end"
			x += marginRight - 2
		}
		d.addf(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="grid"/>`, a.place(t.value), a.place(t.value), marginTop, base)
		d.text(x, base+16, anchor, "tick", t.label)
	}
	d.text((a.low+a.high)/2, height-8, "middle", "label", a.label)
}

// vertical draws the axis on the left.
func (d *drawing) vertical(a axis) {
	for _, t := range a.ticks {
		y := a.place(t.value)
		d.addf(`<line x1="%g" x2="%g" y1="%.1f" y2="%.1f" class="grid"/>`, marginLeft, chartWidth-marginRight, y, y)
		d.text(marginLeft-6, y+4, "end", "tick", t.label)
	}
	d.addf(`<text transform="translate(13 %.1f) rotate(-90)" text-anchor="middle" class="label">%s</text>`, (a.low+a.high)/2, html.EscapeString(a.label))
}

// mark draws a mark of a series: each has another form.
func (d *drawing) mark(n int, x, y float64) {
	switch n % 4 {
	case 0:
		d.addf(`<circle cx="%.1f" cy="%.1f" r="4" class="mark s%d"/>`, x, y, n%maxSeries)
	case 1:
		d.addf(`<rect x="%.1f" y="%.1f" width="7.5" height="7.5" class="mark s%d"/>`, x-3.75, y-3.75, n%maxSeries)
	case 2:
		d.addf(`<path d="M%.1f %.1fl5 8.5h-10z" class="mark s%d"/>`, x, y-5, n%maxSeries)
	default:
		d.addf(`<path d="M%.1f %.1fl5 5l-5 5l-5 -5z" class="mark s%d"/>`, x, y-5, n%maxSeries)
	}
}

// lineChart draws lines.
func lineChart(title string, x, y axis, lines []series) chart {
	var d drawing
	d.begin(chartHeight, title, describeLines(x, y, lines))
	d.horizontal(x, chartHeight)
	d.vertical(y)
	for n, s := range lines {
		if len(s.points) == 0 {
			continue
		}
		var path strings.Builder
		for i, p := range s.points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x.place(p.x), y.place(p.y))
		}
		d.addf(`<path d="%s" class="line s%d d%d"/>`, path.String(), n%maxSeries, n%4)
		for i, p := range s.points {
			if s.marks || i == len(s.points)-1 {
				d.mark(n, x.place(p.x), y.place(p.y))
			}
		}
	}
	return d.end()
}

// describeLines says in words where lines begin and end.
func describeLines(x, y axis, lines []series) string {
	text := fmt.Sprintf("Lines of %s against %s.", y.label, x.label)
	for _, s := range lines {
		if n := len(s.points); n > 0 {
			text += fmt.Sprintf(" %s: from %s to %s.", s.name, formatShare(s.points[0].y), formatShare(s.points[n-1].y))
		}
	}
	return text
}

// bar is a row of a chart of bars.
type bar struct {
	name  string
	parts []float64
}

const (
	rowHeight = 30.0
	nameWidth = 120.0
)

// barChart draws bars of parts, one below the other.
func barChart(title, label string, parts []string, bars []bar) chart {
	most := 1.0
	for _, b := range bars {
		most = max(most, sumOf(b.parts))
	}
	step := niceStep(most)
	height := marginTop + rowHeight*float64(len(bars)) + marginBelow
	x := axis{label: label, from: 0, to: math.Ceil(most/step) * step, low: nameWidth, high: chartWidth - marginRight - 12}
	for v := 0.0; v <= x.to*1.001; v += step {
		x.ticks = append(x.ticks, tick{v, formatBytes(v)})
	}
	var d drawing
	description := "Bars."
	for _, b := range bars {
		description += fmt.Sprintf(" %s: %s in all", b.name, formatBytes(sumOf(b.parts)))
		for i, p := range b.parts {
			description += fmt.Sprintf(", %s %s", parts[i], formatBytes(p))
		}
		description += "."
	}
	d.begin(height, title, description)
	d.horizontal(x, height)
	for row, b := range bars {
		y := marginTop + rowHeight*float64(row)
		d.text(nameWidth-6, y+rowHeight/2+4, "end", "tick", shorten(b.name, 17))
		at := 0.0
		for i, p := range b.parts {
			d.addf(`<rect x="%.1f" y="%.1f" width="%.2f" height="%g" class="bar s%d"/>`, x.place(at), y+5, max(x.place(at+p)-x.place(at), 0), rowHeight-10, i%maxSeries)
			at += p
		}
	}
	return d.end()
}

func sumOf(list []float64) (sum float64) {
	for _, v := range list {
		sum += v
	}
	return sum
}

// niceStep returns a round number of which about four make most.
func niceStep(most float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, n := range []float64{1, 2, 5} {
		if most/4 <= n*unit {
			return n * unit
		}
	}
	return 10 * unit
}

// shorten cuts a text that has no room.
func shorten(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// interval is a row of a chart of delays: the median and the 95th percentile.
type interval struct {
	name     string
	series   int
	from, to float64 // less than 0: never
}

// intervalChart draws intervals on an axis of time, one below the other.
func intervalChart(title, label string, rows []interval) chart {
	least, most, description := math.Inf(1), 1.0, "Intervals from the median to the 95th percentile."
	for _, r := range rows {
		if r.from >= 0 {
			least, most = min(least, max(r.from, 0.1)), max(most, r.from, r.to)
		}
		description += fmt.Sprintf(" %s: %s to %s.", r.name, formatSeconds(r.from), formatSeconds(r.to))
	}
	height := marginTop + 22*float64(len(rows)) + marginBelow
	x := timeAxis(label, min(least, 1), most)
	x.low, x.high = 148, chartWidth-marginRight-18
	var d drawing
	d.begin(height, title, description)
	d.horizontal(x, height)
	for i, r := range rows {
		y := marginTop + 22*float64(i) + 11
		d.text(x.low-8, y+4, "end", "tick", shorten(r.name, 22))
		if r.from < 0 {
			d.text(x.low+4, y+4, "start", "tick", "never")
			continue
		}
		to := r.to
		if r.to < 0 {
			to = x.to
			d.addf(`<path d="M%.1f %.1fl8 5l-8 5z" class="mark s%d"/>`, x.high+4, y-5, r.series%maxSeries)
		}
		d.addf(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="span s%d"/>`, x.place(r.from), x.place(to), y, y, r.series%maxSeries)
		d.mark(r.series, x.place(r.from), y)
	}
	return d.end()
}
