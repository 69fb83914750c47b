package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const valid = `
clients: [{url: "http://loki:3100/loki/api/v1/push"}]
scrape_configs:
  - job_name: app
    static_configs: [{labels: {job: "${JOB}", __path__: /var/log/app/*.log}}]
    pipeline_stages: [{regex: {expression: '(?P<level>INFO|ERROR)'}}, {labels: {level: null}}]
`

func TestAValidFilePassesTheSyntaxCheck(t *testing.T) {
	if code, out := checkSyntax(t, valid); code != 0 || !strings.Contains(out, "is valid") {
		t.Errorf("exit %d, output %q", code, out)
	}
}

func TestAWrongFileFailsTheSyntaxCheckAndSaysWhy(t *testing.T) {
	for what, c := range map[string]struct{ old, new, want string }{
		"an unknown key":     {"clients:", "clientz:", "clientz"},
		"an unknown stage":   {"{regex:", "{regexp:", "regexp"},
		"a wrong regex":      {"INFO|ERROR)", "INFO|ERROR", `job "app"`},
		"a wrong relabeling": {"static_configs:", "relabel_configs: [{action: nonsense}]\n    static_configs:", "nonsense"},
		"no YAML":            {"scrape_configs:", "scrape_configs", "yaml"},
	} {
		code, out := checkSyntax(t, strings.Replace(valid, c.old, c.new, 1))
		if code != 1 || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d, output %q", what, code, out)
		}
	}
}

func TestAMissingFileIsNamed(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"-config.file=/nowhere.yml"}, &out, &out); code != 1 || !strings.Contains(out.String(), "/nowhere.yml") {
		t.Errorf("exit %d, output %q", code, out.String())
	}
	if code := run(nil, &out, &out); code != 1 || !strings.Contains(out.String(), "-config.file is needed") {
		t.Errorf("exit %d, output %q", code, out.String())
	}
}

func TestVariablesAreExpandedOnlyWhenAsked(t *testing.T) {
	t.Setenv("JOB", "from-the-environment")
	file := write(t, valid)
	for flag, want := range map[string]string{"": "${JOB}", "-config.expand-env": "from-the-environment"} {
		args := []string{"-config.file=" + file}
		if flag != "" {
			args = append(args, flag)
		}
		o, err := load(args)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(o.ScrapeConfig[0].ServiceDiscoveryConfig.StaticConfigs[0].Labels["job"]); got != want {
			t.Errorf("%q: job is %q, not %q", flag, got, want)
		}
	}
}

func checkSyntax(t *testing.T, text string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	return run([]string{"-config.file=" + write(t, text), "-check-syntax"}, &out, &out), out.String()
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
