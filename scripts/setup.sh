#!/bin/sh
# Makes .venv with the locked, hashed dependencies. Does nothing when it is there and the lock has not changed.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/requirements.lock
cmp -s requirements.lock "$stamp" && exit 0

for python in python3 python3.13 python3.12 python3.11; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
  python=
done
[ -n "$python" ] || { echo "setup: Python 3.11 or newer is needed; on Debian: apt-get install -y python3" >&2; exit 3; }

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup      installing python3-venv"
    { apt-get update -qq && apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends python3-venv; } >/dev/null
  else
    echo "setup: Python's venv module is missing; on Debian run: apt-get install -y python3-venv" >&2
    exit 3
  fi
fi

echo "setup      Python environment in .venv"
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
cp requirements.lock "$stamp"
