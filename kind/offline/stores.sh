# The broker and the stores: Kafka's jars over Debian's Java, Debian's Redis and PostgreSQL. They keep the part of upstream's contract
# that the manifests use, so that the same manifests run on upstream's images: see README.md.

# The jars of Kafka, from Maven Central.
part kafka "$(digest "$(tag docker.io/apache/kafka)" "$(content kind/offline/images/kafka/pom.xml)" "$(declare -f make_kafka)" 1)"
make_kafka() { # FOLDER
  attend kafka mvn -q -B -f "$here/images/kafka/pom.xml" -Dkafka.version="$(tag docker.io/apache/kafka)" \
    dependency:copy-dependencies -DoutputDirectory="$1/libs"
}

make_image_kafka() { # FOLDER
  local root=$1/root
  need debian; need debian-java; need kafka
  mkdir -p "$root"
  cp -r --no-preserve=ownership "$here/images/kafka/opt" "$root/"
  cp -r --no-preserve=mode,ownership "${dir[kafka]}/libs" "$root/opt/kafka/libs"
  add_user "$root" appuser 1000
  install -d -o 1000 -g 1000 "$root"/var/lib/kafka "$root"/var/lib/kafka/data "$root"/mnt/shared
  pack "$1" docker.io/apache/kafka -user appuser -env $path_env -env LANG=C.UTF-8 -workdir / \
    "debian:${dir[debian]}" "debian:${dir[debian-java]}-from:${dir[debian]}" "$root"
  rm -rf "$root"
}
image kafka docker.io/apache/kafka debian debian-java kafka

make_image_redis() { # FOLDER
  local root=$1/root
  need debian; need debian-redis
  add_user "$root" redis 999
  install -d -o 999 -g 999 "$root/data"
  pack "$1" docker.io/library/redis -user 999:999 -env $path_env -workdir /data -cmd redis-server \
    "debian:${dir[debian]}" "debian:${dir[debian-redis]}-from:${dir[debian]}" "$root"
  rm -rf "$root"
}
image redis docker.io/library/redis debian debian-redis

make_image_postgres() { # FOLDER
  local root=$1/root major=15
  need debian; need debian-postgres
  add_user "$root" postgres 999
  install -D -m 755 "$here/images/postgres/docker-entrypoint.sh" "$root/usr/local/bin/docker-entrypoint.sh"
  install -d "$root/docker-entrypoint-initdb.d"
  install -d -o 999 -g 999 "$root/var/lib/postgresql/data"
  install -d -m 3777 -o 999 -g 999 "$root/run/postgresql"
  pack "$1" docker.io/library/postgres -user 999:999 -env "${path_env}:/usr/lib/postgresql/$major/bin" -env PG_MAJOR=$major \
    -env PGDATA=/var/lib/postgresql/data -env LANG=C.UTF-8 -stop-signal SIGINT -entrypoint docker-entrypoint.sh -cmd postgres \
    "debian:${dir[debian]}" "debian:${dir[debian-postgres]}-from:${dir[debian]}" "$root"
  rm -rf "$root"
}
image postgres docker.io/library/postgres debian debian-postgres

# add_user ROOT NAME ID gives a Debian root the user that upstream's image has.
add_user() {
  local root=$1 name=$2 id=$3
  mkdir -p "$root/etc"
  { printf 'root:x:0:0:root:/root:/bin/bash\n%s:x:%d:%d:%s:/:/usr/sbin/nologin\n' "$name" "$id" "$id" "$name"; } >"$root/etc/passwd"
  printf 'root:x:0:\n%s:x:%d:\n' "$name" "$id" >"$root/etc/group"
}
