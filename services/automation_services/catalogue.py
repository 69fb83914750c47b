"""Releases that the upgrade worker knows of: a small extract of what a registry would tell, oldest first."""

Version = tuple[int, int, int]

RELEASES: dict[str, dict[str, tuple[str, ...]]] = {
    "pypi": {
        "django": ("4.2.1", "4.2.16", "5.0.9", "5.1.4"),
        "flask": ("2.2.5", "2.3.3", "3.0.3", "3.1.0"),
        "httpx": ("0.26.0", "0.27.2", "0.28.1"),
        "jinja2": ("3.0.3", "3.1.2", "3.1.5"),
        "numpy": ("1.24.4", "1.26.4", "2.1.3", "2.2.1"),
        "requests": ("2.28.2", "2.31.0", "2.32.3"),
        "urllib3": ("1.26.18", "1.26.20", "2.2.3", "2.3.0"),
    },
    "npm": {
        "axios": ("0.27.2", "1.6.8", "1.7.9"),
        "express": ("4.18.2", "4.19.2", "4.21.2", "5.0.1"),
        "lodash": ("4.17.15", "4.17.20", "4.17.21"),
        "react": ("17.0.2", "18.2.0", "18.3.1", "19.0.0"),
        "typescript": ("4.9.5", "5.4.5", "5.7.2"),
    },
    "go": {
        "github.com/google/uuid": ("1.3.0", "1.5.0", "1.6.0"),
        "github.com/prometheus/client_golang": ("1.17.0", "1.19.1", "1.20.5"),
        "github.com/stretchr/testify": ("1.8.1", "1.9.0", "1.10.0"),
        "golang.org/x/net": ("0.17.0", "0.23.0", "0.33.0"),
    },
}


def parse(version: str) -> Version:
    """``1.2.3`` as numbers, missing ones as 0."""
    numbers = [int(part) for part in version.split(".")[:3]]
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    return major, minor, patch


def compatible(old: Version, new: Version) -> bool:
    """Whether ``new`` promises to work where ``old`` did: the same major version, below 1.0 the same minor one."""
    return old[0] == new[0] and (old[0] > 0 or old[1] == new[1])


def target(ecosystem: str, name: str, version: str, across_majors: bool) -> str | None:
    """The newest release to go to, ``version`` itself where it is that; None where the package is not known."""
    releases = RELEASES[ecosystem].get(name)
    if releases is None:
        return None
    old = parse(version)
    newer = [one for one in releases if parse(one) > old and (across_majors or compatible(old, parse(one)))]
    return newer[-1] if newer else version
