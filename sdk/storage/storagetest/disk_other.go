//go:build !linux

package storagetest

import "testing"

type smallDisk struct {
	dir       string
	ofProcess bool
}

func newSmallDisk(tb testing.TB, _ uint64) *smallDisk {
	tb.Skip("no way to make a small disk on this system")
	return nil
}

func (*smallDisk) growBy(testing.TB, uint64) {}
