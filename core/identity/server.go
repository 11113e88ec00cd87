package identity

import (
	"crypto/rand"
	"fmt"
	"io"

	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
)

// Server holds every secret of one Cwtch server.
type Server struct {
	// Board is the key of the onion service with the messages. Clients know the
	// server by its name, and it signs the server's key bundle.
	Board Key
	// Token is the key of the onion service that issues tokens.
	Token Key
	// Scalar is the secret key of the token service: a canonical, little-endian,
	// non-zero ristretto255 scalar.
	Scalar [32]byte
}

// Format prints "[secret]" for every verb and flag.
func (Server) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText returns "[secret]", which keeps keys out of log/slog and JSON.
func (Server) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// newServer draws the keys of a new server.
func newServer() *Server {
	return &Server{Board: NewKey(), Token: NewKey(), Scalar: newScalar()}
}

// wipeKeys overwrites the secrets. The server cannot be used any more.
func (s *Server) wipeKeys() {
	clear(s.Board.secret().private)
	clear(s.Token.secret().private)
	clear(s.Scalar[:])
}

// newScalar draws a scalar uniformly: 64 bytes leave no bias that matters when
// they are reduced to the 252 bits of the group order.
func newScalar() [32]byte {
	for {
		var wide [scalar.ScalarWideSize]byte
		rand.Read(wide[:]) // never fails, see crypto/rand
		s, err := scalar.NewFromBytesModOrderWide(wide[:])
		if err != nil {
			panic("identity: " + err.Error()) // only for a wrong length
		}
		var out [scalar.ScalarSize]byte
		if err := s.ToBytes(out[:]); err != nil {
			panic("identity: " + err.Error()) // only for a wrong length
		}
		if checkScalar(out) {
			return out
		}
	}
}

// checkScalar reports whether s is canonical and not zero.
func checkScalar(s [32]byte) bool {
	return s != [32]byte{} && scalar.ScMinimalVartime(s[:])
}
