package console

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

func serverPath(name string) string { return "/servers/" + url.PathEscape(name) }

// addPage is the page on which a server is added.
type addPage struct {
	Form form
	Ages []choice
	Room []choice
}

// choice is one of several values of a field.
type choice struct{ Value, Label string }

// How long and how much a server keeps, as people choose it. The first is the default of
// the relay.
var (
	ageChoices = []choice{{"", "a year (recommended)"}, {"30d", "30 days"}, {"90d", "90 days"}, {"1825d", "5 years"}}
	// roomChoices are the sizes of all messages together.
	roomChoices = []choice{{"", "2 GB (recommended)"}, {"500MiB", "500 MB"}, {"10GiB", "10 GB"}, {"50GiB", "50 GB"}}
)

// addFields are the fields whose values are shown again if something is wrong with one.
// Passphrases are not.
var addFields = []string{"name", "description", "autostart", "protect", "max_age", "max_bytes"}

func (v *visit) showAdd() {
	v.renderAdd(v.newForm(map[string]string{"autostart": "on"}))
}

func (v *visit) renderAdd(f form) { v.renderForm(f, "add", addPage{f, ageChoices, roomChoices}) }

// values returns fields of the form of a POST.
func (v *visit) values(fields []string) map[string]string {
	out := make(map[string]string)
	for _, name := range fields {
		out[name] = v.value(name)
	}
	return out
}

func (v *visit) addServer() {
	v.submit(func() string {
		f := v.newForm(v.values(addFields))
		n := manager.NewServer{
			Name: strings.TrimSpace(v.value("name")), Description: strings.TrimSpace(v.value("description")),
			Autostart: v.value("autostart") != "", MaxAge: v.value("max_age"), MaxBytes: v.value("max_bytes"),
		}
		v.checkNew(&f, n)
		if v.value("protect") != "" {
			n.Passphrase = v.newPassphrase(&f)
		} else if v.value("passphrase") != "" {
			f.refuse("protect", "Tick this to use the passphrase below, or leave the passphrase empty.")
		}
		if !f.faulty() {
			f.refuseAddError(v.change(func(ctx context.Context) error {
				_, err := v.c.cfg.Relay.AddServer(ctx, n)
				return err
			}, func(st manager.Status) bool { return hasServer(st, n.Name) }))
		}
		if f.faulty() {
			v.renderAdd(f)
			return ""
		}
		v.session.setNotice(notice{Text: n.Name + " was added."})
		return serverPath(n.Name)
	})
}

func hasServer(st manager.Status, name string) bool {
	return slices.ContainsFunc(st.Servers, func(s manager.ServerStatus) bool { return s.Name == name })
}

const nameTaken = "There is a server of that name already. Choose another."

// usableName is the rule of the manager, to say all that is wrong with a form at once.
var usableName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)

// checkNew refuses what a person can put right before the relay is asked.
func (v *visit) checkNew(f *form, n manager.NewServer) {
	switch {
	case n.Name == "":
		f.refuse("name", "Give the server a name, such as book-club.")
	case !usableName.MatchString(n.Name):
		f.refuse("name", "Use only small letters a to z, digits and hyphens, 64 at most, and no hyphen at either end.")
	case hasServer(v.c.watch.status(v.r.Context()), n.Name):
		f.refuse("name", nameTaken)
	}
	if !isChoice(ageChoices, n.MaxAge) {
		f.refuse("max_age", "Choose one of the list.")
	}
	if !isChoice(roomChoices, n.MaxBytes) {
		f.refuse("max_bytes", "Choose one of the list.")
	}
}

func isChoice(all []choice, value string) bool {
	return slices.ContainsFunc(all, func(c choice) bool { return c.Value == value })
}

func (f *form) refuseAddError(err error) {
	if errors.Is(err, fs.ErrExist) {
		f.refuse("name", nameTaken)
		return
	}
	f.refuseError(err, "passphrase")
}

// newPassphrase returns the new passphrase of a form, which has it twice.
func (v *visit) newPassphrase(f *form) []byte {
	switch passphrase := v.value("passphrase"); {
	case passphrase == "":
		f.refuse("passphrase", "Enter a passphrase of at least 8 characters.")
	case v.value("repeat") != passphrase:
		f.refuse("repeat", "The two passphrases differ. Enter the same one twice.")
	default:
		return []byte(passphrase)
	}
	return nil
}
