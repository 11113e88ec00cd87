package protocoltest

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var callChecks = []check{
	{"ProtocolMalformed", "a request that no relay sends, such as an id of 31 bytes, is refused and changes nothing", (*fixture).checkMalformed},
	{"ProtocolLog", "the log contains no id, signature, ciphertext or token", (*fixture).checkLog},
}

func (f *fixture) checkMalformed() {
	p := f.openPlugin(f.root)
	results := f.kind.malformedCalls(f.Context())
	if len(results) == 0 {
		f.Skip("the messages of this kind have no fields of a fixed length")
	}
	for what, err := range results {
		switch status.Code(err) {
		case codes.OK:
			f.Errorf("a call with %s succeeded", what)
		case codes.Unimplemented, codes.ResourceExhausted, codes.Unavailable:
			f.Errorf("a call with %s: %v", what, err)
		}
	}
	f.requireAlive(p)
	f.requireServing(p)
	if marked, err := f.kind.hasMark(f.Context()); !errors.Is(err, errNoMark) && (err != nil || marked) {
		f.Errorf("afterwards something is stored (error %v)", err)
	}
}

// minSecret is the length at which the beginning of a secret counts as a leak, in characters.
const minSecret = 16

func (f *fixture) checkLog() {
	f.skipIfAttached() // the log of another process cannot be seen
	p := f.openPlugin(f.root)
	secrets := f.kind.secretCalls(f.Context())
	if len(secrets) == 0 {
		f.Skip("this suite gives the plugin no secrets")
	}
	f.shutDownPlugin(p) // so that the log is complete
	log := f.log.String()
	for _, s := range secrets {
		for form, text := range map[string]string{
			"in hexadecimal": hex.EncodeToString(s),
			"in HEXADECIMAL": strings.ToUpper(hex.EncodeToString(s)),
			"in base64":      base64.StdEncoding.EncodeToString(s),
			"in base64url":   base64.URLEncoding.EncodeToString(s),
			"as it is":       string(s),
		} {
			if strings.Contains(log, text[:min(len(text), minSecret)]) {
				f.Errorf("the log contains one %s; the relay passes lines on as they are", form)
			}
		}
	}
}
