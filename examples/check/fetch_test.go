package check_test

import (
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// awaitPage fetches a page until it matches. There is no event for new numbers.
func awaitPage(ts *testscript.TestScript, args []string) {
	want := regexp.MustCompile(args[1])
	client := http.Client{Timeout: patience}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(patience); ; {
		text := get(ts, client, args[0])
		if want.Match(text) {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			ts.Fatalf("%s does not show %q:\n%s", args[0], args[1], text)
		}
	}
}

func get(ts *testscript.TestScript, client http.Client, url string) []byte {
	response, err := client.Get(url)
	ts.Check(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	ts.Check(err)
	return text
}
