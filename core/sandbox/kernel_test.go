package sandbox

import (
	"strings"
	"testing"
)

func TestMissing(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		kernel kernelSupport
		want   []string // a part of each sentence
	}{
		{"all", Policy{}, kernelSupport{9, true, true, true}, nil},
		{"all with grants", Policy{Network: Open, Processes: true}, kernelSupport{9, true, true, true}, nil},
		{"seccomp is enough", Policy{}, kernelSupport{3, true, true, true}, nil},
		{"Linux 6.12 with connections", Policy{Network: Open}, kernelSupport{6, true, true, true}, []string{"unix sockets of other programs"}},
		{"Linux 6.1", Policy{Processes: true}, kernelSupport{2, true, true, true}, []string{"emptying files", "signals"}},
		{"Linux 6.1 with connections", Policy{Network: Open}, kernelSupport{2, true, true, true}, []string{"emptying files", "abstract", "other programs"}},
		{"sockets", Policy{Sockets: []string{"/run/x"}, Hide: true}, kernelSupport{9, true, true, true}, nil},
		{"Linux 6.12 with sockets", Policy{Sockets: []string{"/run/x"}, Hide: true}, kernelSupport{6, true, true, true}, []string{"/dev and /etc"}},
		{"Linux 6.12 with sockets in plain view", Policy{Sockets: []string{"/run/x"}}, kernelSupport{6, true, true, true}, []string{"other programs"}},
		{"Linux 6.1 with sockets", Policy{Sockets: []string{"/run/x"}, Hide: true}, kernelSupport{2, true, true, true}, []string{"emptying files", "abstract", "/dev and /etc"}},
		{"no Landlock", Policy{}, kernelSupport{0, true, true, true}, []string{"no Landlock"}},
		{"no seccomp", Policy{}, kernelSupport{7, false, true, true}, []string{"no seccomp", "other programs"}},
		{"nothing", Policy{}, kernelSupport{ownMounts: true, countsTasks: true}, []string{"no Landlock", "no seccomp", "TCP connections", "abstract", "other programs"}},
		{"no namespaces", Policy{Hide: true}, kernelSupport{landlock: 9, seccomp: true}, []string{"mounts of its own", "limit the threads"}},
		{"root", Policy{Hide: true}, kernelSupport{landlock: 9, seccomp: true, ownMounts: true}, []string{"limit the threads"}},
	} {
		got := c.policy.listMissing(c.kernel)
		ok := len(got) == len(c.want)
		for i := 0; ok && i < len(got); i++ {
			ok = strings.Contains(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
