package supervise

import (
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// isConfined tells whether the processes are in a sandbox.
func (s *setting) isConfined() bool { return s.Sandbox != nil && s.Attach == nil }

// sandboxPolicy is what the plugin may do.
func (s *setting) sandboxPolicy() sandbox.Policy {
	p := *s.Sandbox
	p.Dir, p.Hide = s.Dir, true
	return p
}

// confineCommand changes the command to one that confines the plugin. After an error
// the file of the command is still the caller's.
func (s *setting) confineCommand(command pluginproc.Command) (pluginproc.Command, error) {
	if !s.isConfined() {
		return command, nil
	}
	p := s.sandboxPolicy()
	p.Tasks = sandbox.TaskLimit(p.Tasks)
	s.tasks = p.Tasks
	confined, err := sandbox.Wrap(command, p)
	if err != nil {
		return command, err
	}
	return confined, nil
}

// sandboxStatus is what the status says of it.
func (s *setting) sandboxStatus() Sandbox {
	if !s.isConfined() {
		return Sandbox{}
	}
	return Sandbox{On: true, Missing: sandbox.Missing(s.sandboxPolicy())}
}

// warnUnconfined tells, once for every setting, what the operator gave up or cannot have.
func (c *loop) warnUnconfined(s *setting) {
	if s.Attach != nil {
		c.log.Warn("plugin is a process that was started by hand: it is neither checked nor confined nor encrypted, which is for development only", "pid", s.Attach.PID, "socket", s.Attach.Socket)
		return
	}
	if s.Sandbox == nil {
		c.log.Warn("plugin is not confined: it can do all that the user of the relay can, such as read the keys of the servers")
		return
	}
	for _, what := range s.sandboxStatus().Missing {
		c.log.Warn("the sandbox of the plugin is incomplete", "missing", what)
	}
}
