package limits

import (
	"reflect"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Each limit of the table is a field of its own, and each field is in the table.
func TestTableHasEveryField(t *testing.T) {
	var l Limits
	for i, row := range Table {
		row.Set(&l, int64(i+1))
	}
	fields := reflect.ValueOf(l)
	if fields.NumField() != len(Table) {
		t.Fatalf("%d fields and %d limits", fields.NumField(), len(Table))
	}
	for i := range fields.NumField() {
		if got := fields.Field(i).Int(); got != int64(i+1) {
			t.Errorf("%s is %d, want %d as %s", fields.Type().Field(i).Name, got, i+1, Table[i].Name)
		}
	}
}

func TestSchemaIsValid(t *testing.T) {
	for _, s := range []plugin.Schema{Schema(), RetentionSchema()} {
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestChanged(t *testing.T) {
	got := Changed(Limits{TokenBatch: 1, QueueBytes: 2}, Limits{TokenBatch: 2, QueueBytes: 2, ConnectionsPerSecond: 1})
	if want := []string{"connections_per_second", "token_batch"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, row := range Table {
		var l Limits
		row.Set(&l, 1)
		if got := Changed(Limits{}, l); !slices.Equal(got, []string{row.Name}) {
			t.Errorf("%s: got %q", row.Name, got)
		}
	}
}

func TestLive(t *testing.T) {
	for _, row := range Table {
		var l Limits
		row.Set(&l, 1)
		ofTheBoard := slices.Contains([]string{"queue_records", "queue_bytes", "post_timeout"}, row.Name)
		if live := l.Live(Limits{}); live == ofTheBoard {
			t.Errorf("%s is live: %v", row.Name, live)
		}
	}
}
