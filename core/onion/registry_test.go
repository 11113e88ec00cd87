package onion

import (
	"strings"
	"testing"
)

func FuzzRegistryEntry(f *testing.F) {
	for _, seed := range []string{"127.0.0.1:9878", "127.0.0.1:1\n", "127.0.0.1:0", "[::1]:80", "10.0.0.1:80", "[::ffff:127.0.0.1]:1", "127.0.0.1%lo:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addr, err := parseEntry(text)
		if err != nil {
			return
		}
		if !strings.HasPrefix(addr.String(), "127.0.0.1:") || addr.Port() == 0 {
			t.Errorf("%q was taken for %s", text, addr)
		}
	})
}
