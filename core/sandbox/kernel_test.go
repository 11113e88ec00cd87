package sandbox

import (
	"strings"
	"testing"
)

func TestMissing(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		kernel kernel
		want   []string // a part of each sentence
	}{
		{"all", Policy{}, kernel{9, true}, nil},
		{"all with grants", Policy{Network: Open, Unix: true, Processes: true}, kernel{9, true}, nil},
		{"seccomp is enough", Policy{}, kernel{3, true}, nil},
		{"Linux 6.12", Policy{Unix: true}, kernel{6, true}, []string{"unix sockets of other programs"}},
		{"Linux 6.1", Policy{Processes: true}, kernel{2, true}, []string{"emptying files", "signals"}},
		{"Linux 6.1 with connections", Policy{Network: Open}, kernel{2, true}, []string{"emptying files", "abstract", "other programs"}},
		{"listening and calling", Policy{Network: Listen, Unix: true}, kernel{3, true}, []string{"TCP connections", "abstract", "other programs"}},
		{"no Landlock", Policy{}, kernel{0, true}, []string{"no Landlock"}},
		{"no seccomp", Policy{}, kernel{7, false}, []string{"no seccomp", "other programs"}},
		{"nothing", Policy{}, kernel{}, []string{"no Landlock", "no seccomp", "TCP connections", "abstract", "other programs"}},
	} {
		got := c.policy.missing(c.kernel)
		ok := len(got) == len(c.want)
		for i := 0; ok && i < len(got); i++ {
			ok = strings.Contains(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
