package bolt

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// crowdOf makes n unpaid records of one signature.
func crowdOf(signature string, n int) []storage.Record {
	records := storefiletest.RandomRecords(n)
	for i := range records {
		records[i].Signature, records[i].Ciphertext, records[i].Nullifier = []byte(signature), nil, nil
	}
	return records
}

func appendAll(t *testing.T, s *Store, records []storage.Record) {
	t.Helper()
	for batch := range slices.Chunk(records, storage.MaxBatch) {
		if _, err := s.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
}

func checkFound(t *testing.T, s *Store, signature string, want storage.Seq) {
	t.Helper()
	if seq, err := s.Find(t.Context(), []byte(signature)); seq != want || (err == nil) != (want > 0) {
		t.Errorf("find %q: %d, %v, want %d", signature, seq, err, want)
	}
}

// TestUpgradeMarksFirsts opens files as earlier releases left them: with many envelopes of
// one signature, in the tree and recent, and nothing that says which is the first.
func TestUpgradeMarksFirsts(t *testing.T) {
	for _, opts := range []Options{{}, {MaxRecent: 64}} {
		s := openNewStore(t, opts)
		var all []storage.Record
		for i := range 10 {
			all = slices.Concat(all, crowdOf("crowded", 50), crowdOf(fmt.Sprint("pair ", i), 2), storefiletest.RandomRecords(20))
		}
		appendAll(t, s, all)
		err := s.db.Update(func(tx *bbolt.Tx) error {
			tree := tx.Bucket(indexBucket)
			for k, _ := tree.Cursor().Seek([]byte{firstKind}); k != nil; k, _ = tree.Cursor().Seek([]byte{firstKind}) {
				if err := tree.Delete(k); err != nil {
					return err
				}
			}
			return downgrade(tx, 2)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, s.path, opts)
		marked := 0
		s.db.View(func(tx *bbolt.Tx) error {
			if got := formatOf(tx); got != formatVersion {
				t.Errorf("the file has format %d", got)
			}
			marked = len(seqsInTree(tx.Bucket(indexBucket).Cursor(), []byte{firstKind}))
			return nil
		})
		if marked != 11 {
			t.Errorf("%d signatures are marked, want 11", marked)
		}
		first := make(map[string]storage.Seq)
		for i, r := range all {
			if _, ok := first[string(r.Signature)]; !ok {
				first[string(r.Signature)] = storage.Seq(i + 1)
			}
		}
		for signature, seq := range first {
			checkFound(t, s, signature, seq)
		}
	}
}

// TestUpgradeInParts marks more signatures than fit one transaction.
func TestUpgradeInParts(t *testing.T) {
	s := openNewStore(t, Options{})
	s.db.NoSync = true
	var all []storage.Record
	for i := range markedPerCommit + 100 {
		all = append(all, crowdOf(fmt.Sprint("pair ", i), 2)...)
	}
	appendAll(t, s, all)
	parts := 0
	for from, done := (key{envelopeKind}), false; !done; parts++ {
		err := s.db.Update(func(tx *bbolt.Tx) (err error) {
			from, done, err = s.index.markFirsts(tx, from)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if parts != 2 {
		t.Errorf("%d transactions, want 2", parts)
	}
	s.db.View(func(tx *bbolt.Tx) error { // the very keys that Append had put there
		if got := len(seqsInTree(tx.Bucket(indexBucket).Cursor(), []byte{firstKind})); got != markedPerCommit+100 {
			t.Errorf("%d signatures are marked, want %d", got, markedPerCommit+100)
		}
		return nil
	})
}

// TestSignaturesOfOneTag has signatures whose tags are equal, as those that
// somebody has ground for a file without a secret.
func TestSignaturesOfOneTag(t *testing.T) {
	for _, size := range []int{1, 100} {
		for _, upgraded := range []bool{false, true} {
			t.Run(fmt.Sprintf("batch=%d,upgraded=%t", size, upgraded), func(t *testing.T) { checkOneTag(t, size, upgraded) })
		}
	}
}

func checkOneTag(t *testing.T, size int, upgraded bool) {
	s := openNewStore(t, Options{MaxRecent: 64})
	s.index.hash = func([]byte) (h [sha256.Size]byte) { return h }
	a, b := crowdOf("signature a", 3), crowdOf("signature b", 3)
	all := []storage.Record{a[0], a[1], b[0], a[2], b[1], crowdOf("signature c", 1)[0], b[2]}
	for part := range slices.Chunk(all, size) {
		appendAll(t, s, part)
	}
	if upgraded {
		err := s.db.Update(func(tx *bbolt.Tx) error {
			tree := tx.Bucket(indexBucket)
			for _, seq := range seqsInTree(tree.Cursor(), []byte{firstKind}) {
				k := firstKey(tag{}, seq)
				if err := tree.Delete(k[:]); err != nil {
					return err
				}
			}
			_, _, err := s.index.markFirsts(tx, key{envelopeKind})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for signature, seq := range map[string]storage.Seq{"signature a": 1, "signature b": 3, "signature c": 6, "signature d": 0} {
		checkFound(t, s, signature, seq)
	}
	paid := storefiletest.RandomRecords(2)
	paid[0].Signature, paid[1].Signature = []byte("signature c"), []byte("signature d")
	got, err := s.Append(t.Context(), append(paid, all...))
	if err != nil {
		t.Fatal(err)
	}
	want := []storage.Outcome{{Status: storage.Conflict}, {Status: storage.Stored, Seq: 8}}
	for i := range all {
		want = append(want, storage.Outcome{Status: storage.Duplicate, Seq: storage.Seq(i + 1)})
	}
	if !slices.Equal(got, want) {
		t.Errorf("append: %v, want %v", got, want)
	}
	checkFound(t, s, "signature d", 8)
}

// TestSecret: two files put one signature in places that have nothing to do with
// each other, and those of earlier formats where they always did.
func TestTagsDependOnSecret(t *testing.T) {
	a, b := openNewStore(t, Options{}), openNewStore(t, Options{})
	signature := []byte("a signature that strangers know")
	plain := sha256.Sum256(signature)
	tags := map[string]bool{string(plain[:signatureTagSize]): true}
	for _, s := range []*Store{a, b} {
		if len(s.index.secret) != secretSize {
			t.Errorf("a secret of %d bytes", len(s.index.secret))
		}
		tag := s.index.signatureTag(signature)
		tags[string(tag[:signatureTagSize])] = true
	}
	if len(tags) != 3 {
		t.Error("tags do not depend on the secret")
	}
	old := filepath.Join(t.TempDir(), "messages.db")
	writeFormat1(t, old)
	tag := mustOpen(t, old, Options{}).index.signatureTag(signature)
	if string(tag[:signatureTagSize]) != string(plain[:signatureTagSize]) {
		t.Error("a file of an earlier format has other tags than before")
	}
}

// TestGroundKeysFillNoShard fills one shard of tokens, and one of a signature, while others
// get little: no shard grows beyond its bound, and all marks follow the log.
func TestGroundKeysFillNoShard(t *testing.T) {
	storefiletest.SkipUnderRace(t)
	const most = 1024
	opts := Options{MaxRecent: most}
	s := openNewStore(t, opts)
	s.db.NoSync = true
	for n := 0; n < 40*most; n += 64 {
		batch := slices.Concat(crowdOf("crowded", 40), storefiletest.RandomRecords(2))
		for i := range batch[:20] {
			for batch[i].Nullifier == nil {
				if r := storefiletest.RandomRecords(1)[0]; storage.NewTokenID(*r.Nullifier)[0] < 2 {
					batch[i].Nullifier, batch[i].Signature = r.Nullifier, r.Signature
				}
			}
		}
		appendAll(t, s, batch)
		for shard := range shards {
			if n := s.index.recentCount(shard); n > most/maxFullShards+len(batch) {
				t.Fatalf("shard %d has %d recent keys", shard, n)
			}
		}
	}
	behind := s.shown.last - slices.Min(s.index.merged[:])
	// One shard in each commit of 42 entries catches up, so all do within 256 commits.
	if limit := storage.Seq(maxBehindPerKey*most + shards*42); behind > limit {
		t.Errorf("a shard is %d entries behind, want %d at most", behind, limit)
	}
	recent := s.index
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, s.path, opts)
	expectSameIndex(t, &s.index, &recent)
}

// TestNotShownBeforeDurable looks at a store in the moment in which bbolt has
// written the header of a commit, so that new views of the file have it, and has
// not flushed it yet.
func TestNotShownBeforeDurable(t *testing.T) {
	s := openNewStore(t, Options{MaxRecent: 16})
	known := storefiletest.RandomRecords(40)
	appendAll(t, s, known)
	before, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again := known[0] // a duplicate spends another token, which is not in the log
	again.Nullifier = storefiletest.RandomRecords(1)[0].Nullifier
	late := append(storefiletest.RandomRecords(20), again)
	late[0].Signature, late[0].Nullifier = known[1].Signature, nil // marks the first of a signature

	s.appendMu.Lock()
	b := newBatch(&s.index, &s.hours, len(late), nil)
	if err := s.db.Update(func(tx *bbolt.Tx) error { return b.applyRecords(tx, late) }); err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if before.Bytes, before.InUse = info.Bytes, info.InUse; err != nil || info != before {
		t.Errorf("info: %+v, %v, want %+v", info, err, before)
	}
	page, err := s.Log(t.Context(), storage.LogRequest{From: 41})
	if err != nil || page.Last != 40 || len(page.Entries) != 0 {
		t.Errorf("log: %d entries, up to %d, %v", len(page.Entries), page.Last, err)
	}
	for i, r := range known {
		checkFound(t, s, string(r.Signature), storage.Seq(i+1))
	}
	for _, r := range late[1:20] {
		checkFound(t, s, string(r.Signature), 0)
	}
	listed := make(chan int)
	go func() {
		page, err := s.SpentTokens(t.Context(), storage.SpentTokensRequest{})
		if err != nil {
			t.Error(err)
		}
		listed <- len(page)
	}()
	select {
	case n := <-listed:
		t.Errorf("a listing of %d tokens while a commit is under way", n)
	default: // it waits for the commit
	}

	s.mu.Lock()
	s.publishBatch(b)
	s.mu.Unlock()
	s.appendMu.Unlock()
	if n := <-listed; n != 60 {
		t.Errorf("%d tokens are listed, want 60", n)
	}
	if info, err := s.Info(t.Context()); err != nil || info.Last != 60 || info.Tokens != 60 {
		t.Errorf("info afterwards: %+v, %v", info, err)
	}
	checkFound(t, s, string(late[1].Signature), 42)
}
