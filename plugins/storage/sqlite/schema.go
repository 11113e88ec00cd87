package sqlite

import (
	"net/url"
)

const (
	// applicationID is in the header of the file, where file(1) looks for it:
	// the letters "CwRy".
	applicationID = 0x43775279
	// version is the user_version of SQLite. Files of version 1 are upgraded, see
	// upgrade.go.
	version = 2

	pageSize      = 4 << 10
	walSuffix     = "-wal"
	journalSuffix = "-journal"

	// maxWAL is the size in bytes at which the log of SQLite must begin anew, so that
	// readers wait. Mostly it does so earlier, when it is copied into the database at a
	// quarter of this size. A log that begins anew is cut to this size.
	maxWAL = 4 * walPages * pageSize
	// walPages is the number of pages after which SQLite copies its log.
	walPages = 1000
)

// schema is what .schema shows, so it is written for those who look. Most of what a file
// has beyond the envelopes is in the indexes, whose random order leaves a third of their
// pages free. So they have as few bytes for an envelope as they can: 8 of the id, which
// is a hash already, and 8 of a hash of the signature.
const schema = `
CREATE TABLE envelopes (          -- the log of the server
  seq        INTEGER PRIMARY KEY, -- place in the log, from 1 on; what was pruned leaves a gap
  id         BLOB NOT NULL,       -- SHA-256 of signature and ciphertext, see storage.NewID
  born       INTEGER NOT NULL,    -- when the first relay accepted it, in hours since 1970
  lowered    INTEGER NOT NULL,    -- hours by which born was lowered since it was stored
  checksum   INTEGER NOT NULL,    -- CRC-32C of all the rest, see row.go
  pieces     INTEGER NOT NULL,    -- how many pieces of the ciphertext are not here
  signature  BLOB NOT NULL,       -- that only the members of a group can check
  ciphertext BLOB NOT NULL        -- its beginning, or all of it
) STRICT;

CREATE TABLE pieces (             -- of ciphertexts, of 667 bytes, so that six fill a page
  n     INTEGER PRIMARY KEY,      -- 8 * seq + the number of the piece, from 0 on
  bytes BLOB NOT NULL
) STRICT;

CREATE INDEX envelopes_by_id ON envelopes (substr(id, 1, 8));
CREATE INDEX envelopes_by_key ON envelopes (born, id);

CREATE TABLE signatures (         -- of the first envelopes that have them
  hash INTEGER NOT NULL,          -- the first 8 bytes of the SHA-256 of a signature
  seq  INTEGER NOT NULL,
  PRIMARY KEY (hash, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (             -- those that are spent
  token BLOB NOT NULL PRIMARY KEY, -- part of a hash, see storage.NewTokenID
  paid  ANY NOT NULL              -- seq of the envelope that it paid for; its id where it never was in the log
) STRICT, WITHOUT ROWID;

CREATE TABLE hours (              -- what the table envelopes has of each hour
  hour  INTEGER PRIMARY KEY,      -- born
  count INTEGER NOT NULL,
  bytes INTEGER NOT NULL          -- of signatures and ciphertexts
) STRICT;

CREATE TABLE meta (               -- one row
  one    INTEGER PRIMARY KEY CHECK (one = 1),
  epoch  BLOB NOT NULL,           -- 16 random bytes, the name of this store
  last   INTEGER NOT NULL,        -- greatest seq ever assigned, 0 when none was
  tokens INTEGER NOT NULL,        -- number of rows in tokens
  sum    INTEGER NOT NULL,        -- of the CRC-32C of all rows in tokens, see ledger.go
  floor  INTEGER NOT NULL,        -- envelopes that were born before are pruned, or will be removed soon
  first  INTEGER NOT NULL,        -- least seq that is not pruned, 0 when there is none
  count  INTEGER NOT NULL         -- number of envelopes that are not pruned
) STRICT;
`

// dataSource returns the data source name of a database: a URI with parameters, some for
// SQLite and the others for the driver.
// See https://www.sqlite.org/uri.html and the documentation of sqlite.Driver.Open.
func dataSource(path string, parameters url.Values, pragmas ...string) string {
	q := url.Values{
		"_defensive": {"1"}, // no statement can damage the file
		"_dqs":       {"0"}, // a misspelled column is no string
		"_pragma": append([]string{
			"trusted_schema(0)",
			"cell_size_check(1)", // notice damaged pages early
			"mmap_size(0)",       // a disk error is an error and no signal
			"temp_store(memory)", // no files elsewhere
		}, pragmas...),
	}
	for name, value := range parameters {
		q[name] = value
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}
