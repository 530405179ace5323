#!/bin/bash
# Starts PostgreSQL as the upstream image does, for the part of its contract that the manifests use: an empty PGDATA is
# initialised with POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB (each also as …_FILE), POSTGRES_INITDB_ARGS and
# POSTGRES_HOST_AUTH_METHOD, and the *.sh, *.sql and *.sql.gz files of /docker-entrypoint-initdb.d are run in order; then
# the server is started with the arguments given. It must not be started as root.
set -euo pipefail

fail() { printf 'postgres: %s\n' "$*" >&2; exit 1; }

# from_file NAME DEFAULT: the variable NAME, or what the file named by NAME_FILE holds.
from_file() {
  local name=$1 file=${1}_FILE
  [[ -z ${!name:-} || -z ${!file:-} ]] || fail "both $name and $file are set: choose one"
  if [[ ${!file:-} ]]; then printf -v "$name" %s "$(<"${!file}")"; fi
  if [[ -z ${!name:-} ]]; then printf -v "$name" %s "$2"; fi
  unset "$file"
}

if [[ ${1:-} == -* ]]; then set -- postgres "$@"; fi
if [[ ${1:-} != postgres ]]; then exec "$@"; fi
((UID)) || fail "it is started as root: run it as user 999 (runAsUser: 999)"

if [[ ! -s $PGDATA/PG_VERSION ]]; then
  from_file POSTGRES_USER postgres
  from_file POSTGRES_PASSWORD ""
  from_file POSTGRES_DB "$POSTGRES_USER"
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  [[ $POSTGRES_PASSWORD || $method == trust ]] || fail "POSTGRES_PASSWORD is not set: give the first user a password"
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  # Words, as upstream takes them.
  eval "set -- ${POSTGRES_INITDB_ARGS:-} -- \"\$@\""
  initdb=()
  while [[ $1 != -- ]]; do initdb+=("$1"); shift; done
  shift
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${initdb[@]}" >/dev/null
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

  # The files are run on a server that only this container reaches.
  export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -p ${PGPORT:-5432}" start >/dev/null
  psql=(psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER")
  if [[ $POSTGRES_DB != postgres ]]; then
    "${psql[@]}" --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
  fi
  export POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB
  shopt -s nullglob
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh) if [[ -x $file ]]; then "$file"; else source "$file"; fi ;;
      *.sql) "${psql[@]}" --dbname "$POSTGRES_DB" -f "$file" ;;
      *.sql.gz) gunzip -c "$file" | "${psql[@]}" --dbname "$POSTGRES_DB" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
  unset PGPASSWORD
fi
unset POSTGRES_PASSWORD
exec "$@"
