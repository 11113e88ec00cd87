package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// systemDirs hold programs and libraries, nobody's data.
var systemDirs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"}

// systemFiles are what programs of any language read at their start, as
// patterns. Certificates are here but not the keys beside them.
var systemFiles = []string{
	"/etc/ld.so.cache", "/etc/ld-musl-*.path", "/etc/localtime", "/etc/timezone", "/etc/locale.alias",
	"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/ca-certificates",
	"/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf", "/etc/pki/ca-trust/extracted", "/etc/crypto-policies",
	"/etc/python3*", "/etc/java-*-openjdk",
}

// networkFiles turn names into addresses.
var networkFiles = []string{
	"/etc/hosts", "/etc/resolv.conf", "/run/systemd/resolve/*resolv.conf", "/etc/nsswitch.conf",
	"/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
}

var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// Rights of landlock(7). None may execute what the plugin itself has written.
const (
	readFile = landlock.AccessFSSet(ll.AccessFSReadFile)
	readExec = readFile | ll.AccessFSExecute
	readDir  = landlock.AccessFSSet(ll.AccessFSReadDir)
	device   = readFile | ll.AccessFSWriteFile
	own      = readFile | readDir | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRefer |
		ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSMakeDir | ll.AccessFSMakeReg |
		ll.AccessFSMakeSock | ll.AccessFSMakeFifo | ll.AccessFSMakeSym
	// What it takes to make a socket, the way of go-plugin included, which makes a
	// file of the name first. The relay connects to what is there and removes it
	// all, and should find neither links nor directories below directories.
	socket = readFile | readDir | ll.AccessFSWriteFile | ll.AccessFSRemoveFile | ll.AccessFSMakeReg | ll.AccessFSMakeSock
)

// versions of Landlock, by number: all that it can restrict in each.
var versions = []landlock.Config{
	{}, landlock.V1, landlock.V2, landlock.V3, landlock.V4, landlock.V5, landlock.V6,
	landlock.V7, landlock.V8, landlock.V9, landlock.V10, landlock.V11,
}

// filesOf are the files of a plugin, and what it may do with them.
func filesOf(p Policy, plugin string, version int) (*pathRules, error) {
	handled := versions[version]
	if p.Network == Open {
		handled.HandledAccessNet = 0
	}
	r := &pathRules{handled: handled}
	r.allowRequired("the plugin's own file", readExec, plugin)
	if p.Dir != "" {
		r.allowRequired("the plugin's directory", own, p.Dir)
	}
	if dir := os.Getenv("PLUGIN_UNIX_SOCKET_DIR"); dir != "" {
		r.allowRequired("the directory of its socket", socket, dir)
	}
	for _, path := range p.Write {
		r.allowRequired("the directory it was granted to write in", own|ll.AccessFSResolveUnix, path)
	}
	for _, path := range p.Read {
		r.allowRequired("what it was granted to read", readExec|readDir, path)
	}
	r.allowExisting(readExec|readDir, systemDirs...)
	r.allowExisting(readFile|readDir, systemFiles...)
	r.allowExisting(device, devices...)
	r.allowExisting(ll.AccessFSWriteFile|ll.AccessFSTruncate, "/proc/self/comm") // its name for ps and top
	if p.Network != None {
		r.allowExisting(readFile, networkFiles...)
	}
	return r, r.err
}

// restrictSelf confines the process by what the version of Landlock offers. It does
// not settle for less: what fails here is an error.
func (r *pathRules) restrictSelf() error {
	if err := r.handled.Restrict(r.list...); err != nil {
		return fmt.Errorf("restrict files: %w", err)
	}
	return nil
}

// pathRules collects what a plugin may reach.
type pathRules struct {
	handled landlock.Config // what this version knows
	list    []landlock.Rule
	paths   []string // that the rules are about
	err     error    // the first
}

// ofFile are the rights that a rule about a file can have.
const ofFile = device | readExec | ll.AccessFSTruncate | ll.AccessFSResolveUnix

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
		access &= ofFile
	}
	r.list = append(r.list, landlock.PathAccess(access&r.handled.HandledAccessFS, path))
	r.paths = append(r.paths, path)
}

// allowExisting allows access to those paths of the patterns that there are.
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
