package e2e_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/sqlite"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// testedStore is one of our stores in the tests of damage.
type testedStore struct {
	name, file string
	open       func(path string) (storage.Store, error)
}

var testedStores = []testedStore{
	{"bolt", "messages.db", func(path string) (storage.Store, error) { return bolt.Open(path, bolt.Options{}) }},
	{"sqlite", "messages.sqlite", func(path string) (storage.Store, error) { return sqlite.Open(path, sqlite.Options{}) }},
}

// damageBlock is the smallest page of our stores.
const damageBlock = 4096

// TestDamageIsFoundAndTheRestSalvaged damages the file of a store in the ways that disks and
// people do. A check finds that and changes nothing, a copy refuses the store, and a salvage
// takes over what is whole, says that something is missing, and is a store that a relay runs on.
// Of a store of which nothing can be read, check and salvage say so.
func TestDamageIsFoundAndTheRestSalvaged(t *testing.T) {
	t.Parallel()
	for _, s := range testedStores {
		for name, damage := range map[string]func(file, other []byte, secret []byte) []byte{
			"cut": func(file, _, _ []byte) []byte { return file[:len(file)/3] },
			"random pages": func(file, _, _ []byte) []byte {
				for range 3 {
					rand.Read(file[randomBlock(file):][:damageBlock])
				}
				return file
			},
			// One with envelopes: a page of an index loses nothing, so a copy takes the rest.
			"a page of another file": func(file, other, secret []byte) []byte {
				at := bytes.Index(file, secret) / damageBlock * damageBlock
				copy(file[at:][:damageBlock], other[at:])
				return file
			},
			"a bit": func(file, _, secret []byte) []byte {
				file[bytes.Index(file, secret)+len(secret)/2] ^= 1 << mathrand.IntN(8)
				return file
			},
		} {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				d := newDataDir(t)
				d.write("server.hcl", d.configWith(`storage "`+s.name+`"`))
				envelopes := d.fillWith(s, "main", 1500)
				d.expectStart("server.hcl") // which notes how far the log has come
				d.expectWhole("server.hcl", 1500)
				other := newDataDir(t)
				other.fillWith(s, "main", 1500)
				path := "data/servers/main/storage/" + s.file
				file := damage(d.read(path), other.read(path), envelopes[700].Ciphertext[:32])
				d.write(path, string(file))
				if d.expectDamaged() {
					d.expectSalvage(s, envelopes)
				} else if name != "cut" { // with its end, a bolt store loses its roots
					t.Error("nothing can be read")
				}
			})
		}
	}
}

// randomBlock returns where a block begins that is in use: the middle of a file is.
func randomBlock(file []byte) int {
	blocks := len(file) / damageBlock
	return (blocks/4 + mathrand.IntN(blocks/4)) * damageBlock
}

// fillWith fills the store of a server with envelopes of now, each with a token.
func (d *dataDir) fillWith(s testedStore, server string, n int) (records []storage.Record) {
	d.Helper()
	dir := d.path("data/servers/" + server + "/storage/")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		d.Fatal(err)
	}
	store, err := s.open(dir + "/" + s.file)
	if err != nil {
		d.Fatal(err)
	}
	for range n {
		r := storage.Record{Born: storage.HourOf(time.Now()), Signature: make([]byte, 64), Ciphertext: make([]byte, 500+mathrand.IntN(2000)), Nullifier: new(storage.Nullifier)}
		rand.Read(r.Signature)
		rand.Read(r.Ciphertext)
		rand.Read(r.Nullifier[:])
		r.ID = storage.NewID(r.Signature, r.Ciphertext)
		records = append(records, r)
	}
	for batch := range slices.Chunk(records, storage.MaxBatch) {
		if _, err := store.Append(d.Context(), batch); err != nil {
			d.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		d.Fatal(err)
	}
	return records
}

// checkResult is what a check prints.
type checkResult struct {
	Whole             bool
	Envelopes, Tokens int
	Faults            []struct{ Place, Text string }
	Unverified        []string
}

// checkStore runs a check, which must change nothing.
func (d *dataDir) checkStore(config string) (r checkResult, err error) {
	d.Helper()
	before, beforeErr := filesIn(d.path("data"))
	out, err := d.command("storage", "check", "-json", "-config", config).Output()
	after, afterErr := filesIn(d.path("data"))
	if err := errors.Join(beforeErr, afterErr); err != nil {
		d.Fatal(err)
	}
	delete(after, d.path("data/lock")) // is made by whatever comes first
	delete(before, d.path("data/lock"))
	if !maps.Equal(before, after) {
		d.Errorf("the check has changed files: %v and %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	if len(out) == 0 {
		return r, err
	}
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		d.Fatalf("the check says %s: %v", out, jsonErr)
	}
	return r, err
}

func (d *dataDir) expectWhole(config string, envelopes int) {
	d.Helper()
	r, err := d.checkStore(config)
	if err != nil || !r.Whole || r.Envelopes != envelopes || r.Tokens < envelopes || len(r.Faults)+len(r.Unverified) > 0 {
		d.Fatalf("the check of a store that is whole: %+v, %v", r, err)
	}
}

// expectDamaged checks that the damage is found and that a copy refuses the store. It reports
// whether anything can be read.
func (d *dataDir) expectDamaged() (readable bool) {
	d.Helper()
	r, err := d.checkStore("server.hcl")
	if err == nil || r.Whole || len(r.Faults) == 0 && !strings.Contains(err.Error(), unreadable) {
		d.Fatalf("the damage is not found: %+v, %v", r, err)
	}
	if readable = len(r.Faults) > 0; readable {
		d.Logf("%d envelopes and %d tokens are whole; %d faults, the first %v", r.Envelopes, r.Tokens, len(r.Faults), r.Faults[0])
	}
	args := []string{"storage", "copy", "-config", "server.hcl", "-from", `server "main"`, "-to", `server "main" storage "bolt" { path = "plain.db" }`}
	if out, err := d.command(args...).CombinedOutput(); err == nil || !strings.Contains(string(out), "-salvage") {
		d.Errorf("a copy of a damaged store: %v\n%s", err, out)
	}
	if !readable {
		if out, err := d.command(append(args, "-salvage")...).CombinedOutput(); err == nil {
			d.Errorf("a salvage of nothing: %s", out)
		}
	}
	return readable
}

// unreadable is what a check says of a store of which nothing is left.
const unreadable = "nothing of the store can be read"

func (d *dataDir) expectSalvage(s testedStore, envelopes []storage.Record) {
	d.Helper()
	before := d.storeFiles()
	to := `server "main" storage "` + s.name + `" { path = "salvaged" }`
	out, err := d.command("storage", "copy", "-json", "-salvage", "-config", "server.hcl", "-from", `server "main"`, "-to", to).Output()
	var r struct {
		Envelopes, Tokens int
		Faults            int
		Unnoted           string
		Missing           struct{ Envelopes, Tokens int }
	}
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil || err == nil || r.Faults == 0 {
		d.Fatalf("the salvage: %s, %v, %v", out, jsonErr, err)
	}
	after := d.storeFiles()
	delete(after, d.path("data/servers/main/storage/salvaged"))
	if !maps.Equal(before, after) {
		d.Error("the salvage has changed its source")
	}
	if r.Envelopes+r.Missing.Envelopes < len(envelopes) || r.Tokens+r.Missing.Tokens < len(envelopes) {
		d.Errorf("it says %+v of %d envelopes and tokens", r, len(envelopes))
	}
	d.Logf("salvaged %d envelopes and %d tokens; missing %+v", r.Envelopes, r.Tokens, r.Missing)
	d.expectInOrder(s, envelopes, r.Envelopes)
	d.write("salvaged.hcl", strings.Replace(d.configWith(`storage "`+s.name+`"`), "{}", `{ path = "salvaged" }`, 1))
	if r.Unnoted != "" {
		if c, err := d.checkStore("salvaged.hcl"); err == nil || len(c.Faults) != 1 || c.Faults[0].Place != "the mark of the server" {
			d.Errorf("the check before the copy is accepted: %+v, %v", c, err)
		}
		d.run("storage", "accept", "-config", "salvaged.hcl")
	}
	if c, err := d.checkStore("salvaged.hcl"); err != nil || !c.Whole || c.Envelopes != r.Envelopes {
		d.Errorf("the check of the copy: %+v, %v", c, err)
	}
	d.expectStart("salvaged.hcl")
}

// storeFiles returns the sums of the files of the store.
func (d *dataDir) storeFiles() map[string]string {
	d.Helper()
	files, err := filesIn(d.path("data/servers/main/storage"))
	if err != nil {
		d.Fatal(err)
	}
	return files
}

// expectInOrder checks that a salvaged store holds some of the envelopes, in their order, and
// nothing else.
func (d *dataDir) expectInOrder(s testedStore, envelopes []storage.Record, count int) {
	d.Helper()
	copied := d.path("salvaged-to-be-read")
	if err := os.WriteFile(copied, d.read("data/servers/main/storage/salvaged"), 0o600); err != nil {
		d.Fatal(err)
	}
	store, err := s.open(copied)
	if err != nil {
		d.Fatal(err)
	}
	defer store.Close()
	next, read := 0, 0
	for from := storage.Seq(1); ; {
		page, err := store.Log(context.Background(), storage.LogRequest{From: from})
		if err != nil {
			d.Fatal(err)
		}
		if len(page.Entries) == 0 {
			break
		}
		for _, e := range page.Entries {
			for next < len(envelopes) && envelopes[next].ID != e.ID {
				next++
			}
			if next == len(envelopes) || sha256.Sum256(envelopes[next].Ciphertext) != sha256.Sum256(e.Ciphertext) {
				d.Fatal("the salvage has an envelope that was never there, or in another order")
			}
			from, read = e.Seq+1, read+1
		}
	}
	if read != count {
		d.Errorf("the salvage has %d envelopes and says %d", read, count)
	}
}

// TestStoreOfAnEarlierRelease has a relay take over a store of the release before, at its first
// start and without a tool. Its messages are half a century old, and stay until the configuration
// says how long messages stay.
func TestStoreOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	for s, file := range map[int]string{0: "bolt/testdata/format3.db.gz", 1: "sqlite/testdata/format1.sqlite.gz"} {
		store := testedStores[s]
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			d := newDataDir(t)
			d.write("server.hcl", d.configWith(`storage "`+store.name+`"`))
			if err := os.MkdirAll(d.path("data/servers/main/storage"), 0o700); err != nil {
				t.Fatal(err)
			}
			d.write("data/servers/main/storage/"+store.file, string(unpackFile(t, "../../plugins/storage/"+file)))
			before := d.expectEarlier(0) // as it is, without an upgrade
			d.expectStart("server.hcl")
			d.expectEarlier(before)

			p, err := startRelay(d.command("-config", "server.hcl"))
			if err != nil {
				t.Fatal(err)
			}
			defer p.kill()
			out, _ := d.command("status", "-config", "server.hcl").Output()
			if !strings.Contains(string(out), "nothing is removed: the server has messages from before") {
				t.Errorf("the status is\n%s", out)
			}
			d.write("server.hcl", strings.Replace(string(d.read("server.hcl")), "server \"main\" {", "server \"main\" {\nretention {}", 1))
			out = d.run("reload", "-dry-run", "-config", "server.hcl")
			if want := "set server main retention: what exceeds its limits is removed from now on"; !strings.Contains(string(out), want) {
				t.Errorf("the dry run has no %q:\n%s", want, out)
			}
			if err := p.terminate(); err != nil {
				t.Error(err)
			}
			d.write("server.hcl", d.configWith(`storage "`+store.name+`"`))
			d.expectEarlier(before)
		})
	}
}

// expectEarlier checks a store of an earlier release and returns how many envelopes it has. The
// tests of the stores have put a token into it that paid for nothing that is there.
func (d *dataDir) expectEarlier(envelopes int) int {
	d.Helper()
	r, err := d.checkStore("server.hcl")
	if r.Envelopes == 0 || envelopes > 0 && r.Envelopes != envelopes || len(r.Unverified) > 0 ||
		len(r.Faults) != 1 || r.Faults[0].Text != "1 of them paid for envelopes that are not in the log" {
		d.Fatalf("the check says %+v, %v", r, err)
	}
	return r.Envelopes
}

func unpackFile(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
