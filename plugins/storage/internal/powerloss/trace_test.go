//go:build linux && amd64

package powerloss

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// event is something that the traced process did to its files, or said.
type event struct {
	kind   kind
	ino    uint64 // of the file, or of the directory in which a name changes
	name   string // in that directory
	child  uint64 // inode that gets the name, or had it
	isDir  bool   // that child
	offset int64  // of a write; the new size of a truncation
	data   []byte // of a write, or of what was said
	to     uint64 // directory of a rename's new name
	toName string
}

type kind int

const (
	writeEvent kind = iota
	truncateEvent
	syncEvent
	failedSyncEvent
	nameEvent   // of a file or directory that was made or linked
	unnameEvent // of one that was removed
	renameEvent
	forgetEvent // the page cache
	sayEvent
)

// tracer runs one worker process and traces it. All its methods belong to one
// goroutine, which is locked to its thread: ptrace(2) knows threads.
type tracer struct {
	t       *testing.T
	cmd     *exec.Cmd
	jobs    io.WriteCloser
	inside  map[int]*call // by thread: the system call that it is in
	events  []event
	failing failure
	syncs   int
	// While somebody watches an append, each sync is held up for two looks.
	watched bool
	held    int // thread that is about to sync; 0: none
	looks   int // since it is held
	// onForget, where set, is called when a process has the kernel forget the
	// pages of a file, and returns what the disk holds of it.
	onForget func(ino uint64, soFar []event) ([]byte, bool)
}

// failure says which sync of a job fails, counted from 1, and how.
type failure struct {
	at    int
	errno syscall.Errno
}

// call is a system call that has begun.
type call struct {
	unix.PtraceRegs
	skipped bool   // it fails instead of being done
	ino     uint64 // of what it takes a name from
	exists  bool   // the name that it may make
}

// sayFD is where the worker says what it has done.
const sayFD = 3

// startWorker starts a worker; it skips the test where tracing is refused, though not
// in CI.
func startWorker(t *testing.T) *tracer {
	t.Helper()
	runtime.LockOSThread()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"=1", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
	cmd.ExtraFiles = []*os.File{write}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	jobs, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("trace the store: %v", err)
		}
		t.Skipf("this machine does not let a process be traced: %v", err)
	}
	write.Close()
	go io.Copy(io.Discard, read) // the tracer has read it by then
	tr := &tracer{t: t, cmd: cmd, jobs: jobs, inside: make(map[int]*call)}
	t.Cleanup(func() {
		cmd.Process.Kill()
		var err error
		for err == nil || err == unix.EINTR { // until no thread is left
			_, err = unix.Wait4(-1, nil, unix.WALL|unix.WNOTHREAD, nil)
		}
		read.Close()
		runtime.UnlockOSThread()
	})
	pid := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil || !status.Stopped() {
		t.Fatalf("the worker did not stop: %v, %v", status, err)
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
		t.Fatal(err)
	}
	if err := unix.PtraceSyscall(pid, 0); err != nil {
		t.Fatal(err)
	}
	return tr
}

// run has the worker do a job and returns what it did and said.
func (tr *tracer) run(j job, failing failure) []event {
	tr.t.Helper()
	tr.events, tr.syncs, tr.failing, tr.watched = nil, 0, failing, false
	if err := json.NewEncoder(tr.jobs).Encode(j); err != nil {
		tr.t.Fatal(err)
	}
	for !tr.finished() {
		tr.step()
	}
	return tr.events[:len(tr.events)-1]
}

// finished reports whether the worker has said that the job is done.
func (tr *tracer) finished() bool {
	n := len(tr.events)
	return n > 0 && tr.events[n-1].kind == sayEvent && string(tr.events[n-1].data) == jobDone
}

// step waits for a thread of the worker to stop, and lets it go on.
func (tr *tracer) step() {
	var status unix.WaitStatus
	pid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
	if err == unix.EINTR {
		return
	}
	if err != nil {
		tr.t.Fatal(err)
	}
	if status.Exited() || status.Signaled() {
		if pid == tr.cmd.Process.Pid {
			tr.t.Fatalf("the worker ended: %v", status)
		}
		delete(tr.inside, pid)
		return
	}
	signal := 0
	switch s := status.StopSignal(); s {
	case unix.SIGTRAP | 0x80:
		tr.handleStop(pid)
	case unix.SIGTRAP, unix.SIGSTOP: // a clone, or its first stop
	default:
		signal = int(s)
	}
	if pid != tr.held {
		tr.resume(pid, signal)
	}
}

func (tr *tracer) resume(pid, signal int) {
	if err := unix.PtraceSyscall(pid, signal); err != nil && err != unix.ESRCH {
		tr.t.Fatal(err)
	}
}

// countLook counts a look of who watches an append, and lets a sync go on that was
// held up for long enough. The first look may have begun before the sync.
func (tr *tracer) countLook() {
	tr.watched = true
	if tr.looks++; tr.held != 0 && tr.looks >= 3 {
		pid := tr.held
		tr.held = 0
		tr.resume(pid, 0)
	}
}

// handleStop looks at a thread that enters a system call or leaves it.
func (tr *tracer) handleStop(pid int) {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &regs); err != nil {
		return // it was killed
	}
	if c := tr.inside[pid]; c != nil {
		delete(tr.inside, pid)
		tr.leaveCall(pid, c, regs)
		return
	}
	c := &call{PtraceRegs: regs}
	tr.inside[pid] = c
	tr.enterCall(pid, c)
}

func (tr *tracer) enterCall(pid int, c *call) {
	switch c.Orig_rax {
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		tr.syncs++
		if tr.watched {
			tr.held, tr.looks = pid, 0
		}
		if tr.syncs != tr.failing.at {
			return
		}
		c.skipped = true
		regs := c.PtraceRegs
		regs.Orig_rax = unix.SYS_GETPID
		if err := unix.PtraceSetRegs(pid, &regs); err != nil {
			tr.t.Fatal(err)
		}
	case unix.SYS_OPENAT:
		c.exists = c.Rdx&unix.O_CREAT != 0 && inodeOf(tr.text(pid, c.Rsi)) != 0
	case unix.SYS_OPEN:
		c.exists = c.Rsi&unix.O_CREAT != 0 && inodeOf(tr.text(pid, c.Rdi)) != 0
	case unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		c.ino = inodeOf(tr.text(pid, c.Rsi))
	case unix.SYS_UNLINK, unix.SYS_RMDIR, unix.SYS_RENAME:
		c.ino = inodeOf(tr.text(pid, c.Rdi))
	}
}

// leaveCall records a system call that has worked.
func (tr *tracer) leaveCall(pid int, c *call, regs unix.PtraceRegs) {
	if c.skipped {
		regs.Rax = uint64(-int64(tr.failing.errno))
		if err := unix.PtraceSetRegs(pid, &regs); err != nil {
			tr.t.Fatal(err)
		}
		tr.record(event{kind: failedSyncEvent, ino: tr.inode(pid, c.Rdi)})
		return
	}
	result := int64(regs.Rax)
	if result < 0 {
		return
	}
	switch c.Orig_rax {
	case unix.SYS_WRITE:
		if c.Rdi == sayFD {
			e := event{kind: sayEvent, data: tr.bytes(pid, c.Rsi, result)}
			tr.record(e)
			if !tr.finished() && parseSaid(e).Look != nil {
				tr.countLook()
			}
		} else if ino := tr.inode(pid, c.Rdi); ino != 0 {
			tr.record(event{kind: writeEvent, ino: ino, offset: tr.position(pid, c.Rdi) - result, data: tr.bytes(pid, c.Rsi, result)})
		}
	case unix.SYS_PWRITE64:
		if ino := tr.inode(pid, c.Rdi); ino != 0 {
			tr.record(event{kind: writeEvent, ino: ino, offset: int64(c.R10), data: tr.bytes(pid, c.Rsi, result)})
		}
	case unix.SYS_FTRUNCATE:
		tr.record(event{kind: truncateEvent, ino: tr.inode(pid, c.Rdi), offset: int64(c.Rsi)})
	case unix.SYS_TRUNCATE:
		tr.record(event{kind: truncateEvent, ino: inodeOf(tr.text(pid, c.Rdi)), offset: int64(c.Rsi)})
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		tr.record(event{kind: syncEvent, ino: tr.inode(pid, c.Rdi)})
	case unix.SYS_FADVISE64:
		if c.R10 == unix.FADV_DONTNEED {
			tr.dropCache(pid, c.Rdi)
		}
	case unix.SYS_OPENAT:
		if c.Rdx&unix.O_CREAT != 0 && !c.exists {
			tr.recordName(tr.text(pid, c.Rsi))
		}
	case unix.SYS_OPEN:
		if c.Rsi&unix.O_CREAT != 0 && !c.exists {
			tr.recordName(tr.text(pid, c.Rdi))
		}
	case unix.SYS_MKDIRAT:
		tr.recordName(tr.text(pid, c.Rsi))
	case unix.SYS_MKDIR:
		tr.recordName(tr.text(pid, c.Rdi))
	case unix.SYS_LINKAT:
		tr.recordName(tr.text(pid, c.R10))
	case unix.SYS_UNLINKAT:
		tr.recordUnname(tr.text(pid, c.Rsi), c.ino)
	case unix.SYS_UNLINK, unix.SYS_RMDIR:
		tr.recordUnname(tr.text(pid, c.Rdi), c.ino)
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		tr.recordRename(tr.text(pid, c.Rsi), tr.text(pid, c.R10), c.ino)
	case unix.SYS_RENAME:
		tr.recordRename(tr.text(pid, c.Rdi), tr.text(pid, c.Rsi), c.ino)
	case unix.SYS_PWRITEV, unix.SYS_PWRITEV2, unix.SYS_WRITEV, unix.SYS_FALLOCATE, unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE:
		tr.t.Fatalf("the store uses system call %d, which the tracer does not know", c.Orig_rax)
	}
}

func (tr *tracer) record(e event) { tr.events = append(tr.events, e) }

func (tr *tracer) recordName(path string) {
	info, err := os.Stat(path)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.record(event{kind: nameEvent, ino: inodeOf(filepath.Dir(path)), name: filepath.Base(path), child: inodeOf(path), isDir: info.IsDir()})
}

func (tr *tracer) recordUnname(path string, child uint64) {
	tr.record(event{kind: unnameEvent, ino: inodeOf(filepath.Dir(path)), name: filepath.Base(path), child: child})
}

func (tr *tracer) recordRename(from, to string, child uint64) {
	tr.record(event{kind: renameEvent, ino: inodeOf(filepath.Dir(from)), name: filepath.Base(from), child: child,
		to: inodeOf(filepath.Dir(to)), toName: filepath.Base(to)})
}

// dropCache replaces the content of a file by what the disk has of it.
func (tr *tracer) dropCache(pid int, fd uint64) {
	ino := tr.inode(pid, fd)
	tr.record(event{kind: forgetEvent, ino: ino})
	if tr.onForget == nil {
		return
	}
	content, known := tr.onForget(ino, tr.events)
	if !known {
		return
	}
	file, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), os.O_RDWR, 0)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer file.Close()
	if _, err = file.WriteAt(content, 0); err == nil {
		err = file.Truncate(int64(len(content)))
	}
	if err != nil {
		tr.t.Fatal(err)
	}
}

// inode returns the inode of a descriptor of the worker, or 0 for a pipe.
func (tr *tracer) inode(pid int, fd uint64) uint64 {
	path := fmt.Sprintf("/proc/%d/fd/%d", pid, fd)
	if to, err := os.Readlink(path); err != nil || !strings.HasPrefix(to, "/") {
		return 0
	}
	return inodeOf(path)
}

func inodeOf(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// position returns where the next write to a descriptor goes.
func (tr *tracer) position(pid int, fd uint64) (pos int64) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
	if err != nil {
		tr.t.Fatal(err)
	}
	defer file.Close()
	line, err := bufio.NewReader(file).ReadString('\n')
	if _, scanErr := fmt.Sscanf(line, "pos: %d", &pos); err != nil || scanErr != nil {
		tr.t.Fatal(err, scanErr)
	}
	return pos
}

// bytes reads memory of the worker in one call; ptrace(2) would take one for each
// word.
func (tr *tracer) bytes(pid int, address uint64, n int64) []byte {
	b := make([]byte, n)
	if n == 0 {
		return b
	}
	got, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}},
		[]unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}, 0)
	if err != nil || int64(got) != n {
		tr.t.Fatalf("read %d of %d bytes of the worker: %v", got, n, err)
	}
	return b
}

// text returns a string that ends with a zero.
func (tr *tracer) text(pid int, address uint64) string {
	var b []byte
	for {
		at := address + uint64(len(b))
		part := tr.bytes(pid, at, int64(64-at%64)) // in one page
		if i := strings.IndexByte(string(part), 0); i >= 0 {
			return string(append(b, part[:i]...))
		}
		b = append(b, part...)
	}
}
