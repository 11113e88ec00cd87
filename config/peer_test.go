package config

import (
	"slices"
	"testing"
)

func TestPeers(t *testing.T) {
	const onion = "lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad"
	cfg, err := Load(writeConfig(t, `
		network "loopback" { registry = "net" }
		plugin "peersync" "mesh" {
			path = "mesh"
			dev  = true
		}
		server "main" {
			peersync "mesh" {}
			peer "alice" { onion = "`+onion+`.onion" }
		}
		server "other" {
			peersync "mesh" {}
			peer "bob" {
				onion              = "`+onion+`"
				role               = "mirror"
				envelopes_per_hour = 7
				bytes_per_day      = "2MiB"
				paused             = true
			}
		}
	`), testPlugins)
	if err != nil {
		t.Fatal(err)
	}
	alice, bob := cfg.Servers[0].Peers, cfg.Servers[1].Peers
	if want := []Peer{{Name: "alice", Onion: onion, EnvelopesPerHour: 10_000, BytesPerDay: 256 << 20, Range: alice[0].Range}}; !slices.Equal(alice, want) {
		t.Errorf("%+v, want %+v", alice, want)
	}
	if want := []Peer{{Name: "bob", Onion: onion, Mirror: true, EnvelopesPerHour: 7, BytesPerDay: 2 << 20, Paused: true, Range: bob[0].Range}}; !slices.Equal(bob, want) {
		t.Errorf("%+v, want %+v", bob, want)
	}
}
