package docs_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestLimitsOfOperations compares the defaults in the table of limits of
// operations.md with those of configuration.md, which is made of the code, and what
// follows from them: how many posts a stranger can make in a second.
func TestLimitsOfOperations(t *testing.T) {
	defaults := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [^|]* \\| `([^`]*)` \\|").FindAllStringSubmatch(part(t, "configuration.md", "\n## `limits`\n"), -1) {
		defaults[m[1]] = spelledOut(strings.Trim(m[2], `"`))
	}
	section := part(t, "operations.md", "\n## Limits\n")
	told := make(map[string]bool)
	for _, row := range strings.Split(section, "\n") {
		cells := strings.Split(row, " | ")
		if !strings.HasPrefix(row, "| `") || len(cells) < 3 {
			continue
		}
		for _, m := range spansOf(cells[0]) {
			told[m] = true
			if m == "posts_per_hour" || m == "bytes_per_day" {
				continue // which follow from the retention
			}
			if want, known := defaults[m]; !known || !regexp.MustCompile(`(^|[ ,])`+regexp.QuoteMeta(want)+`([ ,]|$)`).MatchString(cells[1]) {
				t.Errorf("%s is %q in operations.md, and its default is %q", m, cells[1], want)
			}
		}
	}
	for name := range defaults {
		if !told[name] {
			t.Errorf("operations.md says nothing of the limit %s", name)
		}
	}
	batches, err := strconv.Atoi(defaults["token_batches_per_second"])
	if err != nil {
		t.Fatal(err)
	}
	batch, err := strconv.Atoi(defaults["token_batch"])
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`post ([0-9 ]+) envelopes a second`).FindStringSubmatch(section)
	if m == nil || strings.ReplaceAll(m[1], " ", "") != strconv.Itoa(batches*batch) {
		t.Errorf("operations.md says that %q posts can be made in a second; it is %d", m, batches*batch)
	}
}

// part is the section of a page that begins with a heading.
func part(t *testing.T, page, heading string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), heading)
	if !found {
		t.Fatalf("%s has no %q", page, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

func spansOf(cell string) (spans []string) {
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		spans = append(spans, m[1])
	}
	return spans
}

// spelledOut turns "30s" into "30 s" and "5m" into "5 min", as people read it.
func spelledOut(value string) string {
	m := regexp.MustCompile(`^([0-9]+)([a-zA-Z]+)$`).FindStringSubmatch(value)
	if m == nil {
		return value
	}
	unit := m[2]
	if unit == "m" {
		unit = "min"
	}
	return m[1] + " " + unit
}
