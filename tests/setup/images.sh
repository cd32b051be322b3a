#!/usr/bin/env bash
# Makes the images that the tests and the demo run on, without any image
# registry: `debian:12` by mmdebstrap, `busybox:1` from busybox-static, the runner
# images from runner-images/, and those of the tests from tests/images/. What is
# there and unchanged is kept. Who is not root, or not on Debian, pulls the first
# two.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Two runs of this script at once would make every image twice.
exec 9>"${TMPDIR:-/tmp}/shipline-images.$EUID.lock"
flock 9

present() {
  docker image inspect "$1" >/dev/null 2>&1
}

size() {
  docker image inspect --format '{{.Size}}' "$1" | numfmt --to=si --suffix=B
}

# Runs a command whose output matters only if it fails.
quietly() {
  "$@" >"$work/log" 2>&1 </dev/null && return
  tail -n 40 "$work/log" >&2
  echo "images: failed: $*" >&2
  exit 3
}

# Prints the settings of this machine's apt that the image needs to reach the same mirror.
apt_options() {
  local key value
  for key in Acquire::Check-Valid-Until Acquire::Check-Date Acquire::http::Proxy Acquire::https::Proxy; do
    value=$(apt-config dump --format '%v%n' "$key")
    case $value in
      '' | *localhost* | *//127.*) ;;
      *) echo "--aptopt=$key \"$value\"" ;;
    esac
  done
}

pull() {
  echo "images: pulling $1"
  quietly docker pull "$1"
}

debian() {
  if ((EUID != 0)) || [[ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]]; then
    pull debian:12
    return
  fi
  "$here/sources.sh" deb >"$work/sources"
  local options
  mapfile -t options < <(apt_options)

  echo "images: making debian:12 from $(awk '$4 == "bookworm" { print $3; exit }' "$work/sources")"
  # What only makes a layer bigger: downloaded packages and apt's own caches.
  printf '%s\n' 'APT::Keep-Downloaded-Packages "false";' 'Dir::Cache::pkgcache "";' \
    'Dir::Cache::srcpkgcache "";' >"$work/no-cache"
  # Documentation and translations are left out, of what is installed later too.
  # shellcheck disable=SC2016 # `$1` is for mmdebstrap
  quietly mmdebstrap --variant=minbase --format=tar "${options[@]}" \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook="copy-in $work/no-cache /etc/apt/apt.conf.d" \
    --customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/hostname' \
    --customize-hook='rm -rf "$1"/var/cache/apt/*.bin "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old "$1"/var/log/*.log "$1"/var/log/apt' \
    bookworm "$work/debian.tar" "$work/sources"
  quietly docker import --change 'CMD ["bash"]' \
    --change 'LABEL org.opencontainers.image.title=debian' \
    --change 'LABEL org.opencontainers.image.version=12' \
    "$work/debian.tar" debian:12
}

busybox() {
  if ! command -v dpkg-deb >/dev/null; then
    pull busybox:1
    return
  fi
  echo "images: making busybox:1"
  local tree=$work/busybox applet
  mkdir -p "$tree"/{bin,etc,root,home} && mkdir -m 1777 "$tree/tmp"
  # Unpacked, not installed: it would replace a `busybox` that is installed.
  (cd "$work" && quietly apt-get -q -o APT::Sandbox::User=root download busybox-static)
  dpkg-deb --fsys-tarfile "$work"/busybox-static_*.deb | tar -xO ./bin/busybox >"$tree/bin/busybox"
  chmod 755 "$tree/bin/busybox"
  for applet in $("$tree/bin/busybox" --list); do
    [[ $applet == busybox ]] || ln -s busybox "$tree/bin/$applet"
  done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
  echo 'nobody:x:65534:65534:nobody:/home:/bin/false' >>"$tree/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
  tar -C "$tree" --owner=0 --group=0 -cf "$work/busybox.tar" .
  quietly docker import --change 'CMD ["sh"]' "$work/busybox.tar" busybox:1
}

# build IMAGE FOLDER BASE: builds an image, unless folder and base are as they were.
build() {
  local image=$1 folder=$root/$2 base=$3 digest old
  digest=$({
    docker image inspect --format '{{.Id}}' "$base"
    cd "$folder" && find . -type f -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum | cut -c 1-64)
  old=$(docker image inspect --format '{{index .Config.Labels "shipline.source"}}' "$image" 2>/dev/null || true)
  [[ $old == "$digest" ]] && return
  echo "images: building $image from $2"
  quietly docker build --build-arg BASE="$base" --label shipline.source="$digest" --tag "$image" "$folder"
}

present debian:12 || debian
present busybox:1 || busybox
build shipline/base:12 runner-images/base debian:12
for name in c docker-cli git go java node php python rust; do
  build "shipline/$name:12" "runner-images/$name" shipline/base:12
done
build shipline/cmake:12 runner-images/cmake shipline/c:12
build shipline-test/java-offline:12 tests/images/java-offline shipline/java:12
for name in postgres redis; do
  build "shipline-test/$name:12" "tests/images/$name" debian:12
done

for image in debian:12 busybox:1 shipline/{base,c,cmake,docker-cli,git,go,java,node,php,python,rust}:12; do
  echo "images: $image $(size "$image")"
done
