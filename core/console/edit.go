package console

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// editPage is the page on which a server is edited.
type editPage struct {
	Form form
	Name string
	Seen string // stands for the values that the form was made from
	// Now are the values that somebody else has set since, if the form is stale.
	Now editValues
}

// editValues are what the page can change.
type editValues struct {
	Description string
	Autostart   bool
}

func editable(s manager.ServerStatus) editValues { return editValues{s.Description, s.Autostart} }

// sealValues returns a text that stands for values.
func (v *visit) sealValues(e editValues) string {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // they are plain values
	}
	return base64.RawURLEncoding.EncodeToString(v.session.sign("edit " + string(text)))
}

func (v *visit) showEdit() {
	if s, ok := v.findServer(); ok {
		e := editable(s)
		values := map[string]string{"description": e.Description}
		if e.Autostart {
			values["autostart"] = "on"
		}
		v.renderEdit(v.newForm(values), s)
	}
}

func (v *visit) renderEdit(f form, s manager.ServerStatus) {
	now := editable(s)
	v.renderForm(f, "edit", editPage{Form: f, Name: s.Name, Seen: v.sealValues(now), Now: now})
}

func (v *visit) editServer() {
	v.submit(func() string {
		v.c.watch.forget()
		s, ok := v.findServer()
		if !ok {
			return ""
		}
		f := v.newForm(v.values([]string{"description", "autostart"}))
		old, wanted := editable(s), editValues{strings.TrimSpace(v.value("description")), v.value("autostart") != ""}
		f.Stale = v.value("seen") != v.sealValues(old) && wanted != old
		if !f.faulty() {
			f.refuseError(v.applyEdit(s.Name, old, wanted), "description")
		}
		if f.faulty() {
			v.renderEdit(f, s)
			return ""
		}
		v.session.setNotice(notice{Text: "Your changes are saved."})
		return serverPath(s.Name)
	})
}

// applyEdit changes what differs, and nothing else in the file of the server.
func (v *visit) applyEdit(name string, old, wanted editValues) error {
	var c manager.ServerChange
	if wanted.Description != old.Description {
		c.Description = &wanted.Description
	}
	if wanted.Autostart != old.Autostart {
		c.Autostart = &wanted.Autostart
	}
	if c == (manager.ServerChange{}) {
		return nil
	}
	return v.change(func(ctx context.Context) error {
		_, err := v.c.cfg.Relay.EditServer(ctx, name, c)
		return err
	}, nil)
}
