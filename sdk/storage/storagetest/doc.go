// Package storagetest proves that a store keeps the contract of
// [github.com/cwtch-relay/cwtch-relay/sdk/storage]. It is for authors of
// storage plugins, who call [Run] from a test, and holds [Memory], a store for
// tests of whatever uses one.
package storagetest
