package lab

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"slices"
)

//go:embed page.html
var pageText string

// chartStyle has the colours and the lines of charts, on the page and in files of their own.
//
//go:embed chart.css
var chartStyle string

// pageTemplate has everything in it: the page makes no request.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"share": formatShare, "bytes": func(n uint64) string { return formatBytes(float64(n)) }, "seconds": formatSeconds,
	"unmet":  func(r Result) string { return formatShare(float64(r.Unmet) / float64(max(r.Messages, 1))) },
	"nameIn": func(s section, r Result) string { return s.name(r) },
	"swatch": drawSwatch,
}).Parse(pageText))

// figure is a chart with its legend.
type figure struct {
	Title   string
	Chart   chart
	Legend  []string
	Caption string
}

// section is a scenario on the page.
type section struct {
	ScenarioReport
	Figures []figure
}

// renderPage draws the page.
func (r *Report) renderPage() []byte {
	data := struct {
		Sections []section
		Broken   []Violation
		Runs     int
		Style    template.CSS
	}{Broken: r.Broken(), Style: template.CSS(chartStyle)}
	for _, s := range r.Scenarios {
		data.Sections = append(data.Sections, section{s, s.drawFigures()})
		for _, res := range s.Results {
			data.Runs += res.Seeds
		}
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, data); err != nil {
		panic(err) // nothing in it can fail
	}
	return b.Bytes()
}

// drawSwatch draws the mark of a series for a legend.
func drawSwatch(n int) template.HTML {
	var d drawing
	d.addf(`<svg viewBox="0 0 16 16" aria-hidden="true">`)
	d.mark(n, 8, 8)
	return d.end().SVG
}

// renderPicture draws a figure as a file of its own, with its title and its legend.
func (f *figure) renderPicture() []byte {
	const lineHeight, top = 20.0, 30.0
	var legend drawing
	x, y := marginLeft, top+f.Chart.Height+lineHeight
	for i, name := range f.Legend {
		width := 34 + 6.5*float64(len([]rune(name)))
		if x > marginLeft && x+width > chartWidth {
			x, y = marginLeft, y+lineHeight
		}
		legend.mark(i, x, y-4)
		legend.text(x+12, y, "start", "label", name)
		x += width
	}
	height := y + lineHeight/2
	var d drawing
	d.addf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g"><style>%s</style>`, chartWidth, height, chartWidth*1.5, height*1.5, chartStyle)
	d.addf(`<rect width="100%%" height="100%%" class="back"/><text x="%g" y="20" class="label title">%s</text>`, marginTop, template.HTMLEscapeString(f.Title))
	d.addf(`<svg y="%g" width="%g" height="%g">%s</svg>%s</svg>`, top, chartWidth, f.Chart.Height, f.Chart.SVG, legend.String())
	return []byte(d.String() + "\n")
}

// drawFigures draws the charts of a scenario.
func (s *ScenarioReport) drawFigures() (out []figure) {
	if len(s.points()) > 1 {
		out = append(out, s.drawSweep("Messages that arrive within an hour", func(r Result) float64 { return r.WithinHour })...)
		out = append(out, s.drawSweep("Messages that arrive within a day", func(r Result) float64 { return r.WithinDay })...)
		out = append(out, s.drawSweep("Messages for which no core peer could be reached at once", func(r Result) float64 {
			return float64(r.Unmet) / float64(max(r.Messages, 1))
		})...)
		if len(s.points()) > 6 {
			return out
		}
	}
	return append(out, s.drawCurves(), s.drawDelays("peers"), s.drawDelays("members"), s.drawBytes())
}

func (s *ScenarioReport) points() (out []Point) {
	for _, r := range s.Results {
		if !slices.Contains(out, r.Point) {
			out = append(out, r.Point)
		}
	}
	return out
}

func (s *ScenarioReport) algorithms() (out []string) {
	for _, r := range s.Results {
		if !slices.Contains(out, r.Algorithm) {
			out = append(out, r.Algorithm)
		}
	}
	return out
}

// name names a result within its scenario.
func (s *ScenarioReport) name(r Result) string {
	switch {
	case len(s.points()) == 1:
		return r.Algorithm
	case len(s.algorithms()) == 1:
		return r.Point.label()
	}
	return r.Algorithm + ", " + r.Point.label()
}

// RowsAre says what the rows of the table are: algorithms, or points of the sweep.
func (s *ScenarioReport) RowsAre() string {
	if len(s.points()) > 1 && len(s.algorithms()) == 1 {
		return "point"
	}
	return "algorithm"
}

// drawSweep draws a share against the online share, with a chart for each algorithm and a line for
// each number of peers; or against the number of peers, with a line for each algorithm.
func (s *ScenarioReport) drawSweep(title string, value func(Result) float64) (out []figure) {
	if !slices.ContainsFunc(s.Results, func(r Result) bool { return r.Online != s.Results[0].Online }) {
		x := axis{label: "core peers", from: 0, to: 1, low: marginLeft, high: chartWidth - marginRight}
		for _, p := range s.points() {
			x.to = max(x.to, float64(p.Count))
			x.ticks = append(x.ticks, tick{float64(p.Count), fmt.Sprint(p.Count)})
		}
		lines := s.collectLines("", func(r Result) (string, float64) { return r.Algorithm, float64(r.Count) }, value)
		return []figure{newLineFigure(title, x, lines)}
	}
	x := axis{label: "share of the time that a core peer is online", from: 0, to: 1, low: marginLeft, high: chartWidth - marginRight}
	x.ticks = shareAxis("").ticks
	for _, algorithm := range s.algorithms() {
		lines := s.collectLines(algorithm, func(r Result) (string, float64) {
			switch r.Count {
			case 0:
				return algorithm, r.Online
			case 1:
				return "1 core peer", r.Online
			}
			return fmt.Sprintf("%d core peers", r.Count), r.Online
		}, value)
		full := title
		if len(s.algorithms()) > 1 {
			full += ", " + algorithm
		}
		out = append(out, newLineFigure(full, x, lines))
	}
	return out
}

// collectLines makes lines of the results of an algorithm, or of all. place returns to which line
// a result belongs, and where.
func (s *ScenarioReport) collectLines(algorithm string, place func(Result) (string, float64), value func(Result) float64) (lines []series) {
	for _, r := range s.Results {
		if algorithm != "" && r.Algorithm != algorithm {
			continue
		}
		name, at := place(r)
		i := slices.IndexFunc(lines, func(l series) bool { return l.name == name })
		if i < 0 {
			i = len(lines)
			lines = append(lines, series{name: name, marks: true})
		}
		lines[i].points = append(lines[i].points, point{at, value(r)})
	}
	return lines
}

func newLineFigure(title string, x axis, lines []series) figure {
	f := figure{Title: title, Chart: lineChart(title, x, shareAxis("share of messages"), lines)}
	for _, l := range lines {
		f.Legend = append(f.Legend, l.name)
	}
	return f
}

// drawCurves draws how many of the messages have arrived after which delay.
func (s *ScenarioReport) drawCurves() figure {
	f := figure{Title: "How many messages have arrived after which delay", Caption: "All pairs of a message and a member other than its author count. What has not arrived by the end is missing from the top."}
	var lines []series
	least, most := 60.0, 60.0
	for _, r := range s.Results {
		l := series{name: s.name(r)}
		if len(r.Curve) > 0 {
			l.points = append(l.points, point{r.Curve[0].Seconds / 1.2, 0})
		}
		for _, p := range r.Curve {
			l.points = append(l.points, point{p.Seconds, p.Share})
			least, most = min(least, p.Seconds), max(most, p.Seconds)
		}
		lines, f.Legend = append(lines, l), append(f.Legend, l.name)
	}
	f.Chart = lineChart(f.Title, timeAxis("delay since the message was written", least, most), shareAxis("share of messages"), lines)
	return f
}

// drawDelays draws how long it takes until so many have a message.
func (s *ScenarioReport) drawDelays(who string) figure {
	f := figure{Title: "Delay until the core peers have a message", Caption: "From the first acknowledgement. A mark is the median, a line leads to the 95th percentile, and an arrow means that it is never reached."}
	if who == "members" {
		f.Title, f.Caption = "Delay until the members have a message", "From writing; the author does not count."
	}
	var rows []interval
	for i, share := range []string{"50 %", "95 %", "100 %"} {
		for n, r := range s.Results {
			q := r.Peers[i]
			if who == "members" {
				q = r.Members[i]
			}
			rows = append(rows, interval{name: share + ", " + s.name(r), series: n, from: q.P50, to: q.P95})
		}
	}
	f.Chart = intervalChart(f.Title, "delay", rows)
	return f
}

// byteKinds are the parts of what passes links.
var byteKinds = []string{"bodies, new", "bodies, known", "ids", "messages of the plugin", "control", "padding"}

// drawBytes draws what has passed the links.
func (s *ScenarioReport) drawBytes() figure {
	f := figure{Title: "Bytes on the links between core peers", Legend: byteKinds, Caption: "New bodies are those that the receiver lacked. Each algorithm carried the same messages."}
	var bars []bar
	for _, r := range s.Results {
		fresh := min(r.ReplicatedBytes, r.Bodies)
		bars = append(bars, bar{s.name(r), []float64{float64(fresh), float64(r.Bodies - fresh), float64(r.IDs), float64(r.Tally.Messages), float64(r.Control), float64(r.Padding)}})
	}
	f.Chart = barChart(f.Title, "bytes, all seeds together", byteKinds, bars)
	return f
}
