package tornet

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// readUpload returns what a relay of a private network, tor 0.4.9.11, posted.
func readUpload(t testing.TB) []byte {
	t.Helper()
	upload, err := os.ReadFile("testdata/upload.txt")
	if err != nil {
		t.Fatal(err)
	}
	return upload
}

// uploadOf returns the upload of another relay, whose identity begins with first.
func uploadOf(upload []byte, first string) []byte {
	i := bytes.Index(upload, []byte("\nfingerprint ")) + len("\nfingerprint ")
	return append(append(bytes.Clone(upload[:i]), first...), upload[i+len(first):]...)
}

func TestParseUpload(t *testing.T) {
	upload := readUpload(t)
	d, err := parseUpload(upload)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.nickname, "relay") || d.orPort == 0 || d.version != "Tor 0.4.9.11" || len(d.identity) != 20 {
		t.Errorf("parsed %+v", d)
	}
	if !bytes.HasPrefix(d.text, []byte("router ")) || !bytes.HasPrefix(d.extraInfo, []byte("extra-info ")) {
		t.Error("descriptor and extra-info were not told apart")
	}
	for name, edit := range map[string][2]string{
		"other address":  {" 127.0.0.1 ", " 192.0.2.1 "},
		"no fingerprint": {"\nfingerprint ", "\nxingerprint "},
		"no signature":   {"\nrouter-signature\n", "\nsignature\n"},
		"line break":     {"\nplatform Tor", "\nplatform\rTor"},
		"bad port":       {fmt.Sprintf(" %d ", d.orPort), " 65536 "},
		"no key":         {"\nntor-onion-key ", "\nntor-onion-key !"},
	} {
		bad := bytes.ReplaceAll(upload, []byte(edit[0]), []byte(edit[1]))
		if bytes.Equal(bad, upload) {
			t.Fatalf("%s: the edit changes nothing", name)
		}
		if _, err := parseUpload(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseUpload(f *testing.F) {
	f.Add(readUpload(f))
	f.Add([]byte("router a 127.0.0.1 1 0 0\nrouter-signature\n"))
	f.Add([]byte("router a 127.0.0.1 1 0 0\nextra-info \nrouter-signature\n"))
	f.Fuzz(func(t *testing.T, upload []byte) {
		d, err := parseUpload(upload)
		if err != nil {
			return
		}
		// One relay must not be able to break the consensus of all.
		for fl, want := range map[flavour]int{unflavoured: 6, microdesc: 6} {
			var b bytes.Buffer
			writeRelay(&b, fl, d)
			if got := bytes.Count(b.Bytes(), []byte("\n")); got > want || bytes.ContainsAny(b.Bytes(), "\r\x00") {
				t.Errorf("entry of the consensus:\n%s", b.Bytes())
			}
		}
	})
}

// The authority signs when all relays have come, not before, and again every hour.
func TestAuthorityConsensus(t *testing.T) {
	a, err := newAuthority(3)
	if err != nil {
		t.Fatal(err)
	}
	defer a.stopServing()
	now := time.Date(2031, 5, 6, 7, 59, 59, 0, time.UTC)
	a.now = func() time.Time { return now }

	upload := readUpload(t)
	names := []string{"00AA", "00AB", "FF00"}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for i, name := range names {
		for range 2 { // relays upload again
			if a.hasConsensus() {
				t.Fatalf("published with %d relays", i)
			}
			if err := a.addRelay(uploadOf(upload, name)); err != nil {
				t.Fatal(err)
			}
			if i == len(names)-1 {
				break
			}
		}
	}
	if !a.hasConsensus() {
		t.Fatal("not published")
	}
	for i := 1; i < 3; i++ {
		if d := a.listRelays(); bytes.Compare(d[i-1].identity, d[i].identity) >= 0 {
			t.Error("relays are not ordered")
		}
	}
	first, err := a.currentConsensus(microdesc)
	if err != nil || !bytes.Contains(first, []byte("\nvalid-after 2031-05-06 07:00:00\nfresh-until 2031-05-06 08:00:00\n")) {
		t.Fatalf("consensus: %v\n%s", err, first)
	}
	checkSignature(t, a, first)
	if again, _ := a.currentConsensus(microdesc); !bytes.Equal(again, first) {
		t.Error("signed again within the hour")
	}
	now = now.Add(time.Second)
	next, err := a.currentConsensus(microdesc)
	if err != nil || !bytes.Contains(next, []byte("\nvalid-after 2031-05-06 08:00:00\n")) {
		t.Fatalf("consensus of the next hour: %v\n%s", err, next)
	}
	checkSignature(t, a, next)
}

func checkSignature(t *testing.T, a *authority, consensus []byte) {
	t.Helper()
	signed, rest, _ := bytes.Cut(consensus, []byte("directory-signature "))
	digest := sha256.Sum256(append(bytes.Clone(signed), "directory-signature "...))
	_, text, _ := bytes.Cut(rest, []byte("\n"))
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no signature in %q", rest)
	}
	if err := rsa.VerifyPKCS1v15(&a.keys.signing.PublicKey, 0, digest[:], block.Bytes); err != nil {
		t.Error(err)
	}
}

func TestAuthorityHTTP(t *testing.T) {
	a, err := newAuthority(1)
	if err != nil {
		t.Fatal(err)
	}
	defer a.stopServing()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	base := fmt.Sprintf("http://127.0.0.1:%d", a.port)
	get := func(path string) (int, string) {
		t.Helper()
		r, err := client.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
	post := func(body []byte) int {
		t.Helper()
		r, err := client.Post(base+"/tor/", "", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.StatusCode
	}
	for _, bad := range [][]byte{nil, []byte("router"), make([]byte, maxUpload+1)} {
		if code := post(bad); code != http.StatusBadRequest {
			t.Errorf("bad upload of %d bytes: %d", len(bad), code)
		}
	}
	// A relay that asks before there is a consensus waits for it.
	early := make(chan string)
	go func() {
		_, body := get("/tor/status-vote/current/consensus-microdesc.z")
		early <- body
	}()
	if code := post(readUpload(t)); code != http.StatusOK {
		t.Fatalf("upload: %d", code)
	}
	if body := <-early; !strings.HasPrefix(body, "network-status-version 3 microdesc\n") {
		t.Errorf("consensus: %q", body)
	}
	d := a.listRelays()[0]
	for path, want := range map[string]string{
		"/tor/status-vote/current/consensus.z":            "network-status-version 3\n",
		"/tor/keys/all.z":                                 "dir-key-certificate-version 3\n",
		"/tor/server/all":                                 "router ",
		"/tor/server/fp/" + d.fingerprint + ".z":          "router ",
		fmt.Sprintf("/tor/server/d/00+%x.z", d.digest):    "router ",
		fmt.Sprintf("/tor/extra/d/%X", d.extraInfoDigest): "extra-info ",
		"/tor/micro/d/xx-" + unpadded.EncodeToString(d.microdescriptorDigest[:]) + ".z": "onion-key\n",
	} {
		if code, body := get(path); code != http.StatusOK || !strings.HasPrefix(body, want) {
			t.Errorf("%s: %d %.40q", path, code, body)
		}
	}
	for _, path := range []string{"/", "/tor/micro/d/", "/tor/server/d/00", "/tor/server/fp/", "/tor/rendezvous2/x"} {
		if code, body := get(path); code != http.StatusNotFound {
			t.Errorf("%s: %d %.40q", path, code, body)
		}
	}
}
