package sqlite

import (
	"database/sql"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// SQLite keeps as many rows in a page as fit and leaves the rest of the page empty. With one
// row for an envelope, a file of envelopes of 2.1 KiB is twice as large as they are. So the end
// of a ciphertext goes into a table of pieces, of which six fill a page, and what is left for
// the row is short. A row that is longer than a page has pages of its own for its end, which
// SQLite fills, and a short beginning; see https://www.sqlite.org/fileformat2.html#b_tree_pages.

const (
	// pieceSize is the number of bytes in a piece. Six pieces with their row numbers, which
	// SQLite writes in up to six bytes, are as long as a page.
	pieceSize = 667
	// maxPieces is the greatest number of pieces of an envelope, which are numbered in 3 bits.
	maxPieces = 7
	// maxSeq is the greatest sequence number whose pieces have numbers.
	maxSeq = 1<<60 - 1
	// maxInLeaf is how many bytes of a row may be in the page that it shares with others.
	// Of rows of this size, five fill 92 % of a page.
	maxInLeaf = 750
	// rowHead is about how many bytes a row has beside signature and ciphertext.
	rowHead = 57
)

// countPieces returns in how many pieces the end of a ciphertext is cut off.
func countPieces(signature, ciphertext int) (n int) {
	for rest := ciphertext; n < maxPieces && rest >= pieceSize && sizeInLeaf(rowHead+signature+rest) > maxInLeaf; rest -= pieceSize {
		n++
	}
	return n
}

// sizeInLeaf returns how many bytes of a row of some size SQLite puts into the page that it
// shares with others.
func sizeInLeaf(row int) int {
	const most, least = pageSize - 35, (pageSize-12)*32/255 - 23
	if row <= most {
		return row
	}
	if n := least + (row-least)%(pageSize-4); n <= most {
		return n
	}
	return least
}

// firstPiece returns the number of the first piece of an envelope.
func firstPiece(seq storage.Seq) int64 { return int64(seq) << 3 }

// partial is an entry of the log that may lack pieces of its ciphertext.
type partial struct {
	entry    storage.Entry
	lowered  storage.Hour
	checksum int64
	pieces   int // that are missing
	added    int // that were missing
}

// addPiece adds the piece with a number to the ciphertext.
func (p *partial) addPiece(n int64, piece []byte) error {
	if p.pieces == 0 || n != firstPiece(p.entry.Seq)+int64(p.added) || len(piece) != pieceSize {
		return errSenselessEntry
	}
	p.entry.Ciphertext = append(p.entry.Ciphertext, piece...)
	p.pieces--
	p.added++
	return nil
}

// toEntry returns the entry if it is whole, or an error that is [storage.ErrCorrupt].
func (p *partial) toEntry() (storage.Entry, error) {
	if p.pieces > 0 {
		return storage.Entry{}, storefile.CorruptError("a piece of an entry of the log is missing")
	}
	if int64(checksumOf(&p.entry, p.lowered)) != p.checksum {
		return storage.Entry{}, errWrongChecksum
	}
	return p.entry, nil
}

// insertPieces cuts the end of a ciphertext into pieces. One statement costs less than one for
// each piece.
var insertPieces = fmt.Sprintf(`WITH piece(i) AS (VALUES (0), (1), (2), (3), (4), (5), (6))
	INSERT INTO pieces (n, bytes) SELECT ?1 + i, substr(?2, 1 + i * %d, %[1]d) FROM piece WHERE i < ?3`, pieceSize)

const selectPieces = "SELECT n, bytes FROM pieces WHERE n BETWEEN ? AND ? ORDER BY n"

// addPieces adds to entries, which are in the order of the log, the pieces that they lack.
func addPieces(query *sql.Stmt, entries []partial) error {
	first, last := -1, 0
	for i := range entries {
		if entries[i].pieces > 0 {
			if last = i; first < 0 {
				first = i
			}
		}
	}
	if first < 0 {
		return nil
	}
	i := first
	values := []any{firstPiece(entries[first].entry.Seq), firstPiece(entries[last].entry.Seq) + maxPieces}
	return readRows(query, values, func(rows *sql.Rows) error {
		var n int64
		var piece sql.RawBytes
		if err := rows.Scan(&n, &piece); err != nil {
			return err
		}
		for i < last && int64(entries[i].entry.Seq) < n>>3 {
			i++
		}
		if int64(entries[i].entry.Seq) != n>>3 {
			return nil // of an envelope that is pruned
		}
		return entries[i].addPiece(n, piece)
	})
}
