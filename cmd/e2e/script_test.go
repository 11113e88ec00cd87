package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// TestScripts runs the scripts. Beside the commands of testscript they have
//
//	serve ARGS...         start "cwtch-relay ARGS..." and wait until it has announced its servers
//	as NAME serve ARGS... the same for a second relay; the first is "relay"
//	logged NAME REGEXP    wait until the log of the relay matches
//	byhand PLUGIN         start a plugin by hand, for relays to attach to
//	signal NAME SIGNAL    send TERM, INT, HUP, KILL, STOP or CONT to the relay
//	signalplugin DIR S    send a signal to the storage plugin of the relay on data
//	                      directory DIR; for STOP, wait until the plugin stands still
//	plugin DIR            set PID to the process of that plugin, SOCKET to its socket
//	                      and SOCKETS to the directory of the socket
//	curve PID             print the curve of the certificate that the relay shows to a plugin
//	plaintext SOCKET      check that a plugin hangs up on a client without a certificate
//	family NAME|PID       remember the relay or process with all its descendants
//	extinct NAME|PID      wait until all processes of that family have ended
//	ended NAME STATUS     wait until the relay has ended with that exit status
//	until REGEXP PROGRAM...  run a program until its output matches
//	status N PROGRAM...   run a program that ends with the exit status N
//	snapshot DIR          remember all files below DIR
//	unchanged DIR         check that names, modes and contents are as they were
//	mode FILE MODE        check the mode of FILE
//	fields                list the fields of the JSON in stdout, sorted
//	fromfile VAR FILE     set a variable to the content of a file
//	patch FILE OLD NEW    replace bytes in a file; both are Go strings without quotes
//	checksum FILE         print the SHA-256 of a file
//	tmpfs DIR SIZE        mount a small file system
//	chown UID FILE        change the owner
//	freeport VAR          set a variable to a loopback address where nobody listens
//	fetch ADDRESS         fetch a page by HTTP and print it
//
// and the conditions [root] and [mount], without which tmpfs and chown fail.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"CWTCH_RELAY_TOR_TESTING_ONLY", "GORACE"} {
				e.Setenv(name, os.Getenv(name))
			}
			e.Setenv("CWTCH_GROUP_NETWORK", "loopback:"+filepath.Join(e.WorkDir, "net"))
			// The directory of a script is too long for sockets of plugins.
			e.Setenv("TMPDIR", os.TempDir())
			for _, plugin := range testPlugins {
				e.Setenv(strings.ToUpper(plugin), filepath.Join(bin, plugin))
			}
			e.Values[relaysKey{}] = make(map[string]*process)
			e.Values[familiesKey{}] = make(map[string][]*foreignProcess)
			e.Values[snapshotsKey{}] = make(map[string]map[string]string)
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "root":
				return os.Geteuid() == 0, nil
			case "mount":
				return canMount(t), nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":        scriptCommand("ARGS...", -1, startServe),
			"as":           scriptCommand("NAME serve ARGS...", -1, startServeAs),
			"logged":       scriptCommand("NAME REGEXP", 2, awaitLog),
			"byhand":       scriptCommand("PLUGIN", 1, startByHand),
			"signal":       scriptCommand("NAME SIGNAL", 2, signalRelay),
			"signalplugin": scriptCommand("DIR SIGNAL", 2, signalPlugin),
			"plugin":       scriptCommand("DIR", 1, findPlugin),
			"curve":        scriptCommand("PID", 1, showCurve),
			"plaintext":    scriptCommand("SOCKET", 1, expectHangUpWithoutTLS),
			"family":       scriptCommand("NAME|PID", 1, rememberFamily),
			"extinct":      scriptCommand("NAME|PID", 1, awaitExtinct),
			"ended":        scriptCommand("NAME STATUS", 2, awaitEnded),
			"until":        scriptCommand("REGEXP PROGRAM ARGS...", -1, awaitOutput),
			"status":       scriptCommand("N PROGRAM ARGS...", -1, exitStatus),
			"snapshot":     scriptCommand("DIR", 1, takeSnapshot),
			"unchanged":    scriptCommand("DIR", 1, checkUnchanged),
			"mode":         scriptCommand("FILE MODE", 2, checkMode),
			"fields":       scriptCommand("", 0, listFields),
			"fromfile":     scriptCommand("VAR FILE", 2, fromFile),
			"patch":        scriptCommand("FILE OLD NEW", 3, patchFile),
			"checksum":     scriptCommand("FILE", 1, printChecksum),
			"tmpfs":        scriptCommand("DIR SIZE", 2, mountTmpfs),
			"chown":        scriptCommand("UID FILE", 2, changeOwner),
			"freeport":     scriptCommand("VAR", 1, freePort),
			"fetch":        scriptCommand("ADDRESS", 1, fetchHTTP),
		},
	})
}

type (
	relaysKey    struct{}
	snapshotsKey struct{}
)

// scriptCommand wraps a script command with a check of its usage. A count of -1
// allows any number of arguments.
func scriptCommand(usage string, count int, run func(*testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || count >= 0 && len(args) != count || count < 0 && len(args) == 0 {
			ts.Fatalf("usage: %s", usage)
		}
		run(ts, args)
	}
}

func startServe(ts *testscript.TestScript, args []string) {
	startServeAs(ts, append([]string{"relay", "serve"}, args...))
}

func startServeAs(ts *testscript.TestScript, args []string) {
	relays := ts.Value(relaysKey{}).(map[string]*process)
	name := args[0]
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = os.Environ()
	for _, name := range []string{"WORK", "AGEDSTORE", "BADSTORE", "TESTFEED", "TESTSTATS", "TESTSYNC", "SUM", "TMPDIR", pluginproc.EnvReattach} { // as exec has them
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	p, err := startRelay(cmd)
	ts.Check(err)
	relays[name] = p
	ts.Defer(func() {
		p.kill()
		ts.Check(p.raceReport())
	})
	fmt.Fprint(ts.Stdout(), p.stdout.String())
}

func relayNamed(ts *testscript.TestScript, name string) *process {
	p, ok := ts.Value(relaysKey{}).(map[string]*process)[name]
	if !ok {
		ts.Fatalf("no relay %q was started", name)
	}
	return p
}

func awaitLog(ts *testscript.TestScript, args []string) {
	_, err := relayNamed(ts, args[0]).log.await(args[1])
	ts.Check(err)
}

func signalNamed(ts *testscript.TestScript, name string) syscall.Signal {
	s := unix.SignalNum("SIG" + name)
	if s == 0 {
		ts.Fatalf("there is no signal %q", name)
	}
	return s
}

func signalRelay(ts *testscript.TestScript, args []string) {
	ts.Check(relayNamed(ts, args[0]).cmd.Process.Signal(signalNamed(ts, args[1])))
}

func awaitEnded(ts *testscript.TestScript, args []string) {
	p := relayNamed(ts, args[0])
	status, err := p.wait()
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), p.stdout.String())
	fmt.Fprint(ts.Stderr(), p.log.String())
	if strconv.Itoa(status) != args[1] {
		ts.Fatalf("exit status %d:\n%s", status, p.log.String())
	}
}

func awaitOutput(ts *testscript.TestScript, args []string) {
	wanted, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	// With the race detector, the start of a program takes a twentieth of a second of a processor.
	for begin := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		cmd := exec.Command(filepath.Join(bin, args[1]), args[2:]...)
		cmd.Dir = ts.MkAbs(".")
		out, err := cmd.CombinedOutput()
		if wanted.Match(out) { // a status with a problem exits with 1
			ts.Stdout().Write(out)
			return
		}
		if time.Since(begin) > patience {
			ts.Fatalf("%v\n%s", err, out)
		}
	}
}

func exitStatus(ts *testscript.TestScript, args []string) {
	cmd := exec.Command(filepath.Join(bin, args[1]), args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		ts.Check(err)
	}
	if got := cmd.ProcessState.ExitCode(); strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d", got)
	}
}

// filesIn describes all files below dir by mode and content. It leaves out sockets,
// which belong to a process and hold nothing.
func filesIn(dir string) (map[string]string, error) {
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode()&fs.ModeSocket != 0 {
			return err
		}
		files[path] = info.Mode().String()
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files[path] += fmt.Sprintf(" %x", sha256.Sum256(content))
		}
		return nil
	})
	return files, err
}

func takeSnapshot(ts *testscript.TestScript, args []string) {
	files, err := filesIn(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Value(snapshotsKey{}).(map[string]map[string]string)[args[0]] = files
}

func checkUnchanged(ts *testscript.TestScript, args []string) {
	before, ok := ts.Value(snapshotsKey{}).(map[string]map[string]string)[args[0]]
	if !ok {
		ts.Fatalf("there is no snapshot of %s", args[0])
	}
	after, err := filesIn(ts.MkAbs(args[0]))
	ts.Check(err)
	for path, was := range before {
		if after[path] != was {
			ts.Fatalf("%s was %q and is %q", path, was, after[path])
		}
		delete(after, path)
	}
	for path := range after {
		ts.Fatalf("%s is new", path)
	}
}

func checkMode(ts *testscript.TestScript, args []string) {
	info, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s", args[0], got)
	}
}

func listFields(ts *testscript.TestScript, _ []string) {
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	names := fieldsOf("", value)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		fmt.Fprintln(ts.Stdout(), name)
	}
}

// fieldsOf names the fields of a JSON value, as in "servers[].relay.posts.stored".
func fieldsOf(path string, value any) (names []string) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			names = append(names, fieldsOf(strings.TrimPrefix(path+"."+name, "."), inner)...)
		}
	case []any:
		for _, inner := range v {
			names = append(names, fieldsOf(path+"[]", inner)...)
		}
	default:
		names = append(names, path)
	}
	return names
}

func fromFile(ts *testscript.TestScript, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func patchFile(ts *testscript.TestScript, args []string) {
	path := ts.MkAbs(args[0])
	content, err := os.ReadFile(path)
	ts.Check(err)
	var text [2][]byte
	for i := range text {
		s, err := strconv.Unquote(`"` + strings.ReplaceAll(args[1+i], `"`, `\"`) + `"`)
		ts.Check(err)
		text[i] = []byte(s)
	}
	if !bytes.Contains(content, text[0]) {
		ts.Fatalf("%s does not contain %q", args[0], text[0])
	}
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(content, text[0], text[1]), 0o600))
}

func printChecksum(ts *testscript.TestScript, args []string) {
	fmt.Fprintf(ts.Stdout(), "%x\n", sha256.Sum256([]byte(ts.ReadFile(args[0]))))
}

func mountTmpfs(ts *testscript.TestScript, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0700,size="+args[1]))
	ts.Defer(func() { ts.Check(syscall.Unmount(dir, syscall.MNT_DETACH)) })
}

func canMount(t *testing.T) bool {
	dir := t.TempDir()
	if syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4k") != nil {
		return false
	}
	return syscall.Unmount(dir, syscall.MNT_DETACH) == nil
}

func changeOwner(ts *testscript.TestScript, args []string) {
	uid, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(os.Lchown(ts.MkAbs(args[1]), uid, uid))
}
