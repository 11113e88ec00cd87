package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// systemDirs hold programs and libraries, and nobody's data.
var systemDirs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"}

// systemFiles are patterns of files that programs of any language read when they start.
// They include certificates, but not the keys beside them.
var systemFiles = []string{
	"/etc/ld.so.cache", "/etc/ld-musl-*.path", "/etc/localtime", "/etc/timezone", "/etc/locale.alias",
	"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/ca-certificates",
	"/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf", "/etc/pki/ca-trust/extracted", "/etc/crypto-policies",
	"/etc/python3*", "/etc/java-*-openjdk",
}

// networkFiles are what resolvers read to turn names into addresses.
var networkFiles = []string{
	"/etc/hosts", "/etc/resolv.conf", "/run/systemd/resolve/*resolv.conf", "/etc/nsswitch.conf",
	"/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
}

var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// Rights of landlock(7). None lets the plugin execute a file that it has written.
const (
	readFileRight  = landlock.AccessFSSet(ll.AccessFSReadFile)
	readExecRights = readFileRight | ll.AccessFSExecute
	readDirRight   = landlock.AccessFSSet(ll.AccessFSReadDir)
	deviceRights   = readFileRight | ll.AccessFSWriteFile
	ownDirRights   = readFileRight | readDirRight | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRefer |
		ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSMakeDir | ll.AccessFSMakeReg |
		ll.AccessFSMakeSock | ll.AccessFSMakeFifo | ll.AccessFSMakeSym
	// The rights to make a socket. go-plugin makes a file of the same name first. The
	// relay connects to what is there and removes it all, so it should find neither links
	// nor nested directories.
	socketDirRights = readFileRight | readDirRight | ll.AccessFSWriteFile | ll.AccessFSRemoveFile | ll.AccessFSMakeReg | ll.AccessFSMakeSock
)

// landlockVersions has all that Landlock can restrict, by version.
var landlockVersions = []landlock.Config{
	{}, landlock.V1, landlock.V2, landlock.V3, landlock.V4, landlock.V5, landlock.V6,
	landlock.V7, landlock.V8, landlock.V9, landlock.V10, landlock.V11,
}

// makePathRules returns which files a plugin may use, and how.
func makePathRules(p Policy, plugin string, version int) (*pathRules, error) {
	handled := landlockVersions[version]
	if p.Network == Open {
		handled.HandledAccessNet = 0
	}
	r := &pathRules{handled: handled}
	r.allowRequired("the plugin's own file", readExecRights, plugin)
	if p.Dir != "" {
		r.allowRequired("the plugin's directory", ownDirRights, p.Dir)
	}
	if dir := os.Getenv("PLUGIN_UNIX_SOCKET_DIR"); dir != "" {
		r.allowRequired("the directory of its socket", socketDirRights, dir)
	}
	for _, path := range p.Write {
		r.allowRequired("the directory it was granted to write in", ownDirRights|ll.AccessFSResolveUnix, path)
	}
	for _, path := range p.Sockets {
		r.allowRequired("the directory of the sockets it was granted", readDirRight|ll.AccessFSResolveUnix, path)
	}
	for _, path := range p.Read {
		r.allowRequired("what it was granted to read", readExecRights|readDirRight, path)
	}
	r.allowExisting(readExecRights|readDirRight, systemDirs...)
	r.allowExisting(readFileRight|readDirRight, systemFiles...)
	r.allowExisting(deviceRights, devices...)
	r.allowExisting(ll.AccessFSWriteFile|ll.AccessFSTruncate, "/proc/self/comm") // its name for ps and top
	if p.Network != None {
		r.allowExisting(readFileRight, networkFiles...)
	}
	return r, r.err
}

// restrictSelf confines the process by all that the version of Landlock offers. It does
// not settle for less: a restriction that fails is an error.
func (r *pathRules) restrictSelf() error {
	if err := r.handled.Restrict(r.list...); err != nil {
		return fmt.Errorf("restrict files: %w", err)
	}
	return nil
}

// pathRules collects the paths that a plugin may use.
type pathRules struct {
	handled landlock.Config // what this version knows
	list    []landlock.Rule
	paths   []string // of the rules
	err     error    // the first
}

// fileRights are the rights that a rule can give to a file.
const fileRights = deviceRights | readExecRights | ll.AccessFSTruncate | ll.AccessFSResolveUnix

// allowRequired allows access to a path that has to exist.
func (r *pathRules) allowRequired(what string, access landlock.AccessFSSet, path string) {
	info, err := os.Stat(path)
	if err != nil {
		if r.err == nil {
			r.err = fmt.Errorf("find %s: %w", what, err)
		}
		return
	}
	if !info.IsDir() {
		access &= fileRights
	}
	r.list = append(r.list, landlock.PathAccess(access&r.handled.HandledAccessFS, path))
	r.paths = append(r.paths, path)
}

// allowExisting allows access to the existing paths that match the patterns.
func (r *pathRules) allowExisting(access landlock.AccessFSSet, patterns ...string) {
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		for _, path := range slices.DeleteFunc(found, isDangling) {
			r.allowRequired(path, access, path)
		}
	}
}

func isDangling(path string) bool {
	_, err := os.Stat(path)
	return err != nil
}
