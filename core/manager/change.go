package manager

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// NewServer is a server that is to be added.
type NewServer struct {
	Name        string `json:"name"`        // 1 to 64 of a-z, 0-9 and -, with no - at either end
	Description string `json:"description"` // for the operator alone
	Autostart   bool   `json:"autostart"`   // start it now and with the relay
	Storage     string `json:"storage"`     // the text of a storage block; empty: the default
	MaxAge      string `json:"max_age"`     // of its retention; empty: the default
	MaxBytes    string `json:"max_bytes"`   // of its retention; empty: the default
	Passphrase  []byte `json:"passphrase"`  // protects its keys; empty: nothing does
}

// ServerChange says what is to change in the file of a server. Nil leaves a setting as it
// is; an empty text removes it from the file.
type ServerChange struct {
	Description *string `json:"description,omitempty"`
	Autostart   *bool   `json:"autostart,omitempty"`
	Storage     *string `json:"storage,omitempty"` // the text of a storage block
	MaxAge      *string `json:"max_age,omitempty"`
	MaxBytes    *string `json:"max_bytes,omitempty"`
}

// ServerFiles edits the configuration. Each method writes its file whole or not at all, and
// durably. Errors that concern one setting are a [FieldError].
type ServerFiles interface {
	// Add writes the file of a new server. The error matches [fs.ErrExist] if the
	// configuration has a server of that name.
	Add(NewServer) error
	// Edit changes the file of a server. undo writes back what was there, unless somebody
	// else has changed it since. It is nil if the file says so already.
	Edit(name string, c ServerChange) (undo func() error, err error)
	// Remove removes a server from the configuration, if it is there.
	Remove(name string) error
	// CheckRemoval returns why Remove would fail now, or nil.
	CheckRemoval(name string) error
	// Describe returns what a file says of a server now.
	Describe(name, file string) (ServerText, error)
}

// ServerText is what the file of a server says of what a [ServerChange] changes, as it is
// written there. It may hold secrets of a storage plugin, so it is no part of [Status].
type ServerText struct {
	Description string `json:"description"`
	Autostart   bool   `json:"autostart"`
	Storage     string `json:"storage"`   // the text of its block; empty: the default
	MaxAge      string `json:"max_age"`   // such as "90d"; empty: the default
	MaxBytes    string `json:"max_bytes"` // such as "1GiB"; empty: the default
}

// FieldError is what is wrong with one value that a person has entered.
type FieldError struct {
	Field string // "name", "description", "storage", "max_age", "max_bytes" or "passphrase"
	Text  string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Text }

// ErrNoSuchServer: the configuration that runs has no server of that name.
var ErrNoSuchServer = errors.New("there is no server of that name")

// TooManyAttemptsError: passphrases were tried too often, for this server or at the same
// time. The passphrase was not looked at.
type TooManyAttemptsError struct{ RetryAfter time.Duration }

func (e *TooManyAttemptsError) Error() string {
	return fmt.Sprintf("too many attempts at passphrases: try again in %v", e.RetryAfter)
}

var newServerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)

// checkName refuses a name that a new server cannot have. The name becomes that of a file
// and of a directory.
func checkName(name string) error {
	if newServerName.MatchString(name) {
		return nil
	}
	return &FieldError{"name", "a name has 1 to 64 of the characters a-z, 0-9 and -, and no - at the beginning or the end"}
}

// checkInput refuses what cannot be added whatever the configuration says.
func (n NewServer) checkInput() error {
	if err := checkName(n.Name); err != nil {
		return err
	}
	if len(n.Passphrase) == 0 {
		return nil
	}
	return checkNewPassphrase(n.Passphrase)
}

func checkNewPassphrase(passphrase []byte) error {
	if err := identity.CheckPassphrase(passphrase); err != nil {
		return &FieldError{"passphrase", err.Error()}
	}
	return nil
}

// originKey is the key of the origin in a context.
type originKey struct{}

// WithOrigin returns a context that says where a change comes from, for the log: "console".
func WithOrigin(ctx context.Context, origin string) context.Context {
	return context.WithValue(ctx, originKey{}, origin)
}

// originOf returns where a change comes from.
func originOf(ctx context.Context) string {
	if origin, ok := ctx.Value(originKey{}).(string); ok {
		return origin
	}
	return "relay"
}
