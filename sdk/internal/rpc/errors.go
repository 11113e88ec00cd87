package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxErrorText bounds the text of an error that crosses the border, in bytes.
const maxErrorText = 1 << 10

// Vocabulary pairs the errors of a kind with the codes that stand for them on
// the wire; the proto file of the kind says why these.
type Vocabulary []meaning

type meaning struct {
	err  error
	code codes.Code
}

// StorageErrors are those of storage.proto, and of the service that all kinds
// have.
var StorageErrors = Vocabulary{
	{storage.ErrNotFound, codes.NotFound},
	{storage.ErrTooLarge, codes.OutOfRange},
	{storage.ErrFull, codes.FailedPrecondition},
	{storage.ErrCorrupt, codes.DataLoss},
	{storage.ErrUnavailable, codes.Unavailable},
}

// StatsErrors are those of stats.proto.
var StatsErrors = Vocabulary{
	{stats.ErrInvalid, codes.OutOfRange},
	{stats.ErrUnavailable, codes.Unavailable},
}

var (
	// ErrUnavailable says, in the words of no kind, that a plugin takes no calls now.
	ErrUnavailable = errors.New("plugin unavailable")
	// errUnannounced answers calls of a capability that the plugin does not have.
	errUnannounced = errors.New("not offered by this plugin")
)

// common are the errors of all kinds, behind their own.
var common = Vocabulary{
	{ErrUnavailable, codes.Unavailable},
	// That of any kind, from a constructor: Configure is of no kind.
	{storage.ErrUnavailable, codes.Unavailable},
	{stats.ErrUnavailable, codes.Unavailable},
	{peersync.ErrUnavailable, codes.Unavailable},
	{errUnannounced, codes.Unimplemented},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// Status turns an error of an implementation into one for the wire.
func (v Vocabulary) Status(err error) error {
	if err == nil {
		return nil
	}
	code := codes.Unknown
	for _, m := range slices.Concat(v, common) {
		if errors.Is(err, m.err) {
			code = m.code
			break
		}
	}
	return status.Error(code, Clean(err.Error(), maxErrorText))
}

// Error turns an error of a call back into what the implementation returned.
// Whether a deadline was the caller's own or the relay's is for the caller to
// tell: both come out as the errors of package context.
func (v Vocabulary) Error(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	text := Clean(s.Message(), maxErrorText)
	switch s.Code() {
	case codes.ResourceExhausted, codes.Unimplemented:
		return &ContractError{What: text}
	case codes.Unknown:
		return errors.New(text)
	}
	for _, m := range slices.Concat(v, common) {
		if s.Code() == m.code {
			return &remoteError{text: text, kind: m.err}
		}
	}
	return fmt.Errorf("%v: %s", s.Code(), text)
}

// remoteError has the text of an error on the other side, and its identity.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string {
	switch {
	case e.text == "":
		return e.kind.Error()
	case strings.Contains(e.text, e.kind.Error()):
		return e.text
	}
	return e.kind.Error() + ": " + e.text
}

func (e *remoteError) Unwrap() error { return e.kind }

// ContractError reports an answer that no plugin may give. It is a
// [storage.ErrCorrupt], whatever the kind: whoever answers so must not be used
// further.
type ContractError struct{ What string }

func (e *ContractError) Error() string { return "plugin broke its contract: " + e.What }

func (e *ContractError) Unwrap() error { return storage.ErrCorrupt }

// Clean makes a text from the other side fit to be shown: valid UTF-8, no
// control characters, at most limit bytes.
func Clean(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit]
	}
	return strings.Map(func(r rune) rune {
		if IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// IsControl reports whether a terminal may do something else with r than show
// it: control characters of both sets, and those that turn the direction of text.
func IsControl(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
