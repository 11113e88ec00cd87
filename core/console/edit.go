package console

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// editPage is the page on which a server is edited.
type editPage struct {
	Form form
	Name string
	Seen string // stands for the values that the form was made from
	// Now are the values that somebody else has set since, if the form is stale.
	Now  editValues
	Kept keptChoices
	// Fixed reports that the server runs, so that its store cannot be another.
	Fixed bool
}

// editValues are what the page can change, as the file of the server has it.
type editValues manager.ServerText

var editFields = []string{"description", "autostart", "max_age", "max_bytes", "storage"}

// formValues are the values of a form that changes nothing.
func (e editValues) formValues() map[string]string {
	values := map[string]string{"description": e.Description, "max_age": e.MaxAge, "max_bytes": e.MaxBytes, "storage": nameStorage(e.Storage)}
	if e.Autostart {
		values["autostart"] = "on"
	}
	return values
}

// Age, Room and Store are values in the words of the lists.
func (e editValues) Age() string   { return describeChoice(ageChoices, e.MaxAge) }
func (e editValues) Room() string  { return describeChoice(roomChoices, e.MaxBytes) }
func (e editValues) Store() string { return describeChoice(storageChoices, nameStorage(e.Storage)) }

// sealValues returns a text that stands for values.
func (v *visit) sealValues(e editValues) string {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // they are plain values
	}
	return base64.RawURLEncoding.EncodeToString(v.session.sign("edit " + string(text)))
}

// readEditable returns what the file of the server says that a request is about. If it returns
// false, the browser has its answer.
func (v *visit) readEditable() (manager.ServerStatus, editValues, bool) {
	s, ok := v.findServer()
	if !ok {
		return s, editValues{}, false
	}
	text, err := v.c.cfg.Relay.DescribeServer(s.Name)
	switch {
	case errors.Is(err, manager.ErrNoSuchServer):
		v.renderMissing()
	case err != nil:
		v.renderMessage(http.StatusConflict, "This server cannot be edited here", "Its file has a mistake, which somebody has to correct first: "+firstLine(err.Error()))
	}
	return s, editValues(text), err == nil
}

func (v *visit) showEdit() {
	if s, e, ok := v.readEditable(); ok {
		v.renderEdit(v.newForm(e.formValues()), s, e)
	}
}

func (v *visit) renderEdit(f form, s manager.ServerStatus, now editValues) {
	v.renderForm(f, "edit", editPage{
		Form: f, Name: s.Name, Seen: v.sealValues(now), Now: now, Kept: keepChoices(now.formValues()), Fixed: s.Relay != nil,
	})
}

func (v *visit) editServer() {
	v.submit(func() string {
		v.c.watch.forget()
		s, old, ok := v.readEditable()
		if !ok {
			return ""
		}
		f := v.newForm(v.values(editFields))
		kept := keepChoices(old.formValues())
		if s.Relay != nil { // the form has no such field
			f.Values["storage"] = nameStorage(old.Storage)
		}
		f.checkChoices(kept)
		c := old.compare(f.Values)
		f.Stale = v.value("seen") != v.sealValues(old) && c != (manager.ServerChange{})
		if !f.faulty() && c != (manager.ServerChange{}) {
			f.refuseError(v.change(func(ctx context.Context) error {
				plan, err := v.c.cfg.Relay.EditServer(ctx, s.Name, c)
				return explainPlan(plan, err, refusedField(c))
			}, nil), "description")
		}
		if f.faulty() {
			v.renderEdit(f, s, old)
			return ""
		}
		v.session.setNotice(notice{Text: "Your changes are saved."})
		return serverPath(s.Name)
	})
}

// compare returns what has to be changed for the file to say what a form says.
func (e editValues) compare(wanted map[string]string) (c manager.ServerChange) {
	if text := strings.TrimSpace(wanted["description"]); text != e.Description {
		c.Description = &text
	}
	if on := wanted["autostart"] != ""; on != e.Autostart {
		c.Autostart = &on
	}
	if age := wanted["max_age"]; age != e.MaxAge {
		c.MaxAge = &age
	}
	if room := wanted["max_bytes"]; room != e.MaxBytes {
		c.MaxBytes = &room
	}
	if store := wanted["storage"]; store != nameStorage(e.Storage) {
		c.Storage = new(storageText(store))
	}
	return c
}

// refusedField is the field that a relay may refuse although its value is right.
func refusedField(c manager.ServerChange) string {
	if c.Storage != nil {
		return "storage"
	}
	return ""
}
