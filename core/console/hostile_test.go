package console

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStrangersKeepNobodyOut lets a stranger keep far more connections than there are, send
// nothing, and come back at once for each that it loses, while a browser signs in and looks at
// pages.
func TestStrangersKeepNobodyOut(t *testing.T) {
	c := startConsole(t)
	ctx, end := context.WithCancel(t.Context())
	var strangers, connected sync.WaitGroup
	for range 8 * maxConnections {
		connected.Add(1)
		once := sync.OnceFunc(connected.Done)
		strangers.Go(func() {
			for ctx.Err() == nil {
				nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
				once()
				if err != nil {
					continue
				}
				stop := context.AfterFunc(ctx, func() { nc.Close() })
				nc.Read(make([]byte, 1)) // until it is closed
				stop()
				nc.Close()
			}
		})
	}
	connected.Wait()
	b := c.newBrowser()
	b.client.Timeout = readHeaderTimeout
	b.get(c.IssueKey()).want(t, http.StatusOK)
	for range 20 {
		b.page("/")
	}
	end()
	strangers.Wait()
}

// TestConnectionsAreBounded also shows that no stranger takes the place of a browser.
func TestConnectionsAreBounded(t *testing.T) {
	c := startConsole(t)
	b := c.signIn() // and keeps its connection
	cut := make(chan error, 3*maxConnections)
	began := time.Now()
	for range cap(cut) {
		nc, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		go func() {
			_, err := nc.Read(make([]byte, 1))
			cut <- err
		}()
	}
	for range cap(cut) - (maxConnections - 1) {
		<-cut
	}
	if took := time.Since(began); took >= readHeaderTimeout {
		t.Errorf("connections were closed for their age, after %v", took)
	}
	reused := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { reused = got.Reused }})
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.addr+c.prefix+"/", nil)
	res, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if !reused {
		t.Error("a stranger took the connection of the browser")
	}
}

// TestOddRequests sends what no library would.
func TestOddRequests(t *testing.T) {
	c := startConsole(t)
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"no host", "GET / HTTP/1.1\r\n\r\n", http.StatusBadRequest},
		{"HTTP/1.0 without a host", "GET / HTTP/1.0\r\n\r\n", http.StatusMisdirectedRequest},
		{"two hosts", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", http.StatusBadRequest},
		{"a target with the host of a stranger", "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", http.StatusMisdirectedRequest},
		{"a host with a user", "GET / HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", http.StatusBadRequest},
		{"a host with a point", "GET / HTTP/1.1\r\nHost: evil.example.\r\n\r\n", http.StatusMisdirectedRequest},
		{"a host with a zone", "GET / HTTP/1.1\r\nHost: [fe80::1%25lo]:80\r\n\r\n", http.StatusMisdirectedRequest},
		{"a host in capitals", "GET / HTTP/1.1\r\nHost: LOCALHOST:1\r\n\r\n", http.StatusOK},
		{"two lengths", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", http.StatusBadRequest},
		{"length and chunks", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n", http.StatusNotFound},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http.StatusMisdirectedRequest},
		{"proxy", "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", http.StatusMethodNotAllowed},
		{"another method by a header", "POST /open/x HTTP/1.1\r\nHost: localhost\r\nX-HTTP-Method-Override: GET\r\nContent-Length: 0\r\n\r\n", http.StatusNotFound},
		{"long header", "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
	} {
		nc, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprint(nc, test.request)
		nc.SetReadDeadline(time.Now().Add(readHeaderTimeout))
		res, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		res.Body.Close()
		if res.StatusCode != test.status {
			t.Errorf("%s: the answer is %d, not %d", test.name, res.StatusCode, test.status)
		}
	}
}
