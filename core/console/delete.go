package console

import (
	"context"
)

// deletePage is the page on which a server is deleted.
type deletePage struct {
	Form form
	serverView
}

func (v *visit) showDelete() {
	if s, ok := v.findServer(); ok {
		v.renderDelete(v.newForm(nil), v.c.viewOne(s, torView{}))
	}
}

func (v *visit) renderDelete(f form, s serverView) {
	v.renderForm(f, "delete", deletePage{f, s})
}

func (v *visit) deleteServer() {
	v.submit(func() string {
		s, ok := v.findServer()
		if !ok {
			return ""
		}
		f := v.newForm(v.values([]string{"name"}))
		if v.value("name") != s.Name {
			f.refuse("name", "Type the name of the server exactly: "+s.Name)
		}
		passphrase := []byte(v.value("passphrase"))
		if s.Protected && len(passphrase) == 0 {
			f.refuse("passphrase", "Enter the passphrase of the server.")
		}
		if !f.faulty() {
			f.refuseError(v.change(func(ctx context.Context) error {
				return v.c.cfg.Relay.DeleteServer(ctx, s.Name, passphrase)
			}, nil), "passphrase")
		}
		if f.faulty() {
			v.renderDelete(f, v.c.viewOne(s, torView{}))
			return ""
		}
		v.session.setNotice(notice{Text: s.Name + " was deleted."})
		return "/"
	})
}
