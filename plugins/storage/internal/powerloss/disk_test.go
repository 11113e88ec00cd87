//go:build linux && amd64

package powerloss

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

const sectorSize = 512

// disk is the model: what is durable of each inode, and what is younger.
type disk struct {
	root  uint64 // the directory that was there before
	files map[uint64]*file
	dirs  map[uint64]*dir
	rand  *rand.Rand
	// garbage: what is in a sector that is being written is lost.
	garbage bool
}

type file struct {
	durable []byte
	pending []event // writes and truncations
	// cached is what readers see. It differs from the others after a failed sync: the
	// kernel marks the lost pages as clean.
	cached []byte
}

// dir has names. An unnameEvent has its child too, so that names that are lost
// and kept in any order make sense.
type dir struct {
	durable map[string]uint64
	pending []event
}

func newDisk(root uint64, random *rand.Rand) *disk {
	return &disk{root: root, rand: random, files: make(map[uint64]*file), dirs: map[uint64]*dir{root: {durable: map[string]uint64{}}}}
}

func (d *disk) clone(random *rand.Rand) *disk {
	c := &disk{root: d.root, rand: random, files: make(map[uint64]*file, len(d.files)), dirs: make(map[uint64]*dir, len(d.dirs)), garbage: d.garbage}
	for ino, f := range d.files {
		// Slices of bytes are replaced, never changed; see apply.
		c.files[ino] = &file{f.durable, f.pending[:len(f.pending):len(f.pending)], f.cached}
	}
	for ino, x := range d.dirs {
		c.dirs[ino] = &dir{maps.Clone(x.durable), x.pending[:len(x.pending):len(x.pending)]}
	}
	return c
}

func (d *disk) file(ino uint64) *file {
	if d.files[ino] == nil {
		d.files[ino] = &file{}
	}
	return d.files[ino]
}

func (d *disk) dir(ino uint64) *dir {
	if d.dirs[ino] == nil {
		d.dirs[ino] = &dir{durable: make(map[string]uint64)}
	}
	return d.dirs[ino]
}

// playEvent does what an event does.
func (d *disk) playEvent(e event) {
	switch e.kind {
	case writeEvent, truncateEvent:
		f := d.file(e.ino)
		f.pending = append(f.pending, e)
		f.cached = applyWrite(f.cached, e)
	case nameEvent, unnameEvent:
		if e.isDir {
			d.dir(e.child)
		}
		d.dir(e.ino).pending = append(d.dir(e.ino).pending, e)
	case renameEvent:
		d.dir(e.ino).pending = append(d.dir(e.ino).pending, event{kind: unnameEvent, ino: e.ino, name: e.name, child: e.child})
		d.dir(e.to).pending = append(d.dir(e.to).pending, event{kind: nameEvent, ino: e.to, name: e.toName, child: e.child})
	case syncEvent:
		d.sync(e.ino)
	case failedSyncEvent:
		d.failSync(e.ino)
	case forgetEvent:
		f := d.file(e.ino)
		f.cached = bytes.Clone(f.durable)
		for _, w := range f.pending { // is dirty, and stays
			f.cached = overwrite(f.cached, w)
		}
	}
}

func (d *disk) sync(ino uint64) {
	if x := d.dirs[ino]; x != nil {
		for _, e := range x.pending {
			x.playEvent(e)
		}
		x.pending = nil
		return
	}
	f := d.file(ino)
	if len(f.pending) > 0 {
		f.durable = bytes.Clone(f.durable)
	}
	for _, e := range f.pending {
		f.durable = overwrite(f.durable, e)
	}
	f.pending = nil
}

// failSync writes some of what is younger and loses the rest, which stays in the
// cache.
func (d *disk) failSync(ino uint64) {
	if x := d.dirs[ino]; x != nil {
		return // the journal of the file system still has it
	}
	f := d.file(ino)
	f.durable = d.cutFile(f)
	f.pending = nil
}

func (x *dir) playEvent(e event) {
	if e.kind == nameEvent {
		x.durable[e.name] = e.child
	} else if x.durable[e.name] == e.child {
		delete(x.durable, e.name)
	}
}

// applyWrite returns content after a write or a truncation. Clones of a disk share
// slices, so it changes none.
func applyWrite(content []byte, e event) []byte {
	return overwrite(bytes.Clone(content), e)
}

// overwrite is apply for content that nobody else has.
func overwrite(content []byte, e event) []byte {
	end := e.offset + int64(len(e.data))
	if e.kind == truncateEvent && end < int64(len(content)) {
		return content[:end]
	}
	if n := end - int64(len(content)); n > 0 {
		content = append(content, make([]byte, n)...)
	}
	copy(content[e.offset:], e.data)
	return content
}

// powerCut makes of the disk one that a power cut could leave.
func (d *disk) powerCut() {
	for _, ino := range slices.Sorted(maps.Keys(d.dirs)) {
		x := d.dirs[ino]
		keep := d.chooseKept(len(x.pending))
		for i, e := range x.pending {
			if keep(i) {
				x.playEvent(e)
			}
		}
		x.pending = nil
	}
	for _, ino := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[ino]
		f.durable = d.cutFile(f)
		f.pending, f.cached = nil, f.durable
	}
}

// chooseKept says of n things which are kept: none, all, any, all but one, or one.
func (d *disk) chooseKept(n int) func(int) bool {
	one := 0
	if n > 0 {
		one = d.rand.IntN(n)
	}
	switch d.rand.IntN(6) {
	case 0:
		return func(int) bool { return false }
	case 1:
		return func(int) bool { return true }
	case 2:
		return func(i int) bool { return i != one }
	case 3:
		return func(i int) bool { return i == one }
	case 4:
		return func(i int) bool { return i < one }
	default:
		return func(int) bool { return d.rand.IntN(2) == 0 }
	}
}

// cutFile returns what a power cut could leave of a file.
func (d *disk) cutFile(f *file) []byte {
	content := bytes.Clone(f.durable)
	keep := d.chooseKept(len(f.pending))
	tear := d.rand.IntN(3) == 0
	for i, e := range f.pending {
		switch {
		case e.kind == writeEvent && tear:
			content = d.tearWrite(content, e)
		case keep(i):
			content = overwrite(content, e)
		}
	}
	if n := len(f.cached); n > len(content) && d.rand.IntN(4) == 0 { // a size without data
		content = overwrite(content, event{kind: truncateEvent, offset: int64(n)})
	}
	return content
}

// tearWrite writes some sectors of a write, and garbage into the one where it stopped
// if the disk is of that kind.
func (d *disk) tearWrite(content []byte, e event) []byte {
	keep := d.chooseKept(len(e.data)/sectorSize + 1)
	broken := -1
	if d.garbage {
		broken = d.rand.IntN(len(e.data)/sectorSize + 1)
	}
	for i, at := 0, 0; at < len(e.data); i++ {
		end := min(len(e.data), at+sectorSize-int(e.offset+int64(at))%sectorSize)
		switch {
		case i == broken:
			content = d.fillSector(content, (e.offset+int64(at))/sectorSize*sectorSize)
		case keep(i):
			content = overwrite(content, event{kind: writeEvent, offset: e.offset + int64(at), data: e.data[at:end]})
		}
		at = end
	}
	return content
}

// fillSector fills a sector with garbage.
func (d *disk) fillSector(content []byte, at int64) []byte {
	garbage := make([]byte, sectorSize)
	for i := range garbage {
		garbage[i] = byte(d.rand.Uint32())
	}
	return overwrite(content, event{kind: writeEvent, offset: at, data: garbage})
}

// buildFiles makes the directory with what a reader sees: of names the youngest, of
// files what is cached. It returns the same disk with the inodes that it has now.
func (d *disk) buildFiles(path string) (*disk, error) {
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, err
	}
	b := builder{disk: d, inodes: map[uint64]uint64{d.root: inodeOf(path)}, paths: make(map[uint64]string)}
	if err := b.dir(d.root, path); err != nil {
		return nil, err
	}
	now := newDisk(b.inodes[d.root], d.rand)
	now.garbage = d.garbage
	for ino, f := range d.files {
		now.files[b.inode(ino)] = &file{f.durable, b.renumber(f.pending), f.cached}
	}
	for ino, x := range d.dirs {
		next := &dir{make(map[string]uint64), b.renumber(x.pending)}
		for name, child := range x.durable {
			next.durable[name] = b.inode(child)
		}
		now.dirs[b.inode(ino)] = next
	}
	return now, nil
}

type builder struct {
	*disk
	inodes map[uint64]uint64 // by those in the model
	paths  map[uint64]string
}

// inode returns the new number of an inode. One that nobody sees, since only the
// removal of its name is not durable yet, gets a number that no other has.
func (b *builder) inode(ino uint64) uint64 {
	if n := b.inodes[ino]; n != 0 {
		return n
	}
	return ino | 1<<63
}

func (b *builder) renumber(events []event) (list []event) {
	for _, e := range events {
		e.ino, e.child = b.inode(e.ino), b.inode(e.child)
		list = append(list, e)
	}
	return list
}

func (b *builder) dir(ino uint64, path string) error {
	names := dir{durable: maps.Clone(b.dirs[ino].durable)}
	for _, e := range b.dirs[ino].pending {
		names.playEvent(e)
	}
	for _, name := range slices.Sorted(maps.Keys(names.durable)) {
		if err := b.child(names.durable[name], filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) child(ino uint64, path string) (err error) {
	switch {
	case b.paths[ino] != "":
		return os.Link(b.paths[ino], path)
	case b.dirs[ino] != nil:
		err = os.Mkdir(path, 0o700)
	default:
		err = os.WriteFile(path, b.file(ino).cached, 0o600)
	}
	b.inodes[ino], b.paths[ino] = inodeOf(path), path
	if err == nil && b.dirs[ino] != nil {
		err = b.dir(ino, path)
	}
	return err
}
