package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/mint"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// relay is a running relay and what an attack needs.
type relay struct {
	onion.Network
	cmd    *exec.Cmd
	plugin int // process of the store
	log    bytes.Buffer
	bundle bundle.Bundle
	mint   *mint.Mint

	strikes atomic.Int64
	last    []byte        // signature of the last honest envelope
	planted []byte        // signature that attackers ask from
	request []byte        // packet of a purchase
	posters []*tapir.Conn // of honest clients
	turn    int           // of them
	serial  atomic.Int64  // of the posts of usual length
	filled  atomic.Int64  // posts of attackers that were stored
	keys    []byte        // first message of a handshake
}

const configuration = `data_dir = "data"
network "loopback" { registry = "net" }
log { level = "warn" }
limits {
  %s
}
server "attacked" {
  storage %q {}
  retention {
    %s
  }
}
`

func startRelay(ctx context.Context, o options, dir string, a attack) (*relay, error) {
	limits := a.limits
	if strings.Contains(limits, "%d") {
		limits = fmt.Sprintf(limits, o.connections)
	}
	config, server := filepath.Join(dir, "server.hcl"), filepath.Join(dir, "data", "servers", "attacked")
	if err := errors.Join(os.WriteFile(config, fmt.Appendf(nil, configuration, limits, o.storage, a.retention), 0o600), os.MkdirAll(server, 0o700)); err != nil {
		return nil, err
	}
	keys, err := identity.LoadOrCreate(filepath.Join(server, "keys"))
	if err != nil {
		return nil, err
	}
	r := &relay{}
	if r.mint, err = mint.New(keys); err != nil {
		return nil, err
	}
	if r.Network, err = onion.Loopback(filepath.Join(dir, "net")); err != nil {
		return nil, err
	}
	longTerm, ephemeral := identity.NewKey().Public(), identity.NewKey().Public()
	if r.keys, err = json.Marshal(map[string][]byte{"LongTermPublicKey": longTerm, "EphemeralPublicKey": ephemeral}); err != nil {
		return nil, err
	}
	r.cmd = exec.Command(o.relay, "-json", "-config", config)
	r.cmd.Stderr = &r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.cmd.WaitDelay = 10 * time.Second
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the relay: %w", err)
	}
	var started struct{ Bundle string }
	err = json.NewDecoder(stdout).Decode(&started)
	if err == nil {
		r.bundle, err = bundle.Parse(started.Bundle)
	}
	var st manager.Status
	if err == nil {
		st, err = manager.AskStatus(ctx, filepath.Join(dir, "data"))
	}
	if err != nil {
		r.endRelay()
		return nil, r.withLogTail(fmt.Errorf("start the relay: %w", err))
	}
	r.plugin = st.Servers[0].Storage.PID
	return r, nil
}

// dialLocal connects to the relay, and to nothing that is not on this machine.
func (r *relay) dialLocal(ctx context.Context, service identity.Onion) (net.Conn, error) {
	return r.Dial(ctx, service, client.Port)
}

// Dial implements client.Dialer.
func (r *relay) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	nc, err := r.Network.Dial(ctx, service, port)
	if err != nil {
		return nil, err
	}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		nc.Close()
		return nil, errors.New("the relay is not on the loopback network")
	}
	return nc, nil
}

// endRelay ends the relay as an operator does, or kills it after ten seconds.
func (r *relay) endRelay() {
	r.cmd.Process.Signal(syscall.SIGTERM)                                    //nolint:errcheck // it has ended, then
	timer := time.AfterFunc(10*time.Second, func() { r.cmd.Process.Kill() }) //nolint:errcheck // it has ended, then
	defer timer.Stop()
	r.cmd.Wait() //nolint:errcheck // how it ends is not measured
	r.Network.Close()
}

// withLogTail adds the end of the relay's log, which has ended, to an error.
func (r *relay) withLogTail(err error) error {
	r.endRelay()
	const most = 2 << 10
	text := r.log.Bytes()
	return fmt.Errorf("%w; its log ends:\n%s", err, text[max(0, len(text)-most):])
}

// processorTime returns the processor time of relay and store; an ended process has none.
func (r *relay) processorTime() (sum time.Duration) {
	const scheduled = 2 // CPUCLOCK_SCHED, see linux/include/linux/posix-timers.h
	for _, pid := range []int{r.cmd.Process.Pid, r.plugin} {
		var ts unix.Timespec
		if unix.ClockGettime(int32(^pid<<3|scheduled), &ts) == nil {
			sum += time.Duration(ts.Nano())
		}
	}
	return sum
}

// peakMemory returns the peak of the resident memory of relay and store, in KiB.
func (r *relay) peakMemory() (sum int) {
	for _, pid := range []int{r.cmd.Process.Pid, r.plugin} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
				sum += n
			}
		}
	}
	return sum
}
