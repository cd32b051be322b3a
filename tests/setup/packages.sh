#!/usr/bin/env bash
# Installs the Debian packages that building and testing Shipline needs, those
# that are missing, and nothing else. A Docker client already there is kept.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

# What must be there, and the package that brings it: a command, a file, or
# `py:MODULE` of the system's own Python.
needs=(
  "cc build-essential"
  "ld build-essential"
  "make build-essential"
  "cmake cmake" # zlib-ng, which the proxy compresses with
  "git git"
  "curl curl"
  "ssh openssh-client" # an engine behind SSH
  "/usr/sbin/sshd openssh-server"
  "openssl openssl"
  "/etc/ssl/certs/ca-certificates.crt ca-certificates"
  "dpkg-source dpkg-dev"
  "docker-registry docker-registry"
  "/usr/bin/python3 python3"
  "py:aiosmtpd python3-aiosmtpd"
  "/usr/sbin/nginx nginx-light" # beside which the deploy lab measures, and a switch
  "/usr/sbin/haproxy haproxy" # a switch in front of hosts
  "py:yaml python3-yaml" # reads what is written for Traefik
)

# The other engine, with root and without, which only root can set up.
if ((EUID == 0)); then
  needs+=("podman podman" "runc runc" "/usr/lib/podman/netavark netavark"
    "/usr/lib/podman/aardvark-dns aardvark-dns"
    "newuidmap uidmap" "rootlesskit rootlesskit" "slirp4netns slirp4netns" "setpriv util-linux")
fi

# The image debian:12 is made only by root and on Debian; others pull it.
if ((EUID == 0)) && [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]]; then
  needs+=("mmdebstrap mmdebstrap")
fi

# True if the machine has this need.
present() {
  case $1 in
    /*) [[ -e $1 ]] ;;
    py:*) /usr/bin/python3 -c "import ${1#py:}" 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing=()
for need in "${needs[@]}"; do
  read -r what package <<<"$need"
  present "$what" || missing+=("$package")
done

# The engine, unless one answers, or will once it is started, or is elsewhere.
if ! command -v docker >/dev/null; then
  missing+=(docker.io)
elif [[ -z ${DOCKER_HOST:-} ]] && ! timeout 20 docker version >/dev/null 2>&1; then
  for what in dockerd containerd iptables; do
    command -v "$what" >/dev/null || missing+=(docker.io)
  done
fi

if ((${#missing[@]} == 0)); then
  echo "packages: all there"
  exit 0
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if ! command -v apt-get >/dev/null; then
  echo "packages: missing: ${missing[*]} (names of Debian); install what your system calls them" >&2
  exit 3
fi
if ((EUID != 0)); then
  echo "packages: missing; install with: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 3
fi

echo "packages: installing ${missing[*]}"

# Services are started by us, when they are wanted: until the end of this
# script, dpkg may start none (there may be no systemd to start them with).
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
{
  apt-get update -q &&
    apt-get install -q -y --no-install-recommends "${missing[@]}"
} >"$log" 2>&1 </dev/null || {
  tail -n 20 "$log" >&2
  echo "packages: apt-get failed; its output is in $log" >&2
  exit 3
}
rm -f "$log"

# The tests start registries of their own; the system's one would only hold a port.
if [[ -d /run/systemd/system && " ${missing[*]} " == *" docker-registry "* ]]; then
  systemctl disable --quiet docker-registry
fi
# So do they with balancers.
for balancer in haproxy nginx; do
  if [[ -d /run/systemd/system && " ${missing[*]} " == *" $balancer"* ]]; then
    systemctl disable --quiet "$balancer"
  fi
done
# And with servers of SSH.
if [[ -d /run/systemd/system && " ${missing[*]} " == *" openssh-server "* ]]; then
  systemctl disable --quiet ssh
fi
