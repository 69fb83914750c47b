package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// watch counts silent checks in a row and ends the server when there were enough.
type watch struct {
	folder   string
	endAfter int
	grace    time.Duration
	uptime   func() (time.Duration, error) // of the container
	end      func(message string) error
}

// note takes one check into account and returns what a reader of the health log should know about it beside the
// server's health, if anything. A server that answers, well or unwell, starts the count again.
func (w watch) note(found health, target string) string {
	if w.endAfter == 0 {
		return ""
	}
	count := 0
	file := filepath.Join(w.folder, "lookout-silent-checks")
	if found == silent {
		previous, _ := os.ReadFile(file) // absent before the first check
		count, _ = strconv.Atoi(string(previous))
		count++
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(count)), 0o600); err != nil {
		return fmt.Sprintf("silent checks cannot be counted, so the server is never ended: %v", err)
	}
	if found != silent {
		return ""
	}
	if count < w.endAfter {
		return fmt.Sprintf("silent check %d of %d", count, w.endAfter)
	}
	up, err := w.uptime()
	if err != nil {
		return fmt.Sprintf("not ended: the container's uptime is unknown: %v", err)
	}
	if up < w.grace {
		return fmt.Sprintf("not ended: the container is up for %s, less than the grace of %s", up.Round(time.Second), w.grace)
	}
	if err := w.end(fmt.Sprintf("%s silent for %d checks; ending the server so that its restart policy brings it back", target, count)); err != nil {
		return fmt.Sprintf("not ended: %v", err)
	}
	return fmt.Sprintf("silent for %d checks, ended", count)
}

// initialPIDNamespace is the machine's own; its number is fixed in the kernel (PROC_PID_INIT_INO, linux/proc_ns.h).
const initialPIDNamespace = "pid:[4026531836]"

// endServer sends SIGKILL to every process of the container but PID 1 and this one (kill(2) on -1). SIGKILL also ends a
// stopped process. PID 1 must be an init (`init: true`): it outlives the signal, reaps the server and ends with
// its code, so the restart policy acts. A server that is PID 1 itself cannot be ended so: the kernel drops a SIGKILL
// sent to PID 1 from inside its namespace; that is reported, and the remedy with it.
//
// In a container with `pid: host` the same call would kill the machine's processes. Two signs forbid it: the machine's
// PID namespace, and a PID 1 of another control group (seen when the engine itself runs in a container).
func endServer(message string) error {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return err
	}
	own, errOwn := os.ReadFile("/proc/self/cgroup")
	first, errFirst := os.ReadFile("/proc/1/cgroup")
	if err := errors.Join(errOwn, errFirst); err != nil {
		return err
	}
	if namespace == initialPIDNamespace || !bytes.Equal(own, first) {
		return errors.New("this container shares a PID namespace with others (pid: host)")
	}
	switch err := syscall.Kill(-1, 0); { // asks only whether there is a process that may be signalled
	case errors.Is(err, syscall.ESRCH):
		return errors.New("the server is PID 1 and cannot be signalled from inside; give the container `init: true`")
	case err != nil:
		return fmt.Errorf("kill: %w", err)
	}
	tellLog(message) // before: once PID 1 ends, this process does too
	return syscall.Kill(-1, syscall.SIGKILL)
}

// tellLog writes to the container's log through the standard error of PID 1. That may be closed, full or another
// user's; the server is ended all the same, and the health log has the message too.
func tellLog(message string) {
	log, err := os.OpenFile("/proc/1/fd/2", os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer log.Close()
	_ = log.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = log.Write(logLine(time.Now(), os.Getenv("OTEL_SERVICE_NAME"), message))
}

// logLine is a line of docs/logs.md, because a container's log is read by one schema, whoever writes to it.
func logLine(now time.Time, service, message string) []byte {
	line, _ := json.Marshal(struct { // of strings alone, which cannot fail
		Timestamp string `json:"timestamp"`
		Level     string `json:"level"`
		Service   string `json:"service,omitempty"`
		Logger    string `json:"logger"`
		Message   string `json:"message"`
	}{now.UTC().Format("2006-01-02T15:04:05.000000Z"), "error", service, "lookout-probe", message})
	return append(line, '\n')
}

// containerUptime is the age of PID 1: both files count from the machine's boot.
func containerUptime() (time.Duration, error) {
	stat, errStat := os.ReadFile("/proc/1/stat")
	uptime, errUptime := os.ReadFile("/proc/uptime")
	if err := errors.Join(errStat, errUptime); err != nil {
		return 0, err
	}
	return age(string(stat), string(uptime))
}

// age subtracts the start in /proc/PID/stat (field 22, in ticks of USER_HZ, which is 100 on every port of Linux that Go
// and Docker share) from the seconds in /proc/uptime. See proc_pid_stat(5).
func age(stat, uptime string) (time.Duration, error) {
	afterName := stat[strings.LastIndex(stat, ")")+1:] // the name, in parentheses, may hold spaces and parentheses
	fields, since := strings.Fields(afterName), strings.Fields(uptime)
	if len(fields) < 20 || len(since) < 1 {
		return 0, errors.New("/proc/1/stat or /proc/uptime is too short")
	}
	ticks, errTicks := strconv.ParseInt(fields[19], 10, 64)
	seconds, errSeconds := strconv.ParseFloat(since[0], 64)
	if err := errors.Join(errTicks, errSeconds); err != nil {
		return 0, err
	}
	return time.Duration(seconds*float64(time.Second)) - time.Duration(ticks)*10*time.Millisecond, nil
}
