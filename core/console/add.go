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
	Kept keptChoices
}

// MoreOpen reports whether something is entered or wrong in what is folded away.
func (p addPage) MoreOpen() bool {
	for _, name := range []string{"max_age", "max_bytes", "storage"} {
		if p.Form.Values[name] != "" || p.Form.Errors[name] != "" {
			return true
		}
	}
	return false
}

// addFields are the fields whose values are shown again if something is wrong with one.
// Passphrases are not.
var addFields = []string{"name", "description", "autostart", "protect", "max_age", "max_bytes", "storage"}

func (v *visit) showAdd() {
	v.renderAdd(v.newForm(map[string]string{"autostart": "on"}))
}

func (v *visit) renderAdd(f form) { v.renderForm(f, "add", addPage{f, keepChoices(nil)}) }

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
			Storage: storageText(v.value("storage")),
		}
		v.checkNew(&f, n)
		if v.value("protect") != "" {
			n.Passphrase = v.newPassphrase(&f)
		} else if v.value("passphrase") != "" {
			f.refuse("protect", "Tick this to use the passphrase below, or leave the passphrase empty.")
		}
		if !f.faulty() {
			f.refuseAddError(v.change(func(ctx context.Context) error {
				plan, err := v.c.cfg.Relay.AddServer(ctx, n)
				return explainPlan(plan, err, "")
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
	f.checkChoices(keepChoices(nil))
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
