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

// maxErrorText bounds the text of an error on the wire, in bytes.
const maxErrorText = 1 << 10

// ErrorCodes maps the errors of a kind to their gRPC codes and back. The proto file of
// the kind explains the choice.
type ErrorCodes []errorCode

type errorCode struct {
	err  error
	code codes.Code
}

// StorageErrors are the errors of storage.proto, and of plugin.proto, which all kinds share.
var StorageErrors = ErrorCodes{
	{storage.ErrNotFound, codes.NotFound},
	{storage.ErrTooLarge, codes.OutOfRange},
	{storage.ErrFull, codes.FailedPrecondition},
	{storage.ErrCorrupt, codes.DataLoss},
	{storage.ErrUnavailable, codes.Unavailable},
}

// StatsErrors are the errors of stats.proto.
var StatsErrors = ErrorCodes{
	{stats.ErrInvalid, codes.OutOfRange},
	{stats.ErrUnavailable, codes.Unavailable},
}

var (
	// ErrUnavailable means that a plugin of any kind takes no calls now.
	ErrUnavailable = errors.New("plugin unavailable")
	// errNotOffered answers a call that needs a capability which the plugin lacks.
	errNotOffered = errors.New("not offered by this plugin")
)

// commonErrors are mapped for every kind, after its own.
var commonErrors = ErrorCodes{
	{ErrUnavailable, codes.Unavailable},
	// Configure belongs to no kind, and a constructor returns the error of its own.
	{storage.ErrUnavailable, codes.Unavailable},
	{stats.ErrUnavailable, codes.Unavailable},
	{peersync.ErrUnavailable, codes.Unavailable},
	{errNotOffered, codes.Unimplemented},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// ToStatus turns an error of an implementation into a gRPC status.
func (v ErrorCodes) ToStatus(err error) error {
	if err == nil {
		return nil
	}
	code := codes.Unknown
	for _, m := range slices.Concat(v, commonErrors) {
		if errors.Is(err, m.err) {
			code = m.code
			break
		}
	}
	return status.Error(code, Clean(err.Error(), maxErrorText))
}

// FromStatus turns the error of a call back into what the implementation returned.
// A deadline comes back as an error of package context, whether the caller or the relay
// set it.
func (v ErrorCodes) FromStatus(err error) error {
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
	for _, m := range slices.Concat(v, commonErrors) {
		if s.Code() == m.code {
			return &remoteError{text: text, kind: m.err}
		}
	}
	return fmt.Errorf("%v: %s", s.Code(), text)
}

// remoteError is an error from the other side: its text, and the sentinel it wraps.
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

// ContractError reports an answer that no plugin may give. It wraps [storage.ErrCorrupt]
// for every kind: a plugin that answers so must not be used further.
type ContractError struct{ What string }

func (e *ContractError) Error() string { return "plugin broke its contract: " + e.What }

func (e *ContractError) Unwrap() error { return storage.ErrCorrupt }

// Clean makes a text from the other side safe to show: at most limit bytes of valid UTF-8
// without control characters.
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

// IsControl reports whether a terminal may act on r instead of showing it: C0 and C1
// control characters, and those that change the direction of text.
func IsControl(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
