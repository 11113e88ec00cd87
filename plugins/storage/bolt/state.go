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
	epoch   storage.Epoch
	last    storage.Seq  // of the log
	count   uint64       // envelopes that are in the file, pruned or not
	tokens  uint64       // keys of tokens in the index
	lowest  storage.Seq  // nothing below it is in the file, pruned or not; it may be too low
	floor   storage.Hour // see [storage.Pruner]
	counted storage.Seq  // up to which the bucket hours counts the log
	merged  marks
}

const (
	stateSize = 5*8 + 4
	// earlierStateSize is the size of the counters before format 4, which are the first three.
	earlierStateSize = 3 * 8
)

func (st *state) marshal() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(st.last))
	b = binary.BigEndian.AppendUint64(b, st.count)
	b = binary.BigEndian.AppendUint64(b, st.tokens)
	b = binary.BigEndian.AppendUint64(b, uint64(st.lowest))
	b = binary.BigEndian.AppendUint64(b, uint64(st.counted))
	return binary.BigEndian.AppendUint32(b, uint32(st.floor))
}

func readState(tx *bbolt.Tx) (state, error) {
	return decodeState(formatOf(tx), tx.Bucket(metaBucket).Get)
}

// decodeState reads the state of a file of any format from the values of the bucket meta.
func decodeState(format uint32, get func(key []byte) []byte) (st state, err error) {
	if format < 4 {
		return decodeEarlierState(get)
	}
	epoch, counters := get(epochKey), get(stateKey)
	if len(epoch) != len(st.epoch) || len(counters) != stateSize || !st.merged.unmarshal(get(marksKey)) {
		return state{}, errCounters
	}
	st.epoch = storage.Epoch(epoch)
	st.unmarshalCounters(counters)
	st.lowest = storage.Seq(binary.BigEndian.Uint64(counters[24:]))
	st.counted = storage.Seq(binary.BigEndian.Uint64(counters[32:]))
	st.floor = storage.Hour(binary.BigEndian.Uint32(counters[40:]))
	return st, nil
}

var errCounters = storefile.CorruptError("the counters make no sense")

func (st *state) unmarshalCounters(b []byte) {
	st.last = storage.Seq(binary.BigEndian.Uint64(b))
	st.count = binary.BigEndian.Uint64(b[8:])
	st.tokens = binary.BigEndian.Uint64(b[16:])
}
