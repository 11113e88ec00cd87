package manager

import (
	"context"
)

// The functions of this file ask the relay that uses a data directory to change one server. Their
// errors are those of the methods of [Manager] of the same name, or a [RefusedError], or say that
// no relay answers.

// AskAdd asks for [Manager.AddServer].
func AskAdd(ctx context.Context, dataDir string, n NewServer) (*Plan, error) {
	return askChange(ctx, dataDir, request{Command: "add", Change: serverRequest{Add: &n}})
}

// AskEdit asks for [Manager.EditServer].
func AskEdit(ctx context.Context, dataDir, name string, c ServerChange) (*Plan, error) {
	return askChange(ctx, dataDir, request{Command: "edit", Server: name, Change: serverRequest{Edit: &c}})
}

// AskStart asks for [Manager.StartServer].
func AskStart(ctx context.Context, dataDir, name string, passphrase []byte) (*Plan, error) {
	return askChange(ctx, dataDir, request{Command: "start", Server: name, Change: serverRequest{Passphrase: passphrase}})
}

// AskStop asks for [Manager.StopServer].
func AskStop(ctx context.Context, dataDir, name string) (*Plan, error) {
	return askChange(ctx, dataDir, request{Command: "stop", Server: name})
}

// AskUnlock asks for [Manager.UnlockServer].
func AskUnlock(ctx context.Context, dataDir, name string, passphrase []byte) (*Plan, error) {
	return askChange(ctx, dataDir, request{Command: "unlock", Server: name, Change: serverRequest{Passphrase: passphrase}})
}

// AskDelete asks for [Manager.DeleteServer].
func AskDelete(ctx context.Context, dataDir, name string, passphrase []byte) error {
	return askDone(ctx, dataDir, request{Command: "delete", Server: name, Change: serverRequest{Passphrase: passphrase}})
}

// AskChangePassphrase asks for [Manager.ChangePassphrase].
func AskChangePassphrase(ctx context.Context, dataDir, name string, old, new []byte) error {
	return askDone(ctx, dataDir, request{Command: "passwd", Server: name, Change: serverRequest{Passphrase: old, New: new}})
}

// AskServers asks for the servers as in [Status], without the counts of their stores.
func AskServers(ctx context.Context, dataDir string) ([]ServerStatus, error) {
	var answer serversAnswer
	err := askRelay(ctx, dataDir, request{Command: "servers"}, requestTimeout, &answer)
	if err == nil && answer.Servers == nil {
		err = notUnderstoodError(dataDir)
	}
	return answer.Servers, err
}

// AskBundle asks for [Manager.Bundle].
func AskBundle(ctx context.Context, dataDir, name string) (string, error) {
	var answer bundleAnswer
	err := askRelay(ctx, dataDir, request{Command: "bundle", Server: name}, requestTimeout, &answer)
	if err == nil && answer.Bundle == "" {
		err = notUnderstoodError(dataDir)
	}
	return answer.Bundle, err
}

// AskConsole asks for an address that opens the console once.
func AskConsole(ctx context.Context, dataDir string) (address string, err error) {
	return askConsole(ctx, dataDir, request{Command: "console"})
}

// AskOwnConsole is like [AskConsole], for a browser of the relay's user on this machine: the
// address is worth nothing to others who see it.
func AskOwnConsole(ctx context.Context, dataDir string) (address string, err error) {
	return askConsole(ctx, dataDir, request{Command: "console", OwnUser: true})
}

func askConsole(ctx context.Context, dataDir string, req request) (string, error) {
	var answer consoleAnswer
	err := askRelay(ctx, dataDir, req, requestTimeout, &answer)
	if err == nil && answer.Address == "" {
		err = notUnderstoodError(dataDir)
	}
	return answer.Address, err
}

func askChange(ctx context.Context, dataDir string, req request) (*Plan, error) {
	plan := &Plan{}
	if err := askRelay(ctx, dataDir, req, changeTimeout+requestTimeout, plan); err != nil {
		return nil, err
	}
	if plan.Config == "" {
		return nil, notUnderstoodError(dataDir)
	}
	return plan, nil
}

func askDone(ctx context.Context, dataDir string, req request) error {
	var answer doneAnswer
	err := askRelay(ctx, dataDir, req, changeTimeout+requestTimeout, &answer)
	if err == nil && !answer.Done {
		err = notUnderstoodError(dataDir)
	}
	return err
}
