package negentropy_test

import (
	"context"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// A whole session. In a replicator the messages travel with peersync.Links.Send, and the two ends
// are negentropy.ForPeer(host, peer).
func Example() {
	keys := drawKeys(newRand(1), 1000, 480_000, 24)
	here, there := newKeySet(keys[3:], nil), newKeySet(keys[:998], nil)

	ctx, all := context.Background(), storage.Range{}
	message, err := negentropy.Initiate(ctx, here, all)
	if err != nil {
		fmt.Println(err)
		return
	}
	for round := 1; message != nil && round <= negentropy.MaxRounds; round++ {
		answer, err := negentropy.Respond(ctx, there, all, message) // at the other end
		if err != nil {
			fmt.Println(err)
			return
		}
		next, have, need, err := negentropy.Reconcile(ctx, here, all, answer)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("round %d: %d and %d bytes; Offer %d, Request %d\n", round, len(message), len(answer), len(have), len(need))
		message = next
	}
	// Output:
	// round 1: 322 and 1302 bytes; Offer 0, Request 0
	// round 2: 656 and 688 bytes; Offer 2, Request 3
}

// Windows of a set, of which only those that differ become sessions.
func ExampleCompare() {
	keys := drawKeys(newRand(1), 10_000, 480_000, 24)
	here, there := newKeySet(keys[1:], nil), newKeySet(keys, nil)

	ctx, all := context.Background(), storage.Range{}
	message, windows, err := negentropy.Compare(ctx, here, all, 16)
	if err != nil {
		fmt.Println(err)
		return
	}
	differing, err := negentropy.Differing(ctx, there, all, message) // at the other end
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d windows in %d bytes, %d differ\n", len(windows), len(message), len(differing))
	for _, window := range differing {
		first, err := negentropy.Initiate(ctx, there, window) // at the other end
		if err != nil {
			fmt.Println(err)
			return
		}
		// Here the session goes on as if this end had asked for it.
		next, _, _, err := negentropy.Reconcile(ctx, here, window, first)
		fmt.Printf("message of %d bytes, then of %d, %v\n", len(first), len(next), err)
	}
	// Output:
	// 16 windows in 328 bytes, 1 differ
	// message of 330 bytes, then of 338, <nil>
}
