package sqlite

// schema1 is the schema of version 1.
const schema1 = `
CREATE TABLE envelopes (          -- the log of the server
  seq        INTEGER PRIMARY KEY, -- place in the log, from 1 on without a gap
  id         BLOB NOT NULL UNIQUE, -- SHA-256 of signature and ciphertext, see storage.NewID
  born       INTEGER NOT NULL,    -- when the first relay accepted it, in hours since 1970
  checksum   INTEGER NOT NULL,    -- CRC-32C of all the rest, see row.go
  signature  BLOB NOT NULL,       -- that only the members of a group can check
  ciphertext BLOB NOT NULL
) STRICT;

CREATE INDEX envelopes_by_signature ON envelopes (signature);

CREATE TABLE meta (               -- one row
  one    INTEGER PRIMARY KEY CHECK (one = 1),
  epoch  BLOB NOT NULL,           -- 16 random bytes, the name of this store
  last   INTEGER NOT NULL,        -- greatest seq of the log, 0 when it is empty
  tokens INTEGER NOT NULL         -- number of rows in tokens
) STRICT;

CREATE TABLE tokens (             -- those that are spent
  token BLOB NOT NULL PRIMARY KEY, -- part of a hash, see storage.NewTokenID
  id    BLOB NOT NULL             -- the envelope that it paid for
) STRICT, WITHOUT ROWID;
`

// setup1 has the statements of a reader find tables of version 1.
const setup1 = `
CREATE TEMP VIEW envelopes AS
	SELECT seq, id, born, 0 AS lowered, checksum, 0 AS pieces, signature, ciphertext FROM main.envelopes;
CREATE TEMP VIEW tokens AS SELECT token, id AS paid FROM main.tokens;
CREATE TEMP VIEW meta AS
	SELECT one, epoch, last, tokens, 0 AS sum, 0 AS floor, min(1, last) AS first, last AS count FROM main.meta;
CREATE TEMP VIEW pieces AS SELECT 0 AS n, x'' AS bytes WHERE 0;
CREATE TEMP VIEW hours AS SELECT 0 AS hour, 0 AS count, 0 AS bytes WHERE 0;
CREATE TEMP VIEW signatures AS SELECT 0 AS hash, 0 AS seq WHERE 0;
`

// selectSeqBySignature1 is selectSeqBySignature of version 1, whose index has whole signatures.
const selectSeqBySignature1 = "SELECT seq FROM main.envelopes WHERE signature = ?2 AND ?1 IS NOT NULL AND born >= ?3 ORDER BY seq LIMIT 1"
