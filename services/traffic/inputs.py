"""What visitors type, upload, ask for and send."""

from typing import Any

QUESTIONS = (
    "What is an error budget?",
    "How does tail sampling decide?",
    "Which alert fires when a disk fills up?",
    "Why do histograms need the right bounds?",
)
MODELS = ("mistral-small", "mistral-large", "kimi-k2", "glm-4", "claude-sonnet")
FILES = (
    ("report.csv", "name,count\nalpha,1\nbeta,2\n"),
    ("data.json", '[{"a": 1}, {"a": 2}]'),
    ("notes.md", "# Notes\n\nOne line.\n"),
)
WORKFLOWS = (
    ("summary", "Metrics tell that something is wrong. Traces tell where it is wrong. Logs tell why."),
    ("post_fetch", "<article><h1>Burn rates</h1></article><article><h1>Exemplars</h1></article>"),
    ("pdf_generation", "Weekly report\nAll is well."),
)
MANIFESTS = (
    ("requirements.txt", "flask==2.3.3\nrequests>=2.28.2\n"),
    ("package.json", '{\n  "dependencies": {\n    "react": "^18.2.0",\n    "axios": "1.6.8"\n  }\n}\n'),
    ("go.mod", "module example.test/page\n\nrequire github.com/google/uuid v1.3.0\n"),
)
FORMULAS = (
    "p | !p",
    "(p -> q) & (q -> r) & (r -> s) & (s -> t) -> (p -> t)",
    "(" + " & ".join(f"(p{n} -> p{n + 1})" for n in range(14)) + ") -> (p0 -> p14)",
)
PAGES = {"home": "/", "chat": "/chat", "records": "/records", "jobs": "/jobs", "orders": "/orders"}
COMMIT = {"id": "9c1f" * 10, "message": "Round amounts to cents", "added": [], "modified": ["requirements.txt"]}
# The parts of GitHub's payloads that a service would read (docs.github.com, "Webhook events and payloads").
EVENTS: dict[str, dict[str, Any]] = {
    "push": {"ref": "refs/heads/main", "after": COMMIT["id"], "deleted": False, "commits": [COMMIT]},
    "pull_request": {"action": "opened", "pull_request": {"number": 7, "title": "Cents", "body": "Round amounts."}},
    "release": {"action": "published", "release": {"tag_name": "v1.2.0", "name": "1.2.0", "body": "Cents."}},
    "ping": {"zen": "Keep it logically awesome.", "hook_id": 1},
}
# (method, path, user agent): what scanners ask the address of an API for.
SCANNED = (
    ("GET", "/.env", "curl/8"),
    ("GET", "/.git/config", "curl/8"),
    ("GET", "/wp-login.php", "curl/8"),
    ("GET", "/phpmyadmin/index.php", "curl/8"),
    ("GET", "/actuator/env", "curl/8"),
    ("GET", "/cgi-bin/luci", "curl/8"),
    ("GET", "/api/%2e%2e/%2e%2e/etc/passwd", "curl/8"),
    ("GET", "/api/files?name=../../../etc/passwd", "curl/8"),
    ("GET", "/api/search?q=%27%20OR%20%271%27=%271", "sqlmap/1.8"),
    ("GET", "/api/search?id=1%20UNION%20SELECT%20password%20FROM%20users", "curl/8"),
    ("GET", "/api/search?q=%24%7Bjndi:ldap://127.0.0.1/x%7D", "curl/8"),
    ("GET", f"/api/search?q={'A' * 5000}", "curl/8"),
    ("PROPFIND", "/", "curl/8"),
)
ENUMERATED = 18
GUESSES = 24
IMPORTED = 24
OVERSIZED_BYTES = 70_000
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) lookout-traffic"
