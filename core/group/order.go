package group

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"
)

// ChainOrder returns in which order to show the messages of a group that came from
// several hosts, as indexes. A message comes behind the one that its sender named as
// previous, if that is among them. What the chain leaves open is decided by the times
// that the senders claim, then by the signatures. So all members see the same messages
// in the same order, whatever order the hosts sent them in.
//
// Only a verified message can be the previous one of another: whoever holds the key can
// seal something else under a signature that is known.
func ChainOrder(messages []Message) []int {
	parents := make(map[string]int, len(messages))
	for i, m := range messages {
		if m.Verified {
			parents[string(m.Signature)] = i
		}
	}
	children := make([][]int, len(messages))
	ready := &readyMessages{all: messages}
	waiting := make([]bool, len(messages))
	for i, m := range messages {
		if parent, ok := parents[string(m.Previous)]; ok && len(m.Previous) > 0 && parent != i {
			children[parent] = append(children[parent], i)
			waiting[i] = true
		} else {
			ready.indexes = append(ready.indexes, i)
		}
	}
	heap.Init(ready)
	order := make([]int, 0, len(messages))
	for ready.Len() > 0 {
		i := heap.Pop(ready).(int)
		order = append(order, i)
		for _, child := range children[i] {
			waiting[child] = false
			heap.Push(ready, child)
		}
	}
	// Messages that name each other in a circle would need signatures that are known
	// before they are made. They must not get lost all the same.
	for i, w := range waiting {
		if w {
			order = append(order, i)
		}
	}
	return order
}

// readyMessages is a heap of messages that wait for no other one, the earliest on top.
type readyMessages struct {
	all     []Message
	indexes []int
}

func (r *readyMessages) Len() int { return len(r.indexes) }
func (r *readyMessages) Less(i, j int) bool {
	return compareMessages(r.all[r.indexes[i]], r.all[r.indexes[j]]) < 0
}
func (r *readyMessages) Swap(i, j int) { r.indexes[i], r.indexes[j] = r.indexes[j], r.indexes[i] }
func (r *readyMessages) Push(x any)    { r.indexes = append(r.indexes, x.(int)) }
func (r *readyMessages) Pop() any {
	last := r.indexes[len(r.indexes)-1]
	r.indexes = slices.Delete(r.indexes, len(r.indexes)-1, len(r.indexes))
	return last
}

func compareMessages(a, b Message) int {
	return cmp.Or(a.Time.Compare(b.Time), bytes.Compare(a.Signature, b.Signature), cmp.Compare(a.Text, b.Text))
}
