package tapir

import "github.com/oasisprotocol/curve25519-voi/primitives/merlin"

const (
	transcriptLabel = "tapir-transcript"
	protocolLabel   = "protocol"
)

// A Transcript absorbs the messages of a protocol, so that both sides can derive
// the same challenges from them, and only if they saw the same messages. It is a
// Merlin transcript, see https://merlin.cool. It is not for concurrent use.
type Transcript struct {
	merlin *merlin.Transcript
}

// NewTranscript returns an empty transcript with the root label of tapir.
func NewTranscript() *Transcript {
	return &Transcript{merlin.NewTranscript(transcriptLabel)}
}

// Protocol marks the start of the named protocol.
func (t *Transcript) Protocol(name string) { t.Append(protocolLabel, []byte(name)) }

// Append absorbs data under label.
func (t *Transcript) Append(label string, data []byte) { t.merlin.AppendMessage(label, data) }

// Commit extracts a challenge under label. It changes the transcript: the next
// challenge differs, also under the same label.
func (t *Transcript) Commit(label string) [64]byte {
	var challenge [64]byte
	t.merlin.ExtractBytes(challenge[:], label)
	return challenge
}
