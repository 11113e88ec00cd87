package group

import (
	"bytes"
	"encoding/json"
)

// overlayText is the number under which Cwtch clients send chat. They use
// others for quotes, invites and files, which this package does not interpret.
const overlayText = 1

type overlay struct {
	Number int     `json:"o"`
	Data   *string `json:"d"`
}

// WrapText wraps chat as Cwtch clients expect it in the text of a message.
func WrapText(chat string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it would be escaped a second time, and the text is limited
	if err := e.Encode(overlay{overlayText, &chat}); err != nil {
		panic(err) // a string always marshals
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// UnwrapText is the inverse of WrapText. If the text is not wrapped chat, it returns
// the text as it is and false.
func UnwrapText(text string) (chat string, ok bool) {
	var o overlay
	if json.Unmarshal([]byte(text), &o) != nil || o.Number != overlayText || o.Data == nil {
		return text, false
	}
	return *o.Data, true
}
