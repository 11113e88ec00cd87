package e2e_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestAttacks runs each attack for some seconds. An attack fails if its honest
// client is turned away or waits too long.
func TestAttacks(t *testing.T) {
	for name, args := range map[string][]string{
		"connect": {"-time", "3s", "-connections", "128"},
		"buy":     {"-time", "5s"},
		"replay":  {"-time", "3s", "-envelopes", "500", "-readers", "20"},
		"fill":    {"-time", "5s", "-posters", "16", "-posts", "10000"},
	} {
		t.Run(name, func(t *testing.T) {
			args = append(append([]string{"-relay", filepath.Join(bin, "cwtch-relay")}, args...), name)
			out, err := exec.CommandContext(t.Context(), "cwtch-attack", args...).CombinedOutput()
			t.Logf("\n%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}
