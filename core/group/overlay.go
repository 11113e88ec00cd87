package group

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

// overlayText is the number under which Cwtch clients send chat. They use
// others for quotes, invites and files, which this package does not interpret.
const overlayText = 1

// overlayHosts is the number of our own under which a server-less group announces its
// hosts. Clients of Cwtch are never in such a group.
const overlayHosts = 9878

type overlay struct {
	Number int     `json:"o"`
	Data   *string `json:"d"`
}

// WrapText wraps chat as Cwtch clients expect it in the text of a message.
func WrapText(chat string) string { return wrapOverlay(overlayText, chat) }

// WrapHosts wraps an encoded list of hosts, with which a group tells its members that
// its hosts have changed.
func WrapHosts(list []byte) string {
	return wrapOverlay(overlayHosts, base64.StdEncoding.EncodeToString(list))
}

func wrapOverlay(number int, data string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it would be escaped a second time, and the text is limited
	if err := e.Encode(overlay{number, &data}); err != nil {
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

// UnwrapHosts is the inverse of WrapHosts; ok is false for any other text. Anybody in the
// group can send one: only the signature in the list tells whether the manager did.
func UnwrapHosts(text string) (list []byte, ok bool) {
	var o overlay
	if json.Unmarshal([]byte(text), &o) != nil || o.Number != overlayHosts || o.Data == nil {
		return nil, false
	}
	list, err := base64.StdEncoding.Strict().DecodeString(*o.Data)
	return list, err == nil && len(list) > 0
}
