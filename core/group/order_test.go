package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// chain returns a message for each word such as "b<a@5!": b was posted at second 5 after
// a; the ! marks one that is not verified.
func chain(words ...string) []Message {
	var messages []Message
	for _, w := range words {
		m := Message{Verified: !strings.HasSuffix(w, "!")}
		name, at, _ := strings.Cut(strings.TrimSuffix(w, "!"), "@")
		name, previous, _ := strings.Cut(name, "<")
		second := 0
		fmt.Sscan(at, &second)
		m.Text, m.Signature, m.Previous, m.Time = w, []byte(name), []byte(previous), time.Unix(int64(second), 0)
		messages = append(messages, m)
	}
	return messages
}

// sortedTexts returns the texts of messages in the order of their chain.
func sortedTexts(messages []Message) string {
	var texts []string
	for _, i := range ChainOrder(messages) {
		texts = append(texts, messages[i].Text)
	}
	return strings.Join(texts, " ")
}

func TestChainOrder(t *testing.T) {
	for name, want := range map[string]string{
		"a chain against the clocks":                              "a@9 b<a@5 c<b@1",
		"two answers, the earlier one first":                      "a@1 c<a@2 b<a@3",
		"the same second":                                         "a@1 b@1 c@1",
		"a previous one that nobody has":                          "b<x@1 a@2",
		"a liar in the future keeps nobody up":                    "a@1 c<a@2 d<c@3 b<a@99",
		"a previous one under whose signature another was sealed": "a@5! a@7 b<a@1",
		"one that names itself":                                   "b@1 a<a@2",
	} {
		messages := chain(strings.Fields(want)...)
		for range 20 {
			rand.Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
			if got := sortedTexts(messages); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
				break
			}
		}
	}
}

func TestChainOrderLosesNothing(t *testing.T) {
	circle := chain("a<b@1", "b<a@2", "c<b@3", "d@4")
	texts := strings.Fields(sortedTexts(circle))
	slices.Sort(texts)
	if got := strings.Join(texts, " "); got != "a<b@1 b<a@2 c<b@3 d@4" {
		t.Errorf("got %s", got)
	}
	if got := ChainOrder(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestHostsOverlay(t *testing.T) {
	list := []byte{1, 2, 3}
	got, ok := UnwrapHosts(WrapHosts(list))
	if !ok || string(got) != string(list) {
		t.Errorf("got %v, %t", got, ok)
	}
	for _, text := range []string{WrapText("hello"), "hello", `{"o":9878,"d":"?"}`, `{"o":9878}`, ""} {
		if _, ok := UnwrapHosts(text); ok {
			t.Errorf("%q taken for a list of hosts", text)
		}
	}
}
