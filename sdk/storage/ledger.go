package storage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
)

// MaxSpentTokens is the greatest number of tokens in one page and in one Spend.
const MaxSpentTokens = 1024

// Ledger is implemented by a store whose spent tokens can be carried to another
// store: the envelopes go through Log and Append, and then the tokens through
// SpentTokens and Spend. A token stays spent forever, so the ledger keeps it even
// when the envelope it paid for is gone.
//
// What Append spends is in the ledger, and what Spend records is spent for Append.
//
// The relay does not look for a Ledger with a type assertion but with [As].
type Ledger interface {
	// SpentTokens returns the spent tokens that come after req.After, in the order
	// of their bytes, as many as there are and at most req.Max; none means that
	// there are no more. They are the tokens of one moment. Tokens that are spent
	// between two pages may be missing if they come before the second. The slice
	// belongs to the caller.
	SpentTokens(ctx context.Context, req SpentTokensRequest) ([]SpentToken, error)

	// Spend records tokens as spent, all of them in one transaction, and returns
	// when that is durable. The envelopes need not be in the log, and are not put
	// there. If a token is already spent, even earlier in this batch, the first
	// spending is kept and no error is returned, so Spend may be repeated. More
	// than MaxSpentTokens is ErrTooLarge and changes nothing. An error says nothing
	// about the batch, as with Append.
	Spend(ctx context.Context, spendings []SpentToken) error
}

// TokenID stands for a spent token. It is the beginning of a hash, which does not reveal
// the nullifier. Two nullifiers with one TokenID are one token.
type TokenID [16]byte

// NewTokenID computes the id of the token that a nullifier belongs to: the first
// 16 bytes of SHA-256(nullifier).
func NewTokenID(n Nullifier) TokenID {
	h := sha256.Sum256(n[:])
	return TokenID(h[:len(TokenID{})])
}

// SpentToken is a spent token and the envelope it paid for.
type SpentToken struct {
	Token TokenID
	ID    ID
}

// SpentTokensRequest asks for a page of the ledger.
type SpentTokensRequest struct {
	After *TokenID // the last one of the page before; nil for the first page
	// Max bounds the number of tokens; 0 means MaxSpentTokens. Less than 0 or
	// more than MaxSpentTokens is ErrTooLarge.
	Max int
}

// Bound returns the greatest number of tokens to return, with the default filled
// in, or an error that is [ErrTooLarge]. Stores call it first.
func (r SpentTokensRequest) Bound() (int, error) {
	if r.Max < 0 || r.Max > MaxSpentTokens {
		return 0, fmt.Errorf("page of %d spendings, limit %d: %w", r.Max, MaxSpentTokens, ErrTooLarge)
	}
	return cmp.Or(r.Max, MaxSpentTokens), nil
}

// CheckSpend returns an error that is [ErrTooLarge] when spendings exceed the
// limit of one Spend, and nil otherwise. Stores call it first.
func CheckSpend(spendings []SpentToken) error {
	if len(spendings) > MaxSpentTokens {
		return fmt.Errorf("batch of %d spendings, limit %d: %w", len(spendings), MaxSpentTokens, ErrTooLarge)
	}
	return nil
}
