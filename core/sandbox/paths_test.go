package sandbox

import (
	"encoding/json"
	"testing"
)

func FuzzEscapePath(f *testing.F) {
	for _, path := range []string{"", "/var/lib", "/caf\xe9/\xff", "/100%/%41", "/\u2028\n\t\"'\\", "/é\ufffd"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		text, err := json.Marshal(Policy{Dir: path, Read: []string{path}, Write: []string{path}}.mapPaths(escapePath))
		if err != nil {
			t.Fatal(err)
		}
		var p Policy
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		if p = p.mapPaths(unescapePath); p.Dir != path || p.Read[0] != path || p.Write[0] != path {
			t.Errorf("%q became %q", path, p.Dir)
		}
	})
}
