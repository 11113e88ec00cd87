package pluginproc

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts all plugins from one thread that never ends. The kernel sends the parent
// death signal when the *thread* that forked ends (prctl(2), go.dev/issue/27505), and Go
// may end any other thread.
var spawner = sync.OnceValue(func() chan<- spawnRequest {
	requests := make(chan spawnRequest)
	go spawnLoop(requests)
	return requests
})

type spawnRequest struct {
	cmd    *exec.Cmd
	result chan<- error
}

func spawnLoop(requests <-chan spawnRequest) {
	runtime.LockOSThread()
	for r := range requests {
		r.result <- r.cmd.Start()
	}
}

// spawnInGroup starts cmd in a process group of its own. The kernel kills it when this
// process ends.
func spawnInGroup(cmd *exec.Cmd) error {
	var attr syscall.SysProcAttr
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	attr.Setpgid, attr.Pdeathsig = true, syscall.SIGKILL
	cmd.SysProcAttr = &attr
	result := make(chan error, 1)
	spawner() <- spawnRequest{cmd, result}
	return <-result
}
