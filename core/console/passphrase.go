package console

import "context"

// passphrasePage is the page on which a passphrase is set, changed or taken off.
type passphrasePage struct {
	Form      form
	Name      string
	Protected bool
}

func (v *visit) showPassphrase() {
	if s, ok := v.findServer(); ok {
		v.renderForm(v.newForm(nil), "passphrase", passphrasePage{v.newForm(nil), s.Name, s.Protected})
	}
}

func (v *visit) changePassphrase() {
	v.submit(func() string {
		s, ok := v.findServer()
		if !ok {
			return ""
		}
		f := v.newForm(v.values([]string{"remove"}))
		remove := s.Protected && v.value("remove") != ""
		var old, next []byte
		if s.Protected {
			if old = []byte(v.value("old")); len(old) == 0 {
				f.refuse("old", "Enter the passphrase that the server has now.")
			}
		}
		if !remove {
			next = v.newPassphrase(&f)
		} else if v.value("passphrase") != "" {
			f.refuse("remove", "Leave the new passphrase empty to take the protection off.")
		}
		if !f.faulty() {
			f.refuseError(v.change(func(ctx context.Context) error {
				return v.c.cfg.Relay.ChangePassphrase(ctx, s.Name, old, next)
			}, nil), "old")
		}
		if f.faulty() {
			v.renderForm(f, "passphrase", passphrasePage{f, s.Name, s.Protected})
			return ""
		}
		text := "The passphrase is set. Keep it in a safe place: nobody can bring it back."
		if remove {
			text = "The keys are no longer protected."
		}
		v.session.setNotice(notice{Text: text})
		return serverPath(s.Name)
	})
}
