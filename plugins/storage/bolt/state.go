package bolt

import (
	"encoding/binary"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// state is the counters in the bucket meta, which every commit writes. The bucket is small
// enough for bbolt to keep it in the page of its root, which each commit writes anyway.
type state struct {
	epoch  storage.Epoch
	last   storage.Seq // of the log
	count  uint64      // envelopes in the log
	tokens uint64      // keys of tokens in the index
	merged marks
}

const stateSize = 3 * 8

func (st *state) marshal() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(st.last))
	b = binary.BigEndian.AppendUint64(b, st.count)
	return binary.BigEndian.AppendUint64(b, st.tokens)
}

func readState(tx *bbolt.Tx) (st state, err error) {
	meta := tx.Bucket(metaBucket)
	epoch, counters, merged := meta.Get(epochKey), meta.Get(stateKey), meta.Get(mergedKey)
	if len(epoch) != len(st.epoch) || len(counters) != stateSize || !st.merged.unmarshal(merged) {
		return state{}, storefile.CorruptError("the counters make no sense")
	}
	st.epoch = storage.Epoch(epoch)
	st.last = storage.Seq(binary.BigEndian.Uint64(counters))
	st.count = binary.BigEndian.Uint64(counters[8:])
	st.tokens = binary.BigEndian.Uint64(counters[16:])
	return st, nil
}
