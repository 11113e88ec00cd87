package lab

import "time"

// clock is a virtual clock with what is to happen.
type clock struct {
	now    time.Duration
	queue  []happening // a heap
	number uint64
	steps  uint64
}

// happening is something that happens at a time. Of two at one time, the one that was planned
// first happens first.
type happening struct {
	at     time.Duration
	number uint64
	do     func()
}

func (h *happening) before(other *happening) bool {
	return h.at < other.at || h.at == other.at && h.number < other.number
}

// after plans something.
func (c *clock) after(d time.Duration, do func()) { c.at(c.now+max(d, 0), do) }

// at plans something for a time, which is not in the past.
func (c *clock) at(at time.Duration, do func()) {
	c.number++
	c.queue = append(c.queue, happening{at, c.number, do})
	i := len(c.queue) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !c.queue[i].before(&c.queue[parent]) {
			break
		}
		c.queue[i], c.queue[parent] = c.queue[parent], c.queue[i]
		i = parent
	}
}

// step lets the next thing happen, unless it is after end.
func (c *clock) step(end time.Duration) bool {
	if len(c.queue) == 0 || c.queue[0].at > end {
		c.now = max(c.now, end)
		return false
	}
	next := c.queue[0]
	c.removeFirst()
	c.now = max(c.now, next.at)
	c.steps++
	next.do()
	return true
}

// removeFirst removes the first element of the heap, in which each element has up to four children.
func (c *clock) removeFirst() {
	last := len(c.queue) - 1
	c.queue[0] = c.queue[last]
	c.queue[last] = happening{}
	c.queue = c.queue[:last]
	for i := 0; ; {
		least := i
		for child := 4*i + 1; child <= min(4*i+4, last-1); child++ {
			if c.queue[child].before(&c.queue[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		c.queue[i], c.queue[least] = c.queue[least], c.queue[i]
		i = least
	}
}
