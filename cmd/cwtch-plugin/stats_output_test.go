package main

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// inText has the numbers of both texts below.
var inText = []stats.Metric{
	{Name: "append_seconds", Kind: stats.Histogram, Points: []stats.Point{
		{Count: 2, Sum: -3.5, Buckets: []stats.Bucket{{UpTo: 0.25, Count: 1}, {UpTo: math.Inf(1), Count: 2}}},
	}},
	{Name: "posts", Kind: stats.Counter, Points: []stats.Point{
		{Labels: []stats.Label{{Name: "result", Value: `sto"red`}}, Value: 3},
		{Labels: []stats.Label{{Name: "result", Value: ""}}, Value: 0},
	}},
	{Name: "stored_bytes", Kind: stats.Gauge, Points: []stats.Point{{Value: 4096}}},
}

const prometheusText = `# TYPE go_goroutines gauge
go_goroutines 7
# TYPE x_posts_total counter
x_posts_total{result="sto\"red",server="club"} 3
x_posts_total{result="",server="club"} 0
# HELP x_stored_bytes Room.
# TYPE x_stored_bytes gauge
x_stored_bytes{server="club"} 4096
# TYPE x_append_seconds histogram
x_append_seconds_bucket{le="0.25"} 1
x_append_seconds_bucket{le="+Inf"} 2
x_append_seconds_sum -3.5
x_append_seconds_count 2
`

const linesText = `{"name":"posts","kind":"counter","labels":{"result":"sto\"red","server":"club"},"value":3}
{"name":"stored_bytes","kind":"gauge","unit":"bytes","value":4096}
{"name":"posts","kind":"counter","labels":{"result":""},"value":0}
{"name":"append_seconds","kind":"histogram","count":2,"sum":-3.5,"buckets":[{"up_to":"0.25","count":1},{"up_to":"+Inf","count":2}]}
`

func TestStatsOutput(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"n.prom": prometheusText, "n.jsonl": linesText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, prometheusText)
	}))
	defer web.Close()
	for _, s := range []statsOutput{{at: "n.prom", prefix: "x_"}, {at: "n.jsonl"}, {at: web.URL + "/metrics", prefix: "x_"}} {
		if err := s.validate(plugin.KindStats); err != nil {
			t.Error(err)
		}
		got := s.reader()(t, dir, nil)
		slices.SortFunc(got, func(a, b stats.Metric) int { return strings.Compare(a.Name, b.Name) })
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", inText) { // nil or empty is the same
			t.Errorf("%s: got\n%+v, want\n%+v", s.at, got, inText)
		}
	}
	if got := (&statsOutput{at: "not yet.prom"}).reader()(t, dir, nil); len(got) > 0 {
		t.Errorf("a file that is not there shows %+v", got)
	}
	if (&statsOutput{}).reader() != nil {
		t.Error("without -shows something is read")
	}
}

// TestHostileStatsOutput shows what a plugin gains by what it shows: nothing.
func TestHostileStatsOutput(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(secret, []byte(prometheusText), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(secret, filepath.Join(dir, "link.prom")); err != nil {
		t.Fatal(err)
	}
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for chunk := make([]byte, 1<<20); r.Context().Err() == nil; {
			w.Write(chunk)
		}
	}))
	defer endless.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler(endless.URL, http.StatusFound))
	defer elsewhere.Close()
	for at, want := range map[string]string{
		"link.prom":   "escapes",
		endless.URL:   "more than 64 MiB",
		elsewhere.URL: "answers 302",
	} {
		if _, err := (&statsOutput{at: at}).readText(t.Context(), dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", at, err, want)
		}
	}
	for at, text := range map[string]string{"a.prom": "\x00", "a.jsonl": "{", "b.jsonl": `{"buckets":[{"up_to":"NaN"}]}`} {
		if got, err := (&statsOutput{at: at}).parse([]byte(text)); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
	for _, s := range []statsOutput{{at: "/etc/passwd"}, {at: "../keys"}, {at: "https://example.org"}, {prefix: "x_"}} {
		if s.validate(plugin.KindStats) == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	if (&statsOutput{at: "n.prom"}).validate(plugin.KindStorage) == nil {
		t.Error("a store shows numbers")
	}
}
