// Package powerloss tests the storage plugins of this repository with power cuts.
//
// A store runs in a traced process (ptrace(2)). The tracer records every write,
// truncation and sync of its files and every change of a name, with data and in order,
// and each moment in which the store acknowledges something. A model of a disk replays a
// trace up to any point and builds files as a power cut at that point could leave them.
// The checker opens these files as an ordinary store and demands what was acknowledged:
// every envelope at its place, none twice, no gap, no half of a batch, and no token that
// can be spent again.
//
// # The disk
//
// What was synced stays: the content of a file after a sync of the file, a name after a
// sync of its directory. Of everything younger any part may be there, in any order: whole
// writes, no writes, or writes torn at sectors of 512 bytes; sizes without data; names, or
// no names. In some states a sector that was being written holds garbage. A failed sync
// has written any part of what it should, and the page cache keeps the rest as clean:
// later readers see it, later syncs leave it out, and only POSIX_FADV_DONTNEED has it read
// from the disk.
//
// # Missing syncs
//
// A missing sync must be noticed. The model can ignore a kind of sync, as if the store did
// not make it; then the checker has to find a violation.
package powerloss
