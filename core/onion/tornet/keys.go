package tornet

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// timeLayout is the form of times in directory documents, in UTC.
const timeLayout = "2006-01-02 15:04:05"

// authorityKeys are the keys of a directory authority, as tor-gencert makes them:
// an identity key, a signing key, and the certificate of the first for the second.
type authorityKeys struct {
	identity, signing *rsa.PrivateKey
	certificate       []byte
}

func newAuthorityKeys(now time.Time, address string) (*authorityKeys, error) {
	identity, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	k := &authorityKeys{identity: identity, signing: signing}
	k.certificate, err = k.makeCertificate(now, address)
	return k, err
}

// makeCertificate makes the key certificate of dir-spec, "Creating key certificates".
func (k *authorityKeys) makeCertificate(now time.Time, address string) ([]byte, error) {
	identityDigest := sha1.Sum(x509.MarshalPKCS1PublicKey(&k.identity.PublicKey))
	cross, err := signDigest(k.signing, identityDigest[:], "ID SIGNATURE")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "dir-key-certificate-version 3\n")
	fmt.Fprintf(&b, "dir-address %s\n", address)
	fmt.Fprintf(&b, "fingerprint %s\n", k.identityFingerprint())
	fmt.Fprintf(&b, "dir-key-published %s\n", now.UTC().Add(-24*time.Hour).Format(timeLayout))
	fmt.Fprintf(&b, "dir-key-expires %s\n", now.UTC().AddDate(1, 0, 0).Format(timeLayout))
	fmt.Fprintf(&b, "dir-identity-key\n%s", publicPEM(&k.identity.PublicKey))
	fmt.Fprintf(&b, "dir-signing-key\n%s", publicPEM(&k.signing.PublicKey))
	fmt.Fprintf(&b, "dir-key-crosscert\n%s", cross)
	fmt.Fprintf(&b, "dir-key-certification\n")
	digest := sha1.Sum(b.Bytes())
	signature, err := signDigest(k.identity, digest[:], "SIGNATURE")
	if err != nil {
		return nil, err
	}
	b.Write(signature)
	return b.Bytes(), nil
}

func (k *authorityKeys) identityFingerprint() string { return keyFingerprint(&k.identity.PublicKey) }
func (k *authorityKeys) signingFingerprint() string  { return keyFingerprint(&k.signing.PublicKey) }

// keyFingerprint returns SHA-1 of the PKCS#1 form of a key, in upper-case hex.
func keyFingerprint(k *rsa.PublicKey) string {
	return fmt.Sprintf("%X", sha1.Sum(x509.MarshalPKCS1PublicKey(k)))
}

func publicPEM(k *rsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(k)})
}

// signDigest signs a digest as directory documents are signed: PKCS#1 v1.5 padding
// around the bare digest, without the name of its hash.
func signDigest(k *rsa.PrivateKey, digest []byte, label string) ([]byte, error) {
	signature, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.Hash(0), digest)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: signature}), nil
}
