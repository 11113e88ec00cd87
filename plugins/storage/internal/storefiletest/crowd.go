//go:build !race

package storefiletest

// Crowd is the size of the crowd with which a store is proved as it is shipped: that of
// the suite.
const Crowd = 0
