package bolt

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
)

// Places in a file of bbolt, in the byte order of the machine
// (go.etcd.io/bbolt/internal/common: page.go and meta.go).
const (
	pageHeaderSize = 8 + 2 + 2 + 4 // id, kind, count, pages that follow
	kindFreelist   = 0x10
	manyPages      = 0xffff // the count that means: see the first element
	metaFreelist   = pageHeaderSize + 32
	noFreelist     = math.MaxUint64
)

// usedBytes returns how much of the file is not free, or 0 if it cannot tell.
func usedBytes(tx *bbolt.Tx, file io.ReaderAt) uint64 {
	size := int64(tx.DB().Info().PageSize)
	var word [8]byte
	if _, err := file.ReadAt(word[:], int64(tx.ID()%2)*size+metaFreelist); err != nil {
		return 0
	}
	id, pages := binary.NativeEndian.Uint64(word[:]), uint64(tx.Size()/size)
	if id >= pages {
		return 0
	}
	var header [pageHeaderSize + 8]byte
	if _, err := file.ReadAt(header[:], int64(id)*size); err != nil || binary.NativeEndian.Uint16(header[8:]) != kindFreelist {
		return 0 // the next transaction but one has overwritten it
	}
	free := uint64(binary.NativeEndian.Uint16(header[10:]))
	if free == manyPages {
		free = binary.NativeEndian.Uint64(header[pageHeaderSize:])
	}
	return (pages - min(free, pages)) * uint64(size)
}

// checkFreelist checks the list of free pages that the header of tx names. bbolt does not:
// the length in a damaged file may ask for more memory than there is, and bbolt would write
// to pages on the list that are in use.
func checkFreelist(tx *bbolt.Tx, file io.ReaderAt) error {
	size := int64(tx.DB().Info().PageSize)
	pages := uint64(tx.Size() / size)
	var word [8]byte
	if _, err := file.ReadAt(word[:], int64(tx.ID()%2)*size+metaFreelist); err != nil {
		return err
	}
	id := binary.NativeEndian.Uint64(word[:])
	if id == noFreelist {
		return nil
	}
	if id >= pages {
		return storefile.CorruptError("the free pages are listed outside of the file")
	}
	list := io.NewSectionReader(file, int64(id)*size, int64(pages-id)*size)
	header := make([]byte, pageHeaderSize)
	if _, err := io.ReadFull(list, header); err != nil {
		return err
	}
	count := uint64(binary.NativeEndian.Uint16(header[10:]))
	if count == manyPages {
		if _, err := io.ReadFull(list, word[:]); err != nil {
			return err
		}
		count = binary.NativeEndian.Uint64(word[:])
	}
	if binary.NativeEndian.Uint64(header) != id || binary.NativeEndian.Uint16(header[8:]) != kindFreelist || count > pages {
		return storefile.CorruptError("the list of free pages makes no sense")
	}
	ids := make([]byte, 8*count)
	if _, err := io.ReadFull(list, ids); err != nil {
		return storefile.CorruptError(fmt.Sprintf("the list of %d free pages is cut short", count))
	}
	for before := uint64(1); len(ids) > 0; ids = ids[8:] {
		free := binary.NativeEndian.Uint64(ids)
		if free <= before || free >= pages {
			return storefile.CorruptError("the list of free pages makes no sense")
		}
		before = free
	}
	return nil
}
