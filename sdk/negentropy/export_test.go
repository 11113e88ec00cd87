package negentropy

import "github.com/cwtch-relay/cwtch-relay/sdk/storage"

// CheckMessage exports checkMessage to tests.
func CheckMessage(in storage.Range, message []byte) error {
	_, _, err := checkMessage(in, message)
	return err
}

// Reencode decodes a message that CheckMessage accepts, and encodes what it says.
func Reencode(in storage.Range, message []byte) ([]byte, error) {
	w := newWriter(in)
	for d := newDecoder(in, message, 0); d.more(); {
		sp, err := d.nextSpan()
		if err != nil {
			return nil, err
		}
		switch sp.mode {
		case modeSkip:
			w.skip(sp.Hi)
		case modeFingerprint:
			w.writeFingerprint(sp.Hi, fingerprint(sp.payload))
		case modeIDs:
			w.writeIDs(sp.Hi, len(sp.payload)/len(storage.ID{}))
			w.bytes = append(w.bytes, sp.payload...)
		}
	}
	return w.bytes, nil
}
