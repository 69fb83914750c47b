#!/bin/sh
# A headless Chromium that is driven over its DevTools protocol on port 9222. Chromium itself listens on its own
# loopback only, whatever it is told, so socat brings in what comes from outside. It is alone in its container, which
# takes the place of its sandbox.
set -eu
socat TCP-LISTEN:9222,fork,reuseaddr TCP:127.0.0.1:9223 &
exec chromium --headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run \
  --disable-background-networking --disable-component-update --disable-sync --disable-extensions \
  --user-data-dir=/tmp/profile --remote-debugging-port=9223 about:blank
