package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxErrorText bounds the text of an error that crosses the border, in bytes.
const maxErrorText = 1 << 10

// storageCodes pairs the errors of a store with the codes that stand for them;
// storage.proto says why these.
var storageCodes = []struct {
	err  error
	code codes.Code
}{
	{storage.ErrNotFound, codes.NotFound},
	{storage.ErrTooLarge, codes.OutOfRange},
	{storage.ErrFull, codes.FailedPrecondition},
	{storage.ErrCorrupt, codes.DataLoss},
	{storage.ErrUnavailable, codes.Unavailable},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// Status turns an error of an implementation into one for the wire.
func Status(err error) error {
	if err == nil || err == errNoWatch {
		return err
	}
	for _, c := range storageCodes {
		if errors.Is(err, c.err) {
			return status.Error(c.code, Clean(err.Error(), maxErrorText))
		}
	}
	return status.Error(codes.Unknown, Clean(err.Error(), maxErrorText))
}

// Error turns an error of a call back into what the implementation returned.
// Whether a deadline was the caller's own or the relay's is for the caller to
// tell: both come out as the errors of package context.
func Error(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	text := Clean(s.Message(), maxErrorText)
	for _, c := range storageCodes {
		if s.Code() == c.code {
			return &remoteError{text: text, kind: c.err}
		}
	}
	switch s.Code() {
	case codes.ResourceExhausted, codes.Unimplemented:
		return &ContractError{What: text}
	case codes.Unknown:
		return errors.New(text)
	}
	return fmt.Errorf("%v: %s", s.Code(), text)
}

// errNoWatch answers a Watch that was never announced.
var errNoWatch = status.Error(codes.Unimplemented, "the store has no Watch")

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
// [storage.ErrCorrupt]: whoever answers so must not be used further.
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
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}
