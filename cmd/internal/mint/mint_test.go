package mint

import (
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// A service accepts a token that is derived from its secret.
func TestTokenIsAccepted(t *testing.T) {
	keys, err := identity.LoadOrCreate(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(keys)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := m.Token()
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.NewKey(keys.Scalar)
	if err != nil {
		t.Fatal(err)
	}
	if !key.Verify(tok.Spend([]byte("post")), []byte("post")) {
		t.Error("refused")
	}
}
