// Command lookout-probe is the health check of every container of the stack.
//
//	lookout-probe install DIR                 copy itself to DIR/lookout-probe
//	lookout-probe check [flags] URL           ask a server how it is; see -help
//
// It is static and needs nothing of the image it runs in: no shell, no wget, no libc. A one-shot service installs it
// into a named volume that the other containers mount read-only at /probe.
//
// A check ends with 0 when the server is well and with 1 otherwise (Docker reserves 2), and prints one line: what was
// asked and what came back. Docker never restarts an unhealthy container, so a server that stays silent is ended here
// and its restart policy brings it back; end.go says when, and how.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const usage = `usage: lookout-probe install DIR
       lookout-probe check [flags] http://HOST:PORT/PATH | redis://HOST:PORT | postgres://HOST:PORT`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout))
}

// run is main with its arguments, output and exit code made visible to the tests.
func run(args []string, out io.Writer) int {
	switch {
	case len(args) == 2 && args[0] == "install":
		if err := install(args[1]); err != nil {
			fmt.Fprintf(out, "lookout-probe: install: %v\n", err)
			return 1
		}
		return 0
	case len(args) > 1 && args[0] == "check":
		return runCheck(args[1:], out)
	}
	fmt.Fprintln(out, usage)
	return 1
}

// runCheck parses the flags of one check, asks, reports, and leaves the counting of silence to the watch.
//
// The count is kept in /dev/shm because every container has it, read-only ones too, writable by every user. A tmpfs of
// one's own is not: when the engine 20.10 starts a container again, runc gives it the mode 0755 of its mount point.
func runCheck(args []string, out io.Writer) int {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() { fmt.Fprintln(out, usage); flags.PrintDefaults() }
	within := flags.Duration("within", 3500*time.Millisecond, "try again until this much `time` has passed")
	w := watch{uptime: containerUptime, end: endServer}
	flags.StringVar(&w.folder, "state", "/dev/shm", "`folder` that keeps the count of silent checks; on a tmpfs, so that a restart forgets it")
	flags.IntVar(&w.endAfter, "end-after", 2, "end the server after `N` silent checks in a row; 0 never ends it")
	flags.DurationVar(&w.grace, "grace", time.Minute, "never end a server whose container is up for less than this `time`")
	if err := flags.Parse(args); err != nil {
		return 1
	}
	target, err := parseTarget(flags.Args())
	if err != nil {
		fmt.Fprintf(out, "lookout-probe: %v\n%s\n", err, usage)
		return 1
	}
	found, why := check(target, *within)
	line := fmt.Sprintf("%s: %s", target, why)
	if note := w.note(found, target.String()); note != "" {
		line += "; " + note
	}
	fmt.Fprintln(out, line)
	if found != well {
		return 1
	}
	return 0
}

// parseTarget accepts exactly one URL with a known scheme, a host and a port.
func parseTarget(args []string) (*url.URL, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("one URL is needed, %d were given", len(args))
	}
	target, err := url.Parse(args[0])
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"http", "redis", "postgres"}, target.Scheme) {
		return nil, fmt.Errorf("%s: the scheme %q is not known", target, target.Scheme)
	}
	if target.Hostname() == "" || target.Port() == "" {
		return nil, fmt.Errorf("%s: a host and a port are needed", target)
	}
	return target, nil
}

// install copies the running program to folder/lookout-probe. The rename makes it whole or absent for containers that
// already mount the volume, and it replaces a program that is being executed, which a plain write cannot.
func install(folder string) (err error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	staged, err := os.CreateTemp(folder, ".lookout-probe-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(staged.Name())
		}
	}()
	_, err = io.Copy(staged, self)
	if err = errors.Join(err, staged.Chmod(0o755), staged.Close()); err != nil {
		return err
	}
	return os.Rename(staged.Name(), filepath.Join(folder, "lookout-probe"))
}
