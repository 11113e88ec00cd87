package sqlite

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

// image is a database as it is on the disk, the file and its log together, for SQLite to read
// without a file beside it: SQLite itself would have to make one, messages.sqlite-shm, to read
// a log. It is the one file of a file system. The pages that the log has are taken from there.
type image struct {
	file, log *os.File         // log is nil if the database has no log
	size      int64            // of the database, in bytes
	pages     map[uint32]int64 // where in the log pages are
	first     []byte           // stands in for the first page, if that is damaged
	seen      []atomic.Bool    // pages that were read
}

// imageName is the name of an image in its file system.
const imageName = "/image"

// openImage opens the database at path, and says what is wrong with its log.
func openImage(path string) (_ *image, faults []string, err error) {
	x := &image{}
	defer func() {
		if err != nil {
			x.closeImage()
		}
	}()
	if x.file, err = os.Open(path); err != nil {
		return nil, nil, err
	}
	x.size = fileSize(path)
	if fileSize(path+walSuffix) > 0 {
		if x.log, err = os.Open(path + walSuffix); err != nil {
			return nil, nil, err
		}
		var pages uint32
		if x.pages, pages, faults, err = readWAL(x.log); err != nil {
			return nil, nil, err
		}
		if len(x.pages) > 0 {
			// A log may claim any size.
			x.size = min(int64(pages), fileSize(path)/pageSize+int64(len(x.pages))) * pageSize
		}
	}
	x.seen = make([]atomic.Bool, x.size/pageSize+1)
	return x, faults, nil
}

func (x *image) closeImage() {
	for _, f := range []*os.File{x.file, x.log} {
		if f != nil {
			f.Close()
		}
	}
}

// countSeen returns how many bytes of the database were read.
func (x *image) countSeen() (n uint64) {
	for i := range x.seen {
		if x.seen[i].Load() {
			n += pageSize
		}
	}
	return min(n, uint64(x.size))
}

// Open implements [fs.FS]. SQLite asks for files beside the database, which are not there.
func (x *image) Open(name string) (fs.File, error) {
	if name != imageName {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &imageFile{image: x}, nil
}

// imageFile is an open image.
type imageFile struct {
	*image
	at int64
}

// Seek implements [io.Seeker]. SQLite seeks from the start only.
func (f *imageFile) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset < 0 {
		return 0, errors.New("seek: not from the start")
	}
	f.at = offset
	return offset, nil
}

// formatVersions is where the header of a database says that it has a log: two bytes that
// are 2 then, and 1 if not.
const formatVersions = 18

// Read implements [fs.File]. It reads to the end of a page at most.
func (f *imageFile) Read(b []byte) (int, error) {
	if f.at >= f.size {
		return 0, io.EOF
	}
	page, offset := uint32(f.at/pageSize)+1, f.at%pageSize
	b = b[:min(int64(len(b)), pageSize-offset, f.size-f.at)]
	f.seen[page-1].Store(true)
	from, at := f.file, f.at
	if frame, ok := f.pages[page]; ok {
		from, at = f.log, frame+offset
	}
	n, err := from.ReadAt(b, at)
	if page == 1 && f.first != nil {
		n, err = copy(b, f.first[offset:]), nil
	}
	for i := int64(formatVersions); i < formatVersions+2 && page == 1; i++ {
		if i >= offset && i < offset+int64(n) && b[i-offset] == 2 {
			b[i-offset] = 1
		}
	}
	f.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Stat implements [fs.File].
func (f *imageFile) Stat() (fs.FileInfo, error) { return imageInfo{f.size}, nil }

// Close implements [fs.File].
func (f *imageFile) Close() error { return nil }

// imageInfo is a [fs.FileInfo] of an image.
type imageInfo struct{ size int64 }

func (i imageInfo) Name() string     { return imageName }
func (i imageInfo) Size() int64      { return i.size }
func (imageInfo) Mode() fs.FileMode  { return 0o400 }
func (imageInfo) ModTime() time.Time { return time.Time{} }
func (imageInfo) IsDir() bool        { return false }
func (imageInfo) Sys() any           { return nil }

// The parts of a log of SQLite, see https://www.sqlite.org/fileformat2.html#walformat.
const (
	walHeaderSize = 32
	walFrameHead  = 24
	walFrameSize  = walFrameHead + pageSize
	walMagic      = 0x377f0682 // with the last bit set if checksums are of big-endian words
	walVersion    = 3007000
)

// readWAL returns where in a log the pages are that were committed last, how many pages the
// database has with them, and what is wrong with the log. It takes what SQLite would take.
//
// What a power cut has left of a commit that was not acknowledged is no fault, and looks like
// damage to the last commit. Damage before another commit is a fault.
func readWAL(log *os.File) (pages map[uint32]int64, size uint32, faults []string, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(log, 0, 1<<62), 1<<20)
	header := make([]byte, walHeaderSize)
	if n, err := io.ReadFull(in, header); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, 0, []string{fmt.Sprintf("it has %d bytes and is no log of SQLite; if it had commits, they are lost", n)}, nil
	} else if err != nil {
		return nil, 0, nil, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if header[3]&1 == 1 {
		order = binary.BigEndian
	}
	sum := walChecksum{order: order}
	sum.add(header[:24])
	if binary.BigEndian.Uint32(header)&^1 != walMagic || binary.BigEndian.Uint32(header[4:]) != walVersion ||
		binary.BigEndian.Uint32(header[8:]) != pageSize || !sum.isIn(header[24:]) {
		return nil, 0, []string{"its header is damaged, so that nothing of it can be used; if it had commits, they are lost"}, nil
	}
	salts := header[16:24]
	pages = make(map[uint32]int64)
	open := make(map[uint32]int64) // of a commit that may come
	frame := make([]byte, walFrameSize)
	for n := int64(0); ; n++ {
		if _, err := io.ReadFull(in, frame); err == io.EOF || err == io.ErrUnexpectedEOF {
			return pages, size, nil, nil
		} else if err != nil {
			return nil, 0, nil, err
		}
		sum.add(frame[:8])
		sum.add(frame[walFrameHead:])
		page := binary.BigEndian.Uint32(frame)
		if page == 0 || !bytes.Equal(frame[8:16], salts) || !sum.isIn(frame[16:24]) {
			lost, err := countCommits(in, frame, salts)
			if lost > 0 {
				faults = []string{fmt.Sprintf("frame %d is damaged; its commit and %d or more after it are lost", n+1, lost)}
			}
			return pages, size, faults, err
		}
		open[page] = walHeaderSize + n*walFrameSize + walFrameHead
		if committed := binary.BigEndian.Uint32(frame[4:]); committed > 0 {
			for page, at := range open {
				pages[page] = at
			}
			clear(open)
			size = committed
		}
	}
}

// countCommits returns how many commits a log has after that of a damaged frame, or after its
// end. SQLite begins one only when the one before is on the disk. It repeats the last frame of
// a commit to fill a sector, so only a frame that ends no commit begins another.
func countCommits(in io.Reader, frame, salts []byte) (n int, err error) {
	ended, open := false, false
	for err == nil {
		if bytes.Equal(frame[8:16], salts) { // else of the log before, or damaged
			ends := binary.BigEndian.Uint32(frame[4:]) > 0
			if ended && !ends && !open {
				n++
			}
			open = ended && !ends
			ended = ended || ends
		}
		_, err = io.ReadFull(in, frame)
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

// walChecksum is the checksum of a log up to a place.
type walChecksum struct {
	order  binary.ByteOrder
	s0, s1 uint32
}

// add adds bytes, a multiple of 8.
func (c *walChecksum) add(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		c.s0 += c.order.Uint32(b) + c.s1
		c.s1 += c.order.Uint32(b[4:]) + c.s0
	}
}

// isIn reports whether b begins with the checksum.
func (c *walChecksum) isIn(b []byte) bool {
	return binary.BigEndian.Uint32(b) == c.s0 && binary.BigEndian.Uint32(b[4:]) == c.s1
}
