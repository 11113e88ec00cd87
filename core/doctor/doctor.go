// Package doctor finds out whether a relay and its servers are well, and says of each thing
// that is wrong what to do. It is for the manager, which runs the checks in the relay; for
// the command doctor, which runs those that need no relay; and for the console.
//
// # What is checked
//
// [Machine.Check] looks at this machine: files with their owners and modes, the clock, disks,
// memory and open files. [FindTor] looks for the program, and [CheckNetwork] asks the running
// tor. [Reach] does what somebody does who has a key bundle and nothing else: it fetches the
// descriptors of both onions, connects through circuits of its own, authenticates the board,
// and buys one token for a proof of work. Tor that is up and servers that can be reached are
// thus two things.
//
// # What a check does to a server
//
// It connects, once to each onion, under a name that is forgotten. It posts nothing and reads
// nothing. The token that it buys is thrown away, and no other is spent. The counts of the
// server have it: a connection of each kind, a purchase and a token.
//
// # One thing, one line
//
// Each thing that is wrong makes one [Check] that is not OK. What cannot be known because of
// it is left out: there is no line about an onion while Tor is down.
package doctor

// Check is what came of one check. Its JSON form is what the doctor command prints.
type Check struct {
	Name string `json:"name"` // such as "clock"; several checks may have the same
	OK   bool   `json:"ok"`
	Text string `json:"text"`         // what was found, on one line
	Do   string `json:"do,omitempty"` // what to do about it; empty if it is OK
}

// passed returns a check that is OK.
func passed(name, text string) Check { return Check{Name: name, OK: true, Text: text} }

// failed returns a check that is not OK.
func failed(name, text, do string) Check { return Check{Name: name, Text: text, Do: do} }

// AllOK reports whether nothing is wrong.
func AllOK(checks []Check) bool {
	for _, c := range checks {
		if !c.OK {
			return false
		}
	}
	return true
}
