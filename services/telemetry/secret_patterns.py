"""What secrets and personal data look like in text.

Every rule takes linear time on any input: a repetition is possessive or bounded, and begins only where a word begins,
so that no stretch of text is walked twice. ``hints`` are pieces of lower-case text, one of which any match contains;
to look for them is much cheaper than the expression, and most text has none.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

MASK = "***"


class Rule(NamedTuple):
    """An expression and what takes the place of its matches."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


# Prefix and rest of keys that their makers made recognisable (the makers' documentation of token formats).
_KEYS = (
    r"sk-(?=[A-Za-z_-]{0,128}[0-9])[A-Za-z0-9_-]{16,}+",  # OpenAI, Anthropic, OpenRouter, DeepSeek
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[A-Za-z0-9+/=]{16,}+",  # Stripe
    r"gh[pousr]_[A-Za-z0-9]{16,}+|github_pat_[A-Za-z0-9_]{20,}+",  # GitHub
    r"gl(?:pat|ptt|dt|rt|cbt|ft|soat|imt|agent|oas)-[A-Za-z0-9_.-]{16,}+",  # GitLab
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}+|xapp-[0-9]-[A-Za-z0-9-]{10,}+",  # Slack
    r"AIza[A-Za-z0-9_-]{30,}+|ya29\.[A-Za-z0-9_-]{20,}+|GOCSPX-[A-Za-z0-9_-]{20,}+",  # Google
    r"npm_[A-Za-z0-9]{30,}+|pypi-[A-Za-z0-9_-]{40,}+|dckr_pat_[A-Za-z0-9_-]{20,}+",  # registries
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])",  # AWS
    r"hf_[A-Za-z0-9]{30,}+|do[opr]_v1_[a-f0-9]{40,}+|sbp_[a-f0-9]{40}|hvs\.[A-Za-z0-9_-]{24,}+",
    r"SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+|pat[A-Za-z0-9]{14}\.[a-f0-9]{40,}+",  # SendGrid, Airtable
    r"glsa_[A-Za-z0-9_]{32,}+|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|dapi[a-f0-9]{32}|lin_api_[A-Za-z0-9]{32,}+",
)
_KEY_HINTS = (
    "sk-", "k_live_", "k_test_", "whsec_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "glptt-",
    "gldt-", "glrt-", "glcbt-", "glft-", "glsoat-", "glimt-", "glagent-", "gloas-", "xox", "xapp-", "aiza", "ya29.",
    "gocspx-", "npm_", "pypi-", "dckr_pat_", "akia", "asia", "abia", "acca", "hf_", "_v1_", "sbp_", "hvs.", "sg.",
    "pat", "glsa_", "shp", "dapi", "lin_api_",
)  # fmt: skip

# A domain or file name that ends so is no mail address: git@host:repository, getty@tty1.service.
_UNITS = r"service|socket|timer|target|mount|slice|scope"


def _mask_mail(match: re.Match[str]) -> str:
    return match[0] if match[1] == "git" else f"{MASK}{match[2]}{MASK}"


def _mask_scheme(match: re.Match[str]) -> str:
    # "Basic authentication" and "bearer tokens" are words; credentials have digits, signs, or capitals within.
    return f"{match[1]}{MASK}" if _NO_WORD.search(match[2]) else match[0]


_NO_WORD = re.compile(r"[0-9=+/_~]|[a-z][A-Z]|[a-z]\.[A-Za-z]")

SHORT_RULES = (
    Rule(
        ("private key",),
        re.compile(
            r"(-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----).*?(-----END [A-Z0-9 ]{1,60}-----|\Z)",
            re.DOTALL,
        ),
        rf"\1{MASK}\2",
    ),
    # The whole of user and password: at some services the user is the secret.
    Rule(("://",), re.compile(r"(?<=://)(?:[^\s/:@\"'<>]{0,256}+:[^\s/\"'<>]+|[^\s/:@\"'<>]{16,256}+)(?=@)"), MASK),
    Rule(
        ("bearer", "basic", "digest", "token", "apikey"),
        re.compile(
            r"(?<![A-Za-z])((?:bearer|basic|digest|token|apikey)[ \t]{1,4}+)([A-Za-z0-9._~+/=-]{8,}+)", re.IGNORECASE
        ),
        _mask_scheme,
    ),
    Rule(
        ("hooks.slack.com", "/api/webhooks/"),
        re.compile(r"((?:hooks\.slack\.com/[a-z]{1,20}|/api/webhooks)/)[A-Za-z0-9_/-]++"),
        rf"\1{MASK}",
    ),
    Rule(
        ("@", "%40"),
        re.compile(
            r"(?<![\w.+-])([\w.+-]++)(@|%40)(?:[\w-]{1,63}+\.){1,8}"
            rf"(?!(?:{_UNITS})\b)[^\W\d_]{{2,24}}+(?![\w@])"
        ),
        _mask_mail,
    ),
)

# Secrets that are one long word; most text has none, and need not be asked for each of them.
KEY_LENGTH = re.compile(r"[A-Za-z0-9_.:+/=-]{16}")
RULES = (
    *SHORT_RULES,
    Rule(
        ("eyj",),
        re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{6,}+\.[A-Za-z0-9_-]{6,}+(?:\.[A-Za-z0-9_-]*+){0,3}"),
        MASK,
    ),
    Rule(_KEY_HINTS, re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(_KEYS)})"), MASK),
    # Zhipu (GLM): an id and a secret, told from a digest and the end of a file name by a digit or capital.
    Rule(
        (".",),
        re.compile(r"(?<![A-Za-z0-9])[a-f0-9]{32}\.(?=[a-z]{0,15}[A-Z0-9])[A-Za-z0-9]{16}(?![A-Za-z0-9])"),
        MASK,
    ),
    Rule(
        (":",),
        re.compile(r"(?<![A-Za-z0-9])(bot)?[0-9]{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
        lambda match: f"{match[1] or ''}{MASK}",
    ),
    # A secret access key of AWS has no mark of its own: 40 characters of three kinds, in a line about AWS.
    Rule(
        ("aws", "akia", "asia"),
        re.compile(
            r"(?<![A-Za-z0-9/+=_.-])(?=[a-z0-9/+]{0,39}[A-Z])(?=[A-Z0-9/+]{0,39}[a-z])(?=[A-Za-z/+]{0,39}[0-9])"
            r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=_-])"
        ),
        MASK,
    ),
)
