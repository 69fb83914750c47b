"""What looks like an attack in method, path, query and user agent. Bodies are not read: people write about SQL."""

import re
from urllib.parse import unquote_plus

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TRAVERSAL = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)")
# One ".." in a query is a relative link; two in a row, or the file that everyone tries, are not.
_TRAVERSAL_IN_QUERY = re.compile(r"(?:\.\.[/\\]){2}|/etc/(?:passwd|shadow)\b|\bwin\.ini\b", re.IGNORECASE)
_SCANNED = re.compile(
    r"/\.(?:env|git|svn|hg|aws|ssh|docker|htaccess|htpasswd|DS_Store)\b"
    r"|^/(?:wp-(?:login|admin|content|includes|json)|xmlrpc\.php|php-?my-?admin|phpinfo|cgi-bin|actuator|server-status"
    r"|vendor/phpunit|solr/admin|manager/html|boaform|HNAP1|jenkins/script|owa/auth)\b",
    re.IGNORECASE,
)
_SCANNING_TOOL = re.compile(r"\b(?:sqlmap|nikto|nmap|masscan|zgrab|nuclei|gobuster|dirbuster|wpscan|acunetix)\b", re.I)
_INJECTION = re.compile(
    r"<script[\s>/]|<\w{1,20}\s[^>]{0,200}\bon\w{3,20}\s*=|javascript:\s*\w+\("
    r"|(?:['\")]|\b\d+)\s*(?:/\*.{0,20}\*/)?\s*\bunion\b(?:\s|/\*.{0,20}\*/)+(?:all\s+)?select\b"
    r"|['\"]\s*\)?\s*(?:or|and)\s+['\"]?\w{1,20}['\"]?\s*(?:=|like\b)\s*['\"]?\w"
    r"|;\s*(?:drop|truncate)\s+(?:table|database)\b|\b(?:pg_sleep|sleep|benchmark)\s*\(\s*\d"
    r"|\$\{(?:jndi|env|sys):|\{\{\s*\d+\s*\*\s*\d+\s*\}\}|[;|`]\s*(?:cat\s+/|(?:wget|curl)\s+http)|\$\((?:id|whoami)\)"
    r"|\x00",
    re.IGNORECASE,
)
MAX_LENGTH = 4096
"""Characters that are looked at; what follows is counted as suspicious for its length alone."""

REASONS = (
    "path_traversal", "injection", "scanner", "oversized_body", "oversized_url", "unknown_method", "enumeration",
)  # fmt: skip


def suspicion(method: str, path: str, query: str, agent: str = "") -> str | None:
    """Why a request looks like an attack; None where it does not. ``path`` is decoded once already."""
    if method not in _METHODS:
        return "unknown_method"
    if len(path) + len(query) > MAX_LENGTH:
        return "oversized_url"
    # Twice: an attacker encodes twice.
    path, query = unquote_plus(path), unquote_plus(unquote_plus(query))
    if _TRAVERSAL.search(path) or _TRAVERSAL_IN_QUERY.search(query):
        return "path_traversal"
    if _SCANNED.search(path) or _SCANNING_TOOL.search(agent[:512]):
        return "scanner"
    if _INJECTION.search(path) or _INJECTION.search(query):
        return "injection"
    return None
