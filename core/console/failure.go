package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/net/netutil"
)

// Fault is something that keeps a relay from starting.
type Fault struct {
	Text string // what is wrong
	Do   string // what a person can do about it; may be empty
}

const (
	// failureTimeout is how long a browser may take to open the page of a failure.
	failureTimeout = 2 * time.Minute
	// failureStay is how long the page is there after that, for its style and a second look.
	failureStay = 10 * time.Second
	// maxFailureConnections is enough for one browser.
	maxFailureConnections = 16
)

// ServeFailure shows a person who sees no terminal why the relay cannot start. It calls open with
// the address of a page on loopback that says so, and serves that page until a browser has it, or
// ctx ends, or for two minutes. The page has a random path, because another user of the machine
// need not know what is wrong. A file would do that as well, but a browser in a box of its own,
// such as a snap, cannot read it.
func ServeFailure(ctx context.Context, faults []Fault, open func(address string) error) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("show the failure: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, failureTimeout)
	defer cancel()
	seen := make(chan struct{}, 1)
	path := "/" + randomText(16) + "/"
	server := &http.Server{
		Handler: handleFailure(path, faults, seen), ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(netutil.LimitListener(ln, maxFailureConnections)) }()
	defer func() {
		server.Close() //nolint:errcheck // it only closes connections
		<-served       //nolint:errcheck // that it was closed
	}()
	if err := open("http://" + ln.Addr().String() + path); err != nil {
		return err
	}
	select {
	case <-seen:
	case <-ctx.Done():
		return errors.New("show the failure: no browser has asked for the page")
	}
	select {
	case <-time.After(failureStay):
	case <-ctx.Done():
	}
	return nil
}

// failurePage says why the relay does not run.
type failurePage struct{ Faults []Fault }

func handleFailure(path string, faults []Fault, seen chan<- struct{}) http.Handler {
	page := failurePage{slices.Clone(faults)}
	for i, f := range page.Faults {
		page.Faults[i] = Fault{capitalize(f.Text), capitalize(f.Do)}
	}
	c := &Console{log: slog.New(slog.DiscardHandler)}
	mux := http.NewServeMux()
	mux.Handle("GET /static/", serveStatic())
	mux.HandleFunc("GET "+path+"{$}", func(w http.ResponseWriter, _ *http.Request) {
		c.renderPlain(w, http.StatusOK, "failure", page)
		select {
		case seen <- struct{}{}:
		default: // it was seen before
		}
	})
	return c.guard(mux)
}
