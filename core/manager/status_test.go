package manager

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"
)

// The status of a relay is read by programs: what "status -json" prints keeps its
// names, their order and what is left out when there is nothing to say.
func TestStatusAsJSON(t *testing.T) {
	var full Status
	fillValue(reflect.ValueOf(&full).Elem())
	empty := Status{Servers: []ServerStatus{{Others: []PluginStatus{{}}}}}
	var got []byte
	for _, st := range []Status{full, empty} {
		text, err := json.MarshalIndent(st, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(append(got, text...), '\n')
	}
	want, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// fillValue gives everything in v a value that is not zero, and slices one element.
func fillValue(v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1<<30, 0).UTC()))
	case v.CanInt():
		v.SetInt(1)
	case v.CanUint():
		v.SetUint(1)
	case v.Kind() == reflect.String:
		v.SetString("text")
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(v.Elem())
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillValue(v.Index(0))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fillValue(v.Field(i))
		}
	default:
		panic("no value for a " + v.Type().String())
	}
}
