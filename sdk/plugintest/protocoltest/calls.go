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
	{"ProtocolMalformed", "what no relay sends, as an id of 31 bytes, is refused and changes nothing", (*fixture).refusesMalformed},
	{"ProtocolLog", "no id, signature, ciphertext or token is in the log", (*fixture).logsNoSecrets},
}

func (f *fixture) refusesMalformed() {
	p := f.open(f.root)
	results := f.kind.malformed(f.Context())
	if len(results) == 0 {
		f.Skip("the messages of the kind have no fields of a fixed length")
	}
	for what, err := range results {
		switch status.Code(err) {
		case codes.OK:
			f.Errorf("a call with %s succeeded", what)
		case codes.Unimplemented, codes.ResourceExhausted, codes.Unavailable:
			f.Errorf("a call with %s: %v", what, err)
		}
	}
	f.lives(p)
	f.serves(p)
	if marked, err := f.kind.marked(f.Context()); !errors.Is(err, errNoMark) && (err != nil || marked) {
		f.Errorf("after that something is stored (error %v)", err)
	}
}

// minSecret is how much of a secret is one, in characters.
const minSecret = 16

func (f *fixture) logsNoSecrets() {
	f.onlyProcess() // of another the log is not seen
	p := f.open(f.root)
	secrets := f.kind.secrets(f.Context())
	if len(secrets) == 0 {
		f.Skip("the plugin is given none by this suite")
	}
	f.shutDown(p) // so that all of the log is there
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
				f.Errorf("the log has one %s: the relay passes lines on as they are", form)
			}
		}
	}
}
