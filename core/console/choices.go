package console

import (
	"slices"
	"strings"
)

// choice is one of several values of a field.
type choice struct{ Value, Label string }

// How long, how much and how a server keeps messages, as people choose it. The first of each is
// the default of the relay.
var (
	ageChoices = []choice{{"", "a year (recommended)"}, {"30d", "30 days"}, {"90d", "90 days"}, {"1825d", "5 years"}}
	// roomChoices are the sizes of all messages together.
	roomChoices    = []choice{{"", "2 GB (recommended)"}, {"500MiB", "500 MB"}, {"10GiB", "10 GB"}, {"50GiB", "50 GB"}}
	storageChoices = []choice{{"", "one file (recommended)"}, {"sqlite", "an SQLite database"}}
)

// keptStorage stands for a storage block that somebody has written into the file of a server. The
// pages do not show it, since it may hold the password of a database.
const keptStorage = "as in the file"

// keptChoices are the lists of a form: the choices above, and what a server has now.
type keptChoices struct{ Ages, Room, Stores []choice }

// keepChoices returns the lists for a server with these values, as a form has them.
func keepChoices(now map[string]string) keptChoices {
	return keptChoices{addChoice(ageChoices, now["max_age"]), addChoice(roomChoices, now["max_bytes"]), addChoice(storageChoices, now["storage"])}
}

func addChoice(all []choice, value string) []choice {
	if isChoice(all, value) {
		return all
	}
	return append(slices.Clone(all), choice{value, describeChoice(all, value)})
}

func isChoice(all []choice, value string) bool {
	return slices.ContainsFunc(all, func(c choice) bool { return c.Value == value })
}

func describeChoice(all []choice, value string) string {
	for _, c := range all {
		if c.Value == value {
			return strings.TrimSuffix(c.Label, " (recommended)")
		}
	}
	return value + " (now)"
}

// checkChoices refuses values that no list has.
func (f *form) checkChoices(lists keptChoices) {
	for _, field := range []struct {
		name string
		all  []choice
	}{{"max_age", lists.Ages}, {"max_bytes", lists.Room}, {"storage", lists.Stores}} {
		if !isChoice(field.all, f.Values[field.name]) {
			f.refuse(field.name, "Choose one of the list.")
		}
	}
}

// nameStorage returns the choice that stands for a storage block.
func nameStorage(text string) string {
	switch strings.Join(strings.Fields(text), " ") {
	case "", `storage "bolt" {}`, `storage "bolt" { }`:
		return ""
	case `storage "sqlite" {}`, `storage "sqlite" { }`:
		return "sqlite"
	}
	return keptStorage
}

// storageText returns the storage block of a choice.
func storageText(name string) string {
	if name == "sqlite" {
		return `storage "sqlite" {}`
	}
	return ""
}
