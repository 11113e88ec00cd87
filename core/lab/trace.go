package lab

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Trace says when somebody is online.
type Trace struct {
	Kind     string // always, office, phone, churn or explicit
	Online   float64
	Session  time.Duration
	Sessions int // a day
	From, To int // hours of the day
	Zones    []int
	On       []span
}

// span is a time from one moment until before another, since the beginning.
type span struct{ from, to time.Duration }

const (
	defaultChurn = 3 * time.Hour
	defaultPhone = 5 * time.Minute
	day          = 24 * time.Hour
)

// tracesOf are the kinds of trace that an attribute is for.
var tracesOf = map[string][]string{
	"online": {"churn"}, "session": {"churn", "phone"}, "sessions": {"phone"}, "on": {"explicit"},
	"from": {"office", "phone"}, "to": {"office", "phone"}, "zones": {"office", "phone"},
}

// checkTrace refuses attributes that say nothing for the trace.
func (r *reader) checkTrace(kind string) {
	for _, name := range slices.Sorted(maps.Keys(tracesOf)) {
		if kinds := tracesOf[name]; r.values[name] != nil && !slices.Contains(kinds, kind) {
			r.refuse(name, fmt.Sprintf("%s has no effect with the trace %q", name, kind), "It is for "+strings.Join(kinds, " and ")+`. Write for example: trace = "`+kinds[0]+`"`)
		}
	}
}

// readTrace reads the attributes of traceAttributes.
func (r *reader) readTrace() Trace {
	t := Trace{Kind: r.text("trace"), Session: r.time("session"), Sessions: int(cmp.Or(r.number("sessions"), 12)), From: 9, To: 17}
	r.checkTrace(t.Kind)
	if t.Kind == "phone" {
		t.From, t.To = 7, 23
	}
	if r.values["from"] != nil {
		t.From = int(r.number("from"))
	}
	if r.values["to"] != nil {
		t.To = int(r.number("to"))
	}
	if t.To <= t.From {
		r.refuse("to", "The day ends before it begins", "")
	}
	share, ok := parsePercent(cmp.Or(r.text("online"), "50%"), 1)
	if !ok {
		r.refuse("online", "online is not a share of the time", `Write a number from 1 to 100 and a percent sign, as in "25%".`)
	}
	t.Online = share
	if t.Session == 0 && t.Kind == "churn" {
		t.Session = defaultChurn
	}
	if t.Session == 0 && t.Kind == "phone" {
		t.Session = defaultPhone
	}
	for _, text := range r.texts("zones") {
		zone, err := strconv.Atoi(text)
		if err != nil || zone < -12 || zone > 14 {
			r.refuse("zones", fmt.Sprintf("%q is not a time zone", text), "Write hours from -12 to 14.")
		}
		t.Zones = append(t.Zones, zone)
	}
	for _, text := range r.texts("on") {
		from, to, _ := strings.Cut(text, "-")
		a, errA := time.ParseDuration(from)
		b, errB := time.ParseDuration(to)
		if errA != nil || errB != nil || a < 0 || b <= a || len(t.On) > 0 && a <= t.On[len(t.On)-1].to {
			r.refuse("on", fmt.Sprintf("%q is not a time after the one before", text), `Write two times with a hyphen between them, as in "20h-30h".`)
		}
		t.On = append(t.On, span{a, b})
	}
	if t.Kind == "explicit" && len(t.On) == 0 {
		r.refuse("on", "explicit needs times", `Write for example: on = ["0h-8h", "20h-30h"]`)
	}
	return t
}

// spans returns when number i of a group is online, ascending, until end.
func (t Trace) spans(i int, end time.Duration, rng *rand.Rand) []span {
	zone := 0
	if len(t.Zones) > 0 {
		zone = t.Zones[i%len(t.Zones)]
	}
	switch t.Kind {
	case "office":
		return t.officeSpans(zone, end, rng)
	case "phone":
		return t.phoneSpans(zone, end, rng)
	case "churn":
		return t.churnSpans(end, rng)
	case "explicit":
		return t.On
	}
	return []span{{0, end}}
}

// startOfDay is when a day begins in a time zone. The beginning of the simulation is a Monday, 0:00 UTC.
func startOfDay(n, zone int) time.Duration {
	return time.Duration(n)*day - time.Duration(zone)*time.Hour
}

// officeSpans are from Monday to Friday. People come and go up to half an hour early or late.
func (t Trace) officeSpans(zone int, end time.Duration, rng *rand.Rand) (out []span) {
	vary := func() time.Duration { return time.Duration(rng.Int64N(int64(time.Hour))) - 30*time.Minute }
	for n := -1; startOfDay(n, zone) < end; n++ {
		from := startOfDay(n, zone) + time.Duration(t.From)*time.Hour + vary()
		to := startOfDay(n, zone) + time.Duration(t.To)*time.Hour + vary()
		if (n+7)%7 < 5 {
			out = appendSpan(out, span{from, to}, end)
		}
	}
	return out
}

// phoneSpans are at any time while the owner is awake.
func (t Trace) phoneSpans(zone int, end time.Duration, rng *rand.Rand) (out []span) {
	awake := int64(t.To-t.From) * int64(time.Hour)
	for n := -1; startOfDay(n, zone) < end; n++ {
		starts := make([]time.Duration, t.Sessions)
		for i := range starts {
			starts[i] = startOfDay(n, zone) + time.Duration(t.From)*time.Hour + time.Duration(rng.Int64N(awake))
		}
		slices.Sort(starts)
		for _, from := range starts {
			out = appendSpan(out, span{from, from + drawMean(rng, t.Session)}, end)
		}
	}
	return out
}

// churnSpans are of random length, with random times between them.
func (t Trace) churnSpans(end time.Duration, rng *rand.Rand) (out []span) {
	if t.Online >= 1 {
		return []span{{0, end}}
	}
	away := time.Duration(float64(t.Session) * (1 - t.Online) / t.Online)
	at := time.Duration(0)
	if rng.Float64() >= t.Online {
		at = drawMean(rng, away)
	}
	for at < end {
		to := at + drawMean(rng, t.Session)
		out = appendSpan(out, span{at, to}, end)
		at = to + drawMean(rng, away)
	}
	return out
}

// appendSpan adds a span, as far as it is between the last one and the end.
func appendSpan(spans []span, s span, end time.Duration) []span {
	s.from, s.to = max(s.from, 0), min(s.to, end)
	if n := len(spans); n > 0 && s.from <= spans[n-1].to {
		spans[n-1].to = max(spans[n-1].to, s.to)
		return spans
	}
	if s.to <= s.from {
		return spans
	}
	return append(spans, s)
}

// drawMean draws a time with an exponential distribution, at least a second.
func drawMean(rng *rand.Rand, mean time.Duration) time.Duration {
	return max(time.Duration(rng.ExpFloat64()*float64(mean)), time.Second)
}
