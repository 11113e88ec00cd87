//go:build !race

package powerloss

const slower = 1
