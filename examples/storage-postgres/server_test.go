package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// password is that of the role of the plugin.
const password = "it's a \\secret\\"

// startTimeout bounds the start of a server, its recovery included.
const startTimeout = time.Minute

// server is a PostgreSQL of a test, in a directory that ends with it.
type server struct {
	testing.TB
	dir   string
	owner *syscall.Credential // PostgreSQL refuses to run as root
	args  []string            // more settings

	cmd   *exec.Cmd
	ended chan struct{}
	log   lockedText
}

// startServer starts a server with a database for the plugin.
func startServer(tb testing.TB, args ...string) *server {
	tb.Helper()
	if _, err := exec.LookPath(postgresProgram("initdb")); err != nil {
		tb.Skip("PostgreSQL is not installed: apt-get install postgresql-15")
	}
	// Short enough for a socket, and open to the user of PostgreSQL.
	dir, err := os.MkdirTemp("/tmp", "storage-postgres-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{TB: tb, dir: dir, args: args}
	if os.Geteuid() == 0 {
		s.owner = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	for _, d := range []string{dir, s.dataDir(), s.socketDir()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.Chmod(d, 0o755); err != nil {
			tb.Fatal(err)
		}
		if s.owner != nil {
			if err := os.Chown(d, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
				tb.Fatal(err)
			}
		}
	}
	out, err := s.command("initdb", "-D", s.dataDir(), "-U", "admin", "--auth=trust", "-E", "UTF8", "--locale=C").CombinedOutput()
	if err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	hba := "local all admin trust\nlocal all all scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(s.dataDir(), "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		tb.Fatal(err)
	}
	s.start()
	tb.Cleanup(s.stop)
	s.exec("postgres", "create role cwtch_relay login password '"+strings.ReplaceAll(password, "'", "''")+"'")
	s.exec("postgres", "create database cwtch_relay owner cwtch_relay")
	return s
}

func (s *server) dataDir() string   { return filepath.Join(s.dir, "data") }
func (s *server) socketDir() string { return filepath.Join(s.dir, "socket") }

// postgresProgram returns the path of a program, which Debian keeps off the PATH.
func postgresProgram(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return name
	}
	return found[len(found)-1]
}

func (s *server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(postgresProgram(name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	return cmd
}

// start starts the server and waits until it takes connections.
func (s *server) start() {
	s.Helper()
	args := []string{"-D", s.dataDir(), "-k", s.socketDir(), "-c", "listen_addresses=", "-c", "shared_buffers=32MB", "-c", "max_connections=100"}
	for _, a := range s.args {
		args = append(args, "-c", a)
	}
	cmd := s.command("postgres", args...)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	lines, err := cmd.StderrPipe()
	if err != nil {
		s.Fatal(err)
	}
	ready, started, ended := make(chan struct{}), make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal comes with the end of the thread that started it
		defer close(ended)
		if started <- cmd.Start(); cmd.Process == nil {
			return
		}
		scan := bufio.NewScanner(lines)
		for scan.Scan() {
			s.log.add(scan.Text())
			if strings.Contains(scan.Text(), "database system is ready to accept connections") {
				close(ready)
			}
		}
		cmd.Wait() // the log has the reason
	}()
	if err := <-started; err != nil {
		s.Fatal(err)
	}
	s.cmd, s.ended = cmd, ended
	select {
	case <-ready:
	case <-ended:
		s.Fatalf("PostgreSQL does not start:\n%s", s.log.text())
	case <-time.After(startTimeout):
		s.Fatalf("PostgreSQL is not ready:\n%s", s.log.text())
	}
}

// stop ends the server in good order.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGINT) // it may have ended
	<-s.ended
}

// kill ends the server and all its processes as kill -9 does.
func (s *server) kill() {
	s.Helper()
	pids := childrenOf(s.cmd.Process.Pid)
	s.cmd.Process.Kill()
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL) // it may have ended with its parent
	}
	<-s.ended // they hold its standard error
}

func childrenOf(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // "PID (NAME) STATE PPID …", see proc(5)
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// exec executes a statement as the administrator.
func (s *server) exec(database, statement string) {
	s.Helper()
	if err := s.tryExec(database, statement); err != nil {
		s.Fatalf("%s: %v", statement, err)
	}
}

func (s *server) tryExec(database, statement string) error {
	conn, err := s.connect(database)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), statement)
	return err
}

// ask returns what a query says, as text.
func (s *server) ask(query string, args ...any) (text string) {
	s.Helper()
	conn, err := s.connect("cwtch_relay")
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(context.Background(), query, args...).Scan(&text); err != nil {
		s.Fatalf("%s: %v", query, err)
	}
	return text
}

func (s *server) connect(database string) (*pgx.Conn, error) {
	return pgx.Connect(context.Background(), fmt.Sprintf("host=%s user=admin dbname=%s sslmode=disable", s.socketDir(), database))
}

// config returns a configuration of the plugin in dir, which gets the password. Each
// directory has a schema of its own.
func (s *server) config(dir string) map[string]any {
	s.Helper()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(password+"\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	return map[string]any{"socket": s.socketDir(), "password_file": "password", "schema": schemaOf(dir)}
}

var schemas struct {
	sync.Mutex
	of map[string]string
}

// schemaOf returns a name for the board of a directory.
func schemaOf(dir string) string {
	schemas.Lock()
	defer schemas.Unlock()
	if schemas.of == nil {
		schemas.of = make(map[string]string)
	}
	if schemas.of[dir] == "" {
		schemas.of[dir] = fmt.Sprintf("board_%d", len(schemas.of)+1)
	}
	return schemas.of[dir]
}

// lockedText collects lines.
type lockedText struct {
	mu    sync.Mutex
	lines []string
}

func (l *lockedText) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *lockedText) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
