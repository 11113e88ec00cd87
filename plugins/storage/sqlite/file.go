package sqlite

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	fileMode = 0o600 // which SQLite gives to the files beside it as well
)

// The header of a database, see https://www.sqlite.org/fileformat2.html#the_database_header.
const (
	headerSize        = 100
	magic             = "SQLite format 3\x00"
	applicationOffset = 68 // of application_id, uint32
)

// ensureFile makes an empty store at path unless there is one.
func ensureFile(path string) error {
	return storefile.Ensure(path, func(path string) error {
		return explainError(path, initializeFile(path))
	}, walSuffix, journalSuffix, "-shm")
}

// initializeFile makes an empty store, with an epoch of its own, of an empty file.
func initializeFile(path string) error { return initializeEpoch(path, storage.NewEpoch()) }

func initializeEpoch(path string, epoch storage.Epoch) error {
	db, err := sql.Open("sqlite", dataSource(path, url.Values{"mode": {"rw"}},
		fmt.Sprintf("page_size(%d)", pageSize),
		"auto_vacuum(incremental)", // see prune.go
		"journal_mode(wal)",
		"synchronous(full)",
		"fullfsync(1)",
		"checkpoint_fullfsync(1)",
	))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(uncanceled, fmt.Sprintf(
		"BEGIN; %s INSERT INTO meta VALUES (1, x'%x', 0, 0, 0, 0, 0, 0); PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
		schema, epoch[:], applicationID, version))
	if err == nil {
		// Closing would do so as well, but ignore a sync that fails.
		_, err = db.ExecContext(uncanceled, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return errors.Join(err, db.Close())
}

// inspectFile returns the format of a locked file, or an error if it cannot be opened as a
// store. It changes nothing.
func inspectFile(path string, file io.ReaderAt) (format int64, err error) {
	// A database that was closed in good order is read alone: SQLite would make the files
	// beside it. If there is a log, as after a crash, SQLite reads it too, but does not copy
	// it. Then the file by itself says little: a power cut may have torn any page that was
	// being copied into it, even the header, and the log has the whole page.
	mode := url.Values{"mode": {"ro"}}
	alone := isSelfContained(path)
	ours, err := checkHeader(file, alone)
	if err != nil {
		return 0, err
	}
	if alone {
		mode.Set("immutable", "1")
	}
	db, err := sql.Open("sqlite", dataSource(path, mode))
	if err != nil {
		return 0, err
	}
	defer db.Close() //nolint:errcheck // reads only
	format, err = checkFormat(db)
	if err == nil {
		err = checkContent(db, format)
	}
	if err = explainError(path, err); errors.Is(err, storage.ErrCorrupt) && !ours {
		err = storefile.ErrNotStore
	}
	return format, err
}

// isSelfContained reports whether no file beside a database belongs to its content.
func isSelfContained(path string) bool {
	return fileSize(path+walSuffix) == 0 && fileSize(path+journalSuffix) == 0
}

// checkHeader reports whether the header of a file is that of a store. It returns an error
// for an empty file, and for a file that stands alone and is not a store.
func checkHeader(file io.ReaderAt, alone bool) (ours bool, err error) {
	header := make([]byte, headerSize)
	n, err := file.ReadAt(header, 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	if n == 0 {
		return false, storefile.ErrEmptyFile
	}
	ours = bytes.HasPrefix(header, []byte(magic)) && binary.BigEndian.Uint32(header[applicationOffset:]) == applicationID
	if alone && !ours {
		return false, storefile.ErrNotStore
	}
	return ours, nil
}

// checkFormat returns the format of a store, or an error for a database that is not a store
// or has a format that is not known.
func checkFormat(db *sql.DB) (format int64, err error) {
	var application int64
	if err := db.QueryRowContext(uncanceled, "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version").Scan(&application, &format); err != nil {
		return 0, err
	}
	if application != applicationID {
		return 0, storefile.ErrNotStore
	}
	if format < 1 || format > version {
		return 0, fmt.Errorf("the file has format %d and this release knows format %d; run the release that wrote it, or a later one", format, version)
	}
	return format, nil
}

// checkContent returns an error for a store that contradicts itself. It looks at the ends of
// the log, which later calls do not read.
func checkContent(db *sql.DB, format int64) error {
	query := selectMeta
	if format == 1 {
		query = selectMeta1
	}
	m, err := scanMeta(db.QueryRowContext(uncanceled, query))
	if err != nil {
		return err
	}
	var last storage.Seq
	if err := explainScanError(db.QueryRowContext(uncanceled, "SELECT coalesce(max(seq), 0) FROM envelopes").Scan(&last)); err != nil {
		return err
	}
	// What was last may be pruned.
	if last > m.last || last < m.last && m.floor == 0 {
		return storefile.CorruptError("the log does not end where the table meta says")
	}
	_, err = db.ExecContext(uncanceled, "SELECT token FROM tokens LIMIT 1")
	return err
}
