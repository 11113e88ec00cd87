//go:build !linux

package storagetest

import (
	"os"
	"testing"
)

// allocatedBytes returns about how many bytes of the disk a file takes.
func allocatedBytes(info os.FileInfo) uint64 { return uint64(info.Size()) }

type smallDisk struct {
	dir       string
	ofProcess bool
}

func newSmallDisk(tb testing.TB, _ uint64) *smallDisk {
	tb.Skip("no way to make a small disk on this system")
	return nil
}

func (*smallDisk) growBy(testing.TB, uint64) {}
