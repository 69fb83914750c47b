package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestAServerThatAnswers200IsHealthy(t *testing.T) {
	expect(t, httpServer(t, http.StatusOK, "ready"), 0, "200 OK")
}

func TestAServerThatAnswers503IsUnhealthyAndItsReasonIsShown(t *testing.T) {
	expect(t, httpServer(t, http.StatusServiceUnavailable, "Ingester not ready\nmore"), 1, "503 Service Unavailable: Ingester not ready\n")
}

func TestARedirectIsNotFollowedAndNotHealthy(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("/login", http.StatusFound))
	t.Cleanup(server.Close)
	expect(t, server.URL, 1, "302 Found")
}

func TestAServerThatBecomesReadyWithinTheTimeIsHealthy(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	code, out := probe(t, "check", "-end-after=0", "-within=2s", server.URL)
	if code != 0 {
		t.Fatalf("exit %d, output %q", code, out)
	}
}

func TestARefusedConnectionIsUnhealthy(t *testing.T) {
	listener := listen(t)
	listener.Close()
	for _, scheme := range []string{"http://", "redis://", "postgres://"} {
		expect(t, scheme+listener.Addr().String(), 1, "connection refused")
	}
}

func TestAServerThatAcceptsAndNeverAnswersIsUnhealthyWithinTheTime(t *testing.T) {
	address := listen(t).Addr().String() // the kernel accepts into the backlog, as for a stopped process
	for _, scheme := range []string{"http://", "redis://", "postgres://"} {
		start := time.Now()
		expect(t, scheme+address, 1, "no answer within 200ms")
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s took %s", scheme, took)
		}
	}
}

func TestEveryReplyOfRedisIsJudged(t *testing.T) {
	for reply, want := range map[string]int{
		"+PONG\r\n":                                 0,
		"-NOAUTH Authentication required.\r\n":      0,
		"-ERR unknown command 'PING'\r\n":           0,
		"-ERR max number of clients reached\r\n":    1,
		"-LOADING Redis is loading the dataset\r\n": 1,
	} {
		expect(t, "redis://"+answering(t, reply), want, strings.TrimSpace(reply))
	}
}

func TestPostgresIsHealthyWhenItAnswersAnSSLRequest(t *testing.T) {
	for reply, want := range map[string]int{"S": 0, "N": 0, "E": 1} {
		expect(t, "postgres://"+answering(t, reply), want, "answered '"+reply+"'")
	}
}

func TestAConnectionClosedWithoutAnAnswerIsNotSilence(t *testing.T) {
	for _, scheme := range []string{"http", "redis", "postgres"} {
		found, why := check(&url.URL{Scheme: scheme, Host: answering(t, "")}, 200*time.Millisecond)
		if found != unwell {
			t.Errorf("%s: health %d, %s", scheme, found, why)
		}
	}
}

func TestOneUnwellAnswerAmongSilentTriesIsNotSilence(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			<-r.Context().Done()
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	target, _ := url.Parse(server.URL)
	if found, why := check(target, 900*time.Millisecond); found != unwell || asked.Load() < 2 {
		t.Errorf("health %d after %d tries, %s", found, asked.Load(), why)
	}
}

func TestWrongUsageNamesWhatIsWrong(t *testing.T) {
	for wrong, want := range map[string]string{
		"ftp://localhost:21":   `the scheme "ftp" is not known`,
		"http://localhost/":    "a host and a port are needed",
		"redis://:6379":        "a host and a port are needed",
		"http://127.0.0.1:x/y": "invalid port",
	} {
		if code, out := probe(t, "check", wrong); code != 1 || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d, output %q", wrong, code, out)
		}
	}
	if code, out := probe(t, "chek"); code != 1 || !strings.HasPrefix(out, "usage:") {
		t.Errorf("exit %d, output %q", code, out)
	}
}

func TestInstallReplacesTheProgramAndLeavesNothingElse(t *testing.T) {
	folder := t.TempDir()
	for range 2 {
		if code, out := probe(t, "install", folder); code != 0 {
			t.Fatalf("exit %d, output %q", code, out)
		}
	}
	files, _ := os.ReadDir(folder)
	info, err := os.Stat(filepath.Join(folder, "lookout-probe"))
	if err != nil || len(files) != 1 || info.Mode() != 0o755 || info.Size() == 0 {
		t.Errorf("%v, %d files, %v", err, len(files), info)
	}
}

func TestInstallSaysWhyItFails(t *testing.T) {
	if code, out := probe(t, "install", "/nowhere"); code != 1 || !strings.Contains(out, "no such file or directory") {
		t.Errorf("exit %d, output %q", code, out)
	}
}

// watched is a watch whose server is ended in the test's mind only.
func watched(t *testing.T, up time.Duration) (w watch, ended *int) {
	ended = new(int)
	return watch{
		folder: t.TempDir(), endAfter: 2, grace: time.Minute,
		uptime: func() (time.Duration, error) { return up, nil },
		end:    func(string) error { *ended++; return nil },
	}, ended
}

func notes(w watch, checks ...health) (last string) {
	for _, found := range checks {
		last = w.note(found, "http://127.0.0.1:1/")
	}
	return last
}

func TestTheServerIsEndedAfterTwoSilentChecksInARow(t *testing.T) {
	w, ended := watched(t, time.Hour)
	if note := notes(w, well, silent); *ended != 0 || note != "silent check 1 of 2" {
		t.Fatalf("ended %d, %q", *ended, note)
	}
	if note := notes(w, silent); *ended != 1 || note != "silent for 2 checks, ended" {
		t.Fatalf("ended %d, %q", *ended, note)
	}
}

func TestAnAnswerStartsTheCountAgain(t *testing.T) {
	for _, answer := range []health{well, unwell} {
		w, ended := watched(t, time.Hour)
		if notes(w, silent, answer, silent, answer, silent); *ended != 0 {
			t.Errorf("ended in spite of answer %d", answer)
		}
	}
}

func TestAnUnwellServerIsNeverEnded(t *testing.T) {
	w, ended := watched(t, time.Hour)
	if notes(w, unwell, unwell, unwell, unwell); *ended != 0 {
		t.Error("ended")
	}
}

func TestAYoungContainerIsNotEnded(t *testing.T) {
	w, ended := watched(t, 30*time.Second)
	if note := notes(w, silent, silent, silent); *ended != 0 || !strings.Contains(note, "up for 30s, less than the grace of 1m0s") {
		t.Errorf("ended %d, %q", *ended, note)
	}
}

func TestZeroNeverEndsAndNeedsNoState(t *testing.T) {
	w, ended := watched(t, time.Hour)
	w.endAfter, w.folder = 0, "/nowhere"
	if note := notes(w, silent, silent, silent); *ended != 0 || note != "" {
		t.Errorf("ended %d, %q", *ended, note)
	}
}

func TestAnUnwritableStateIsSaidAndHealthIsStillReported(t *testing.T) {
	code, out := probe(t, "check", "-within=200ms", "-state=/nowhere", httpServer(t, http.StatusOK, ""))
	if code != 0 || !strings.Contains(out, "200 OK; silent checks cannot be counted") {
		t.Errorf("exit %d, output %q", code, out)
	}
}

func TestAFailureToEndIsSaid(t *testing.T) {
	w, _ := watched(t, time.Hour)
	w.end = func(string) error { return errors.New("kill: operation not permitted") }
	if note := notes(w, silent, silent); note != "not ended: kill: operation not permitted" {
		t.Error(note)
	}
}

func TestTheAgeOfPID1IsReadInSpiteOfAnOddName(t *testing.T) {
	stat := "1 (odd) name (x) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 5000 1000 100"
	if got, err := age(stat, "110.50 200.00\n"); err != nil || got != 60500*time.Millisecond {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := age("1 (x) S", "1 1"); err == nil {
		t.Error("a short stat is no error")
	}
}

// probe runs the program in this process. The tests never let it end anything: they are the container's processes.
func probe(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	return run(args, &out), out.String()
}

func expect(t *testing.T, target string, code int, output string) {
	t.Helper()
	got, out := probe(t, "check", "-end-after=0", "-within=200ms", target)
	if got != code || !strings.HasPrefix(out, target+": ") || !strings.Contains(out, output) || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d, output %q; want %d with %q on one line", got, out, code, output)
	}
}

func httpServer(t *testing.T, status int, body string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func listen(t *testing.T) net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// answering reads the beginning of each request, sends the reply and closes the connection.
func answering(t *testing.T, reply string) string {
	listener := listen(t)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(connection).Peek(1)
			_, _ = connection.Write([]byte(reply))
			connection.Close()
		}
	}()
	return listener.Addr().String()
}

func TestTheLineInTheLogIsOfTheSchema(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600))
	for service, want := range map[string]string{
		"shop": `{"timestamp":"2026-01-02T02:04:05.000006Z","level":"error","service":"shop","logger":"lookout-probe","message":"it hung"}`,
		"":     `{"timestamp":"2026-01-02T02:04:05.000006Z","level":"error","logger":"lookout-probe","message":"it hung"}`,
	} {
		if line := string(logLine(now, service, "it hung")); line != want+"\n" {
			t.Errorf("%q", line)
		}
	}
}
