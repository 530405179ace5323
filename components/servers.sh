#!/usr/bin/env bash
# Fetches the servers that profiles need: Kafka's jars from Maven Central, the others from Debian's archive. Nothing is
# started: the platform does that, on ports and data folders of its own.
#   components/servers.sh [kafka] [redis] [rabbitmq] [postgres] [mysql]      without names: all of them
set -euo pipefail
cd "$(dirname "$0")"

say() { printf 'servers: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/dishmesh/servers"

# here COMMAND… succeeds when one of the commands or files is there.
here() {
  local c
  for c in "$@"; do
    command -v "$c" >/dev/null 2>&1 && return 0
    compgen -G "$c" >/dev/null && return 0
  done
  return 1
}

packages=()
want() { local package=$1; shift; here "$@" || packages+=("$package"); }

install_packages() {
  ((${#packages[@]})) || return 0
  command -v apt-get >/dev/null 2>&1 || fail "missing: ${packages[*]}; install them first"
  ((EUID == 0)) || fail "missing: ${packages[*]}; run this as root, or install them first"
  say "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Installing a server must not start it as a service of the machine.
  local policy=/usr/sbin/policy-rc.d made=
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made=$policy
  fi
  local status=0
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null || status=$?
  if [[ $made ]]; then rm -f "$made"; fi
  ((status == 0)) || fail "apt-get could not install ${packages[*]}"
  packages=()
}

fetch_kafka() {
  local version libs
  version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' kafka/server/pom.xml)
  libs=$cache/kafka-$version/libs
  if here "$libs/kafka_2.13-$version.jar"; then
    return
  fi
  say "fetching Apache Kafka $version from Maven Central"
  mkdir -p "$cache"
  # Half a set of jars must never look like a whole one.
  local part
  part=$(mktemp -d "$cache/.kafka-XXXXXX")
  if ! mvn -q -B -f kafka/server/pom.xml dependency:copy-dependencies -DoutputDirectory="$part/libs"; then
    rm -rf "$part"
    fail "Maven could not fetch Kafka $version"
  fi
  rm -rf "$cache/kafka-$version"
  mv "$part" "$cache/kafka-$version"
}

(($#)) || set -- kafka redis rabbitmq postgres mysql
for name in "$@"; do
  case $name in
    kafka) want openjdk-17-jre-headless java; want maven mvn ;;
    redis) want redis-server redis-server ;;
    rabbitmq) want rabbitmq-server '/usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server' ;;
    postgres) want postgresql postgres '/usr/lib/postgresql/*/bin/postgres' ;;
    mysql) want mariadb-server mariadbd /usr/sbin/mariadbd ;;
    *) fail "there is no server \"$name\": choose of kafka redis rabbitmq postgres mysql" ;;
  esac
done
install_packages
for name in "$@"; do
  if [[ $name == kafka ]]; then fetch_kafka; fi
done
say "here: $*"
