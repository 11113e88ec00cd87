package console

import (
	"fmt"
	"mime"
	"net/http"

	"rsc.io/qr"
)

// findBundle returns the key bundle of the server that a request is about. If it returns
// false, the browser has its answer.
func (v *visit) findBundle() (name, bundle string, ok bool) {
	s, ok := v.findServer()
	if !ok {
		return "", "", false
	}
	bundle, err := v.c.cfg.Relay.Bundle(s.Name)
	if err != nil {
		v.renderMessage(http.StatusNotFound, "There is no key bundle yet", capitalize(err.Error()))
		return "", "", false
	}
	return s.Name, bundle, true
}

// saveBundle answers with the key bundle as a file.
func (v *visit) saveBundle() {
	if name, bundle, ok := v.findBundle(); ok {
		v.sendFile("cwtch-server-"+name+".txt", bundle+"\n")
	}
}

// sendFile answers with a text that the browser saves.
func (v *visit) sendFile(name, text string) {
	h := v.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	fmt.Fprint(v.w, text)
}

// showQR answers with the key bundle as a QR code.
func (v *visit) showQR() {
	_, bundle, ok := v.findBundle()
	if !ok {
		return
	}
	code, err := qr.Encode(bundle, qr.L) // a screen has no dirt; few and large dots are easy to scan
	if err != nil {
		v.renderMessage(http.StatusInternalServerError, "The QR code cannot be made", capitalize(err.Error()))
		return
	}
	v.w.Header().Set("Content-Type", "image/png")
	v.w.Write(code.PNG()) //nolint:errcheck // the browser has gone
}
