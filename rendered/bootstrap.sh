#!/bin/sh
# Rendered by Lookout from stack.yaml and compose/templates/bootstrap.sh.j2: do not edit, run `make render`.
# Makes the secrets that the containers read, then starts the project with Docker Compose.
# `./bootstrap.sh secrets` makes the secrets only. Random ones that exist are never changed.
set -eu
cd "$(dirname "$0")"

# Containers run as different users, so the files can be read by all; the folder by its owner only.
put() {
  printf '%s' "$2" >"secrets/.$1.new"
  chmod 0444 "secrets/.$1.new"
  mv "secrets/.$1.new" "secrets/$1"
}

# A random secret is made once, and one that follows from another is written anew whenever it differs.
random() {
  [ -s "secrets/$1" ] && return
  value=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
  [ "${#value}" -eq 48 ] || { echo "bootstrap: no random numbers could be read with od" >&2; exit 1; }
  put "$1" "$value"
}
derived() {
  [ "$(cat "secrets/$1" 2>/dev/null)" = "$2" ] || put "$1" "$2"
}

mkdir -p secrets
chmod 0700 secrets
random grafana_admin
random postgres_password
random redis_password
derived redis_users "user default on >$(cat secrets/redis_password) ~* &* +@all"
derived redis_exporter "{\"redis://redis:6379\": \"$(cat secrets/redis_password)\"}"
random webhook_secret
random platform_admin
random postgres_monitor
random provider_api_key
random airtable_token
random postgres_app_mcp_server
random postgres_app_platform_services

[ "${1:-up}" = secrets ] && exit
DOCKER_ROOT=$(docker info --format '{{.DockerRootDir}}')
export DOCKER_ROOT
exec docker compose up --detach --remove-orphans
