package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/crypto/nacl/secretbox"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// No relay of this design can be faster than these limits: the work that every item
// needs, done by the same libraries and with nothing around it.

// measureBeside measures a limit before and after f, which is compared with it, because
// what else runs on the machine changes by the second. The figure is the mean.
func (b *bench) measureBeside(name string, limit func() (float64, error), f func() error) error {
	before, err := limit()
	if err != nil {
		return fmt.Errorf("measure the machine: %w", err)
	}
	if err := f(); err != nil {
		return err
	}
	after, err := limit()
	if err != nil {
		return fmt.Errorf("measure the machine: %w", err)
	}
	b.sheet.setFigure(name, (before+after)/2)
	return nil
}

// timeVerification returns the processor time of one check of the token of a post, in µs.
func (b *bench) timeVerification() (float64, error) {
	var keys identity.Server
	keys.Board, keys.Scalar[0] = identity.NewKey(), 42
	m, err := newPostMaker(&keys)
	if err != nil {
		return 0, err
	}
	key, err := token.NewKey(keys.Scalar)
	if err != nil {
		return 0, err
	}
	t, err := m.mint.Token()
	if err != nil {
		return 0, err
	}
	data := newEnvelopeSource(b.plan.Size).newEnvelope().AppendJSON(nil)
	spent := t.Spend(data, []byte(m.board))
	return b.timeCall(func() error {
		if !key.Verify(spent, data, []byte(m.board)) {
			return errors.New("a token of the bench does not verify")
		}
		return nil
	})
}

// timeSealing returns the processor time of sealing one packet, in µs.
func (b *bench) timeSealing() (float64, error) {
	var key [32]byte
	var nonce [24]byte
	out := make([]byte, 0, tapir.PacketSize)
	plain := make([]byte, tapir.PacketSize-len(nonce)-secretbox.Overhead)
	return b.timeCall(func() error {
		secretbox.Seal(out, plain, &nonce, &key)
		return nil
	})
}

// timeCall returns the processor time of one call of f, in µs.
func (b *bench) timeCall(f func() error) (float64, error) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		return 0, err
	}
	calls := 0
	for start := time.Now(); time.Since(start) < b.plan.Limit; calls++ {
		if err := f(); err != nil {
			return 0, err
		}
	}
	after, err := cpuTime(os.Getpid())
	return float64((after - before).Nanoseconds()) / 1e3 / float64(calls), err
}

// timeBareCommits returns how many records of the size of an envelope bbolt makes durable
// in a second, with batch of them in a transaction, the page size of the bolt plugin and
// nothing else in the file.
func (b *bench) timeBareCommits(batch int) (float64, error) {
	path := filepath.Join(b.dir, "bare.db")
	defer os.Remove(path)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 16 << 10, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	value := make([]byte, ciphertextSize(b.plan.Size)+signatureSize)
	name := []byte("log")
	seq := uint64(0)
	records := 0
	start := time.Now()
	for ; time.Since(start) < b.plan.Limit; records += batch {
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists(name)
			if err != nil {
				return err
			}
			bucket.FillPercent = 1
			for range batch {
				seq++
				if err := bucket.Put(binary.BigEndian.AppendUint64(nil, seq), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return float64(records) / time.Since(start).Seconds(), nil
}
