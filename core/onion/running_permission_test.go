package onion

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A socket that is there but not for this user is not taken for a tor that does not
// run. Root may use every socket, so the error is made here.
func TestRunningTorForItsGroup(t *testing.T) {
	err := explainNotThere(&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)})
	if text := err.Error(); !strings.Contains(text, "add the user of this process to that group") || strings.Contains(text, "is it running") {
		t.Errorf("error %q", text)
	}
	if os.Geteuid() == 0 {
		return
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	_, err = StartTor(t.Context(), TorConfig{Control: "unix:" + filepath.Join(closed, "control")})
	if err == nil || !strings.Contains(err.Error(), "add the user of this process to that group") {
		t.Errorf("in a directory that cannot be entered: error %v", err)
	}
}
