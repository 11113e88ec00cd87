package main

import "testing"

func TestStorageBlock(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"bolt":                         `storage "bolt" {}`,
		" sqlite { path = \"a.db\" } ": `storage "sqlite" { path = "a.db" }`,
		"bolt {\n  path = \"a\"\n}":    "storage \"bolt\" {\n  path = \"a\"\n}",
		`storage "bolt" {}`:            `storage "bolt" {}`,
		"bolt {":                       "bolt {", // the reader of the file says what is wrong
	} {
		if got := storageBlock(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
