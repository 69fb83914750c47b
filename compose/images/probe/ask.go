package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// health is what a server's answer, or the lack of one, says about it.
type health int

const (
	silent health = iota // no answer: refused, or nothing within the time of one try
	unwell               // an answer that is not good: it lives, so it is reported but never ended
	well
)

const (
	tryTimeout = 1500 * time.Millisecond // of one try
	tryPause   = 500 * time.Millisecond  // between two tries
)

// check asks until the first good answer or until within has passed. An unwell answer outranks silence: it proves
// that the server lives. The second result says what came back.
func check(target *url.URL, within time.Duration) (health, string) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	found, why := silent, ""
	for {
		h, reason := try(ctx, target, min(within, tryTimeout))
		if h == well {
			return well, reason
		}
		// Of several silent tries the first explains: the last one may have been cut short by the end of the time.
		if why == "" || h == unwell {
			found, why = h, reason
		}
		select {
		case <-ctx.Done():
			return found, why
		case <-time.After(tryPause):
		}
	}
}

func try(ctx context.Context, target *url.URL, timeout time.Duration) (health, string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	asks := map[string]func(context.Context, *url.URL) (health, string, error){
		"http": askHTTP, "redis": askRedis, "postgres": askPostgres,
	}
	h, why, err := asks[target.Scheme](ctx, target)
	if err != nil {
		return judge(err, timeout)
	}
	return h, why
}

// judge tells silence from errors of a living server (a reset connection, garbage) and from those that are not the
// server's (a name that does not resolve): only silence may end a server.
func judge(err error, timeout time.Duration) (health, string) {
	var dns *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &dns):
		return unwell, dns.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return silent, "connection refused"
	case errors.As(err, &network) && network.Timeout():
		return silent, fmt.Sprintf("no answer within %s", timeout)
	}
	var request *url.Error // its text repeats the URL
	if errors.As(err, &request) {
		err = request.Err
	}
	return unwell, err.Error()
}

// client follows no redirect (a login page elsewhere is not this server's health) and uses no proxy.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// askHTTP takes any 2xx as well.
func askHTTP(ctx context.Context, target *url.URL) (health, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return unwell, "", err
	}
	request.Header.Set("User-Agent", "lookout-probe")
	response, err := client.Do(request)
	if err != nil {
		return silent, "", err
	}
	defer response.Body.Close()
	if response.StatusCode >= 200 && response.StatusCode <= 299 {
		return well, response.Status, nil
	}
	why := response.Status
	body, _ := io.ReadAll(io.LimitReader(response.Body, 200)) // a reason is welcome, its lack no news
	if line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n"); line != "" {
		why += ": " + line
	}
	return unwell, why, nil
}

// askRedis sends PING. A refusal for want of a password comes from a server that works; "-LOADING" and "-MISCONF" from
// one that does not serve, and so does the one "-ERR" that says it has no connection left.
func askRedis(ctx context.Context, target *url.URL) (health, string, error) {
	reply, err := exchange(ctx, target, "PING\r\n")
	if err != nil {
		return silent, "", err
	}
	line, _, _ := strings.Cut(reply, "\r\n")
	for _, good := range []string{"+PONG", "-NOAUTH", "-ERR"} {
		if strings.HasPrefix(line, good) && !strings.HasPrefix(line, "-ERR max number of clients") {
			return well, line, nil
		}
	}
	return unwell, line, nil
}

// sslRequest asks a PostgreSQL server whether it speaks TLS; it answers with one byte before any authentication.
// https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-SSLREQUEST
const sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"

// askPostgres proves that the postmaster accepts and forks; during crash recovery it answers too, and is left in peace.
func askPostgres(ctx context.Context, target *url.URL) (health, string, error) {
	reply, err := exchange(ctx, target, sslRequest)
	if err != nil {
		return silent, "", err
	}
	why := fmt.Sprintf("answered %q to an SSLRequest", reply[0])
	if reply[0] == 'S' || reply[0] == 'N' {
		return well, why, nil
	}
	return unwell, why, nil
}

// exchange sends a request over TCP and returns the beginning of the reply, which is never empty.
func exchange(ctx context.Context, target *url.URL, request string) (string, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", target.Host)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	deadline, _ := ctx.Deadline()
	if err := connection.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := io.WriteString(connection, request); err != nil {
		return "", err
	}
	var reply [200]byte
	n, err := io.ReadAtLeast(connection, reply[:], 1)
	return string(reply[:n]), err
}
