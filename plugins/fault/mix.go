package fault

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Fault is something that can go wrong with a call. The empty Fault is none.
type Fault string

// The faults, as the package documentation describes them.
const (
	Delay     Fault = "delay"
	Fail      Fault = "fail"
	Cut       Fault = "cut"
	Duplicate Fault = "duplicate"
	Corrupt   Fault = "corrupt"
	Truncate  Fault = "truncate"
	Huge      Fault = "huge"
	Hang      Fault = "hang"
	Crash     Fault = "crash"
)

// Faults lists all faults.
var Faults = []Fault{Delay, Fail, Cut, Duplicate, Corrupt, Truncate, Huge, Hang, Crash}

// Mix says how often each fault happens, as a share of all calls. The shares
// add up to at most 1.
type Mix map[Fault]float64

// ParseMix parses a mix such as "delay=0.1,crash=0.001". "all=0.09" divides the share among all
// faults; a fault by its name overrides it.
func ParseMix(text string) (Mix, error) {
	m := make(Mix)
	named := make(Mix)
	for _, part := range strings.Split(text, ",") {
		name, number, ok := strings.Cut(strings.TrimSpace(part), "=")
		share, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil || !(share >= 0 && share <= 1) {
			return nil, fmt.Errorf("%.80q is not a fault and its share of the calls, such as delay=0.1", part)
		}
		switch {
		case name == "all":
			for _, f := range Faults {
				m[f] = share / float64(len(Faults))
			}
		case slices.Contains(Faults, Fault(name)):
			named[Fault(name)] = share
		default:
			return nil, fmt.Errorf("there is no fault %.40q, only: all, %s", name, strings.Trim(fmt.Sprint(Faults), "[]"))
		}
	}
	maps.Copy(m, named)
	sum := 0.0
	for _, share := range m {
		sum += share
	}
	if sum > 1 {
		return nil, fmt.Errorf("the shares of all faults add up to %.3g, more than every call", sum)
	}
	return m, nil
}

// dice decides what goes wrong. It is safe for concurrent use.
type dice struct {
	mix Mix

	mu    sync.Mutex
	rng   *rand.Rand
	after int // calls that do not go wrong yet
}

func newDice(seed uint64, mix Mix, after int) *dice {
	return &dice{rng: rand.New(rand.NewPCG(seed, 0)), mix: mix, after: after}
}

// throwFault returns the fault of the next call, and a source of random numbers for its
// details.
func (d *dice) throwFault() (Fault, *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	details := rand.New(rand.NewPCG(d.rng.Uint64(), d.rng.Uint64()))
	at := d.rng.Float64()
	if d.after > 0 {
		d.after--
		return "", details
	}
	for _, f := range Faults { // in a fixed order, unlike a map
		if at -= d.mix[f]; at < 0 {
			return f, details
		}
	}
	return "", details
}

// damageAnswer returns a copy of an answer with something wrong in it.
func damageAnswer(answer []byte, f Fault, rng *rand.Rand) []byte {
	out := slices.Clone(answer)
	switch {
	case f == Huge:
		return append(out, make([]byte, 20<<20)...)
	case len(out) == 0: // the answer of a call that returns nothing
		return []byte{byte(rng.Uint32())}
	case f == Truncate:
		return out[:rng.IntN(len(out))]
	}
	for range 1 + rng.IntN(4) {
		at := rng.IntN(len(out))
		switch rng.IntN(3) {
		case 0:
			out[at] ^= 1 << rng.IntN(8)
		case 1:
			out = slices.Insert(out, at, byte(rng.Uint32()))
		case 2:
			if len(out) > 1 {
				out = slices.Delete(out, at, at+1)
			}
		}
	}
	return out
}
