// Package powerloss holds the tests that put the storage plugins of this
// repository through power cuts.
//
// A store runs in a process that is traced (ptrace(2)): every write, truncation
// and sync of its files and every change of a name is recorded, with its data
// and in order, and so is the moment in which the store acknowledges something.
// A model of a disk replays such a trace up to any point and builds what a power
// cut at that point could leave. The checker opens each of these states as an
// ordinary store and demands what was acknowledged: every envelope at its place,
// none twice, no gap, no batch by half, no token that can be spent again.
//
// # The disk
//
// What was synced stays: the content of a file by a sync of the file, a name by a
// sync of its directory. Of everything younger any part may be there, in any
// order: writes whole, not at all, or torn at sectors of 512 bytes; sizes without
// data; names, or not. In some states a sector that was being written holds
// garbage. A sync that fails has written any part of what it should, and the page
// cache keeps the rest as clean: later readers see it, later syncs leave it out,
// and only POSIX_FADV_DONTNEED has it read from the disk.
//
// # Mutants
//
// A sync that is left out must be noticed. The model can be told to take no
// notice of a kind of sync, which is the same as a store without it, and then
// the checker has to find a violation.
package powerloss
