package metrics

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// fullStatus returns a status in which every number is different, and how many there are.
func fullStatus(t *testing.T) (st relay.Status, numbers int) {
	t.Helper()
	st.Store = &relay.StoreStatus{}
	var fill func(reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			fill(v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					fill(v.Field(i))
				}
			}
		case reflect.Uint64:
			numbers++
			v.SetUint(uint64(1) << numbers)
		case reflect.Int64:
			numbers++
			v.SetInt(int64(1) << numbers)
		}
	}
	for _, part := range []any{st.Store, &st.Posts, &st.Reads, &st.Tokens, &st.BoardConnections, &st.TokenConnections} {
		fill(reflect.ValueOf(part))
	}
	st.Tokens.Failed = st.Tokens.Refused + st.Tokens.Failed
	return st, numbers
}

func TestEveryNumberIsThereOnce(t *testing.T) {
	st, numbers := fullStatus(t)
	snapshot := stats.Snapshot{Epoch: stats.NewEpoch(), Seq: 1, Metrics: readAll(serverTable, st)}
	if err := snapshot.Validate(); err != nil {
		t.Fatal(err)
	}
	sum, want := uint64(0), uint64(0)
	for _, m := range snapshot.Metrics {
		for _, p := range m.Points {
			if m.Name != "board_serving" {
				sum += uint64(p.Value)
			}
		}
	}
	for n := 1; n <= numbers; n++ {
		want += 1 << n
	}
	// Counted for the board alone: no client authenticates to the token service.
	c := st.TokenConnections
	want -= c.Unauthenticated + c.Malformed + c.Idle + c.Stuck + c.Unserved
	if sum != want {
		t.Errorf("the sum of all numbers is %b, want %b", sum, want)
	}
}

func TestMetricsWithoutStore(t *testing.T) {
	for _, m := range readAll(serverTable, relay.Status{Problem: "lost"}) {
		if strings.HasPrefix(m.Name, "stored_") {
			t.Errorf("%s is there while the store does not answer", m.Name)
		}
		if m.Name == "board_serving" && m.Points[0].Value != 0 {
			t.Error("a board that refuses to serve is shown as serving")
		}
	}
}

// No text of a status may get into the metrics.
func TestLabelsAreFixedWords(t *testing.T) {
	words := regexp.MustCompile(`^[a-z_]+$`)
	st, _ := fullStatus(t)
	st.Problem = "a secret"
	for _, m := range readAll(serverTable, st) {
		for _, p := range m.Points {
			for _, l := range p.Labels {
				if !words.MatchString(l.Value) {
					t.Errorf("%s has the label %s=%q", m.Name, l.Name, l.Value)
				}
			}
		}
	}
}

// TestAgeOfTheFloor shows that it is in whole hours, absent without a floor, and never
// negative.
func TestAgeOfTheFloor(t *testing.T) {
	hour := time.Now().Truncate(time.Hour)
	for name, c := range map[string]struct {
		floor *time.Time
		want  []float64
	}{"none": {nil, nil}, "ten hours ago": {new(hour.Add(-10 * time.Hour)), []float64{36000, 39600}}, "to come": {new(hour.Add(10 * time.Hour)), []float64{0}}} {
		st := relay.Status{Store: &relay.StoreStatus{Floor: c.floor}}
		for _, m := range readAll(serverTable, st) {
			if m.Name == "stored_floor_age_seconds" && !slices.Contains(c.want, m.Points[0].Value) {
				t.Errorf("%s: %v", name, m.Points)
			}
			if m.Name == "stored_floor_age_seconds" {
				c.want = nil
			}
		}
		if c.want != nil {
			t.Errorf("%s: there is no metric", name)
		}
	}
}
