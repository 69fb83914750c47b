// Command promtail runs the Promtail of Loki's Go module. Upstream removed its command after Promtail's end of life
// (2026-03-02) but kept the library, so this is the part that is missing: flags, configuration file, logger, run.
//
//	promtail -config.file=F [-config.expand-env] [-check-syntax] [flags of the library; see -help]
//
// It ends with 0 on SIGTERM or SIGINT, after the positions are written and the waiting log lines were sent, and with 1
// when the configuration is wrong or the server cannot run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/grafana/dskit/flagext"
	"github.com/prometheus/client_golang/prometheus"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"

	"github.com/grafana/loki/v3/clients/pkg/logentry/stages"
	"github.com/grafana/loki/v3/clients/pkg/promtail"
	"github.com/grafana/loki/v3/clients/pkg/promtail/client"
	"github.com/grafana/loki/v3/clients/pkg/promtail/config"
	_ "github.com/grafana/loki/v3/pkg/util/build" // hands the linker's version on to -version and promtail_build_info
	"github.com/grafana/loki/v3/pkg/util/cfg"
	utillog "github.com/grafana/loki/v3/pkg/util/log"
)

// options are the library's configuration and what only a command needs. The names in the YAML file are the library's.
type options struct {
	config.Config `yaml:",inline"`

	file         string
	expandEnv    bool
	checkSyntax  bool
	printVersion bool
}

// RegisterFlags names the command's flags as upstream's command did; cfg.ConfigFileLoader finds the first two by name.
func (o *options) RegisterFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.file, "config.file", "", "yaml file to load")
	flags.BoolVar(&o.expandEnv, "config.expand-env", false, "expand ${var} in the file from the environment")
	flags.BoolVar(&o.checkSyntax, "check-syntax", false, "check the file, its relabelings and its pipelines, and exit")
	flags.BoolVar(&o.printVersion, "version", false, "print the version and exit")
	o.Config.RegisterFlags(flags)
}

// Clone lets the loader register flags on a copy, as it demands of a configuration.
func (o *options) Clone() flagext.Registerer {
	clone := *o
	return &clone
}

// load reads the defaults, then the file, then the flags; the later one wins. Unknown keys are errors.
func load(args []string) (*options, error) {
	var o options
	if err := cfg.DefaultUnmarshal(&o, args, flag.NewFlagSet("promtail", flag.ContinueOnError)); err != nil {
		return nil, err
	}
	return &o, nil
}

// check finds what reading the file does not: relabelings and pipelines are compiled, as a start would.
func (o *options) check() error {
	if o.file == "" {
		return errors.New("-config.file is needed")
	}
	found := []error{o.Validate()}
	for i := range o.ScrapeConfig {
		scrape := &o.ScrapeConfig[i]
		_, err := stages.NewPipeline(log.NewNopLogger(), scrape.PipelineStages, &scrape.JobName, prometheus.NewRegistry())
		if err != nil {
			found = append(found, fmt.Errorf("scrape_configs, job %q, pipeline_stages: %w", scrape.JobName, err))
		}
	}
	return errors.Join(found...)
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its arguments, output and exit code made visible to the tests.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := load(args)
	if err == nil && o.printVersion {
		fmt.Fprintln(stdout, version.Print("promtail"))
		return 0
	}
	if err == nil {
		err = o.check()
	}
	if err != nil {
		fmt.Fprintf(stderr, "promtail: wrong configuration: %v\n", err)
		return 1
	}
	if o.checkSyntax {
		fmt.Fprintf(stdout, "%s is valid\n", o.file)
		return 0
	}
	defer utillog.Flush() // the logger holds lines back for 100 ms: the last ones would be lost, the reason of a failure with them
	if err := serve(o, args); err != nil {
		level.Error(utillog.Logger).Log("msg", "promtail ends", "err", err)
		return 1
	}
	return 0
}

// serve runs until a signal to end. SIGHUP, and POST /reload where the file allows it, read the configuration again.
func serve(o *options, args []string) error {
	utillog.InitLogger(&o.ServerConfig.Config, prometheus.DefaultRegisterer, false)
	prometheus.MustRegister(versioncollector.NewCollector("promtail"))
	reload := func() (*config.Config, error) {
		fresh, err := load(args)
		if err != nil {
			return nil, err
		}
		return &fresh.Config, fresh.check()
	}
	p, err := promtail.New(o.Config, reload, client.NewMetrics(prometheus.DefaultRegisterer), false)
	if err != nil {
		return err
	}
	defer p.Shutdown()
	level.Info(utillog.Logger).Log("msg", "starting promtail", "version", version.Info())
	return p.Run()
}
