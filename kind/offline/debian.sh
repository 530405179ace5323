# Debian roots: a small Debian and what some images have beyond it. They are folders with their owners and modes, which
# the images take as layers.

debian_suite=bookworm
debian_mirror=${DEBIAN_MIRROR:-}
left_out=(/usr/share/man /usr/share/doc /usr/share/locale /usr/share/info /usr/share/lintian)

# debian NAME PACKAGE…: a part that is the small Debian with these packages.
declare -A debian_packages=()
debian() {
  local name=$1
  shift
  debian_packages[$name]=$*
  part "$name" "$(digest "$debian_suite" "$*" "$(declare -f make_debian add_packages "make_${name//-/_}")")"
}

make_debian() { # FOLDER
  local args=() path
  for path in "${left_out[@]}"; do args+=("--dpkgopt=path-exclude=$path/*"); done
  # The package lists stay for the roots that are made of this one.
  attend debian env SOURCE_DATE_EPOCH=1 mmdebstrap --mode=root --variant=minbase --include=ca-certificates --skip=cleanup/apt/lists \
    "${args[@]}" "$debian_suite" "$1" $debian_mirror
}

# add_packages NAME FOLDER makes a root of the small Debian's by installing packages in it. /proc is there for the scripts of
# packages that look at it, in a mount namespace that ends with them.
add_packages() {
  local name=$1 root=$2
  need debian
  cp -a "${dir[debian]}/." "$root"
  mkdir -p "$root"/usr/share/man/man{1,2,3,4,5,6,7,8} # alternatives link pages there, left out or not
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # nothing is started by its installation
  chmod 755 "$root/usr/sbin/policy-rc.d"
  cp --remove-destination -L /etc/resolv.conf "$root/etc/resolv.conf"
  attend "$name" unshare --mount --propagation private sh -euc '
    mount -t proc proc "$1/proc"
    exec chroot "$1" env DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      sh -euc "apt-get update -qq; apt-get install -y -qq --no-install-recommends $2"' sh "$root" "${debian_packages[$name]}"
  cp -a --remove-destination "${dir[debian]}/etc/resolv.conf" "$root/etc/resolv.conf"
  rm -rf "$root/usr/sbin/policy-rc.d" "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/archives/*.deb
}

make_debian_net() { add_packages debian-net "$1"; }
make_debian_node() { add_packages debian-node "$1"; }
make_debian_java() { add_packages debian-java "$1"; }
make_debian_redis() { add_packages debian-redis "$1"; }
make_debian_postgres() {
  add_packages debian-postgres "$1"
  # The cluster that the installation made; and the compiler of queries, which is larger than all the rest: without its
  # library PostgreSQL does not use it.
  rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15 "$1"/usr/lib/postgresql/15/lib/{llvmjit*,bitcode} "$1"/usr/lib/*/libLLVM*
}

part debian "$(digest "$debian_suite" "${left_out[*]}" "$(declare -f make_debian)")"
# What programs that set the rules of a network call: kube-proxy and Istio's agent.
debian debian-net iptables nftables conntrack ipset kmod iproute2
# What a kind node needs (see images/base of kind), and Debian's runc.
debian debian-node systemd systemd-sysv conntrack iptables nftables ipset iproute2 ethtool util-linux mount kmod libseccomp2 pigz bash \
  curl jq procps runc e2fsprogs hostname socat
debian debian-java openjdk-17-jre-headless
debian debian-redis redis-server redis-tools
debian debian-postgres postgresql-15 postgresql-client-15
