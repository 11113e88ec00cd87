package main

import (
	"encoding/binary"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The messages between twins. Numbers are big-endian; a key is its hour and its id, a range two keys.
// What is not exactly like that is no message.
//
//	sums:  1, and then for each range: the range, count (8 bytes), sum of the ids (32 bytes)
//	lists: 2, and then for each range: the range, count (2 bytes), that many keys, ascending
const (
	kindSums  = 1
	kindLists = 2

	keySize = 4 + 32
	sumSize = 2*keySize + 8 + 32
)

type rangeSum struct {
	in  peersync.Range
	sum peersync.Sum
}

type rangeList struct {
	in   peersync.Range
	keys []peersync.Key
}

func appendKey(b []byte, k peersync.Key) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(k.Born)), k.ID[:]...)
}

func appendRange(b []byte, r peersync.Range) []byte { return appendKey(appendKey(b, r.Lo), r.Hi) }

func encodeSums(sums []rangeSum) []byte {
	b := []byte{kindSums}
	for _, s := range sums {
		b = binary.BigEndian.AppendUint64(appendRange(b, s.in), s.sum.Count)
		b = append(b, s.sum.IDs[:]...)
	}
	return b
}

func encodeLists(lists []rangeList) []byte {
	b := []byte{kindLists}
	for _, l := range lists {
		b = binary.BigEndian.AppendUint16(appendRange(b, l.in), uint16(len(l.keys)))
		for _, k := range l.keys {
			b = appendKey(b, k)
		}
	}
	return b
}

// decodeKey decodes the first keySize bytes of b.
func decodeKey(b []byte) peersync.Key {
	return peersync.Key{Born: storage.Hour(binary.BigEndian.Uint32(b)), ID: storage.ID(b[4:keySize])}
}

// decodeRange decodes the first 2*keySize bytes of b, and reports whether they are a range with room for keys.
func decodeRange(b []byte) (peersync.Range, bool) {
	r := peersync.Range{Lo: decodeKey(b), Hi: decodeKey(b[keySize:])}
	return r, r.Hi == peersync.Key{} || r.Lo.Compare(r.Hi) < 0
}

func decodeSums(b []byte) (sums []rangeSum, ok bool) {
	if len(b) < 1+sumSize || b[0] != kindSums || (len(b)-1)%sumSize != 0 || len(b) > 1+peersync.MaxRanges*sumSize {
		return nil, false
	}
	for b = b[1:]; len(b) > 0; b = b[sumSize:] {
		in, ok := decodeRange(b)
		if !ok {
			return nil, false
		}
		sum := peersync.Sum{Count: binary.BigEndian.Uint64(b[2*keySize:]), IDs: [32]byte(b[2*keySize+8 : sumSize])}
		sums = append(sums, rangeSum{in, sum})
	}
	return sums, true
}

func decodeLists(b []byte) (lists []rangeList, ok bool) {
	if len(b) < 2 || b[0] != kindLists {
		return nil, false
	}
	count := 0
	for b = b[1:]; len(b) > 0; {
		if len(b) < 2*keySize+2 || len(lists) == maxDiffer {
			return nil, false
		}
		in, ok := decodeRange(b)
		n := int(binary.BigEndian.Uint16(b[2*keySize:]))
		b = b[2*keySize+2:]
		if count += n; !ok || count > peersync.MaxKeys || len(b) < n*keySize {
			return nil, false
		}
		l := rangeList{in: in}
		for ; n > 0; n-- {
			k := decodeKey(b)
			if !in.Has(k) || len(l.keys) > 0 && k.Compare(l.keys[len(l.keys)-1]) <= 0 {
				return nil, false
			}
			l.keys, b = append(l.keys, k), b[keySize:]
		}
		lists = append(lists, l)
	}
	return lists, true
}
