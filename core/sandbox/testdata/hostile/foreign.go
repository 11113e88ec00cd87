//go:build !amd64

package main

import "errors"

func foreign([]string) error { return errors.New("this architecture has no other") }

func clones([]string) error { return errors.New("this architecture has no such loop") }
