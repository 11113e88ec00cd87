// Package console shows the servers of a relay as pages in a browser, on which a person
// adds, edits, starts, stops and deletes them. It is for the daemon, which calls [New] and
// [Console.Serve], and hands out addresses with [Console.IssueKey].
//
// # Pages
//
// Pages are rendered here and work without script. The script only keeps them up to date:
// a stream of server-sent events says that a page would now look different, and the script
// fetches it again and replaces the parts that differ. So there is one way to render.
//
// # Who may look
//
// A one-time key in the path of an address opens a session and is void afterwards. The
// session is a cookie that no script reads and no other site can cause to be sent. All
// pages are below a random path, the prefix, because cookies do not know ports: other
// programs on this machine that serve pages of the same host never get the cookie,
// unless they know the prefix. The prefix alone opens nothing.
//
// # Guarantees
//
// Requests are refused if they name another host (DNS rebinding), come from another
// origin, are too large or too slow. Each form has a token that belongs to its session
// and counts once: a form that is sent twice is done once and answered twice. A form that
// was made from values that have changed since is refused and shows the new ones.
// Sessions, keys, streams, connections and what is remembered of forms are bounded. Who has
// not signed in cannot keep others out by holding connections.
//
// # Caveats
//
// Every program that runs as the user who has opened the console can read the memory of
// the browser and so do what the user can. Another user of the machine can connect to a
// loopback address, and gets no further than the page that says how to sign in, unless it
// has a key of [Console.IssueKey] before its owner does. See [Console.IssueOwnKey].
package console

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/logring"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// Relay is what the console uses of a [manager.Manager].
type Relay interface {
	Status(context.Context) manager.Status
	Bundle(name string) (string, error)
	DescribeServer(name string) (manager.ServerText, error)
	AddServer(context.Context, manager.NewServer) (*manager.Plan, error)
	EditServer(ctx context.Context, name string, c manager.ServerChange) (*manager.Plan, error)
	StartServer(ctx context.Context, name string, passphrase []byte) (*manager.Plan, error)
	StopServer(ctx context.Context, name string) (*manager.Plan, error)
	UnlockServer(ctx context.Context, name string, passphrase []byte) (*manager.Plan, error)
	ChangePassphrase(ctx context.Context, name string, old, new []byte) error
	DeleteServer(ctx context.Context, name string, passphrase []byte) error
}

// Switch turns something on and off.
type Switch interface {
	IsOn() bool
	TurnOn() error
	TurnOff() error
}

// Config says what to show.
type Config struct {
	Relay  Relay
	Log    *logring.Ring                        // of the log page
	Doctor func(context.Context) []doctor.Check // of the doctor page; ends when the context does; nil: no such page
	// AtLogin starts the relay when its user logs in; nil where that is not the console's
	// business, as for a service of the machine.
	AtLogin Switch
	Logger  *slog.Logger // gets a line for each change
	// Hosts are further names under which browsers may reach the console, such as its
	// onion address.
	Hosts []string
}

// Bounds of what strangers and browsers can make the console do.
const (
	maxConnections    = 64 // for each listener; see connections
	maxHeader         = 16 << 10
	maxBody           = 64 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 30 * time.Second
	shutdownTimeout   = 2 * time.Second
	// maxChanges bounds the changes under way. Those beyond wait.
	maxChanges = 8
	// changeTimeout bounds a change, which goes on when its browser has gone.
	changeTimeout = 3 * time.Minute
)

// Console is the pages of one relay. It is an [http.Handler].
type Console struct {
	cfg     Config
	log     *slog.Logger
	prefix  string // of the paths of all pages that need a session
	user    int    // of the relay
	handler http.Handler

	keys     keys
	sessions sessions
	watch    watcher
	charts   charts
	doctor   doctorRun
	streams  chan struct{}       // holds a value for each open stream
	changes  *semaphore.Weighted // one for each change that is under way

	running context.Context // ends with Serve
	end     context.CancelFunc
}

// New returns a console without sessions.
func New(cfg Config) *Console {
	c := &Console{
		cfg: cfg, log: cfg.Logger, prefix: "/" + randomText(16), user: os.Geteuid(),
		streams: make(chan struct{}, maxStreams), changes: semaphore.NewWeighted(maxChanges),
	}
	c.running, c.end = context.WithCancel(context.Background())
	c.keys.init()
	c.sessions.init()
	c.watch.init(cfg.Relay)
	c.handler = c.guard(c.routes())
	return c
}

// ServeHTTP implements [http.Handler].
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// Serve answers the browsers of the listeners until ctx ends, and closes them. It waits for
// changes that are under way, and is called once.
func (c *Console) Serve(ctx context.Context, listeners ...net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, ln := range listeners {
		server := &http.Server{
			Handler: c, BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: withConnection,
			ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
			MaxHeaderBytes: maxHeader,
			ErrorLog:       slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
		}
		group.Go(func() error {
			if err := server.Serve(&connections{Listener: ln, ended: ctx.Done()}); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
			defer cancel()
			if server.Shutdown(stop) != nil {
				server.Close() //nolint:errcheck // it only closes connections
			}
			return nil
		})
	}
	group.Go(func() error { return c.sampleCharts(ctx) })
	err := group.Wait()
	c.end()
	c.doctor.wait()
	c.changes.Acquire(context.WithoutCancel(ctx), maxChanges) //nolint:errcheck // the context has no end
	return err
}
