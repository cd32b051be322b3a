#!/usr/bin/env bash
# A real image registry with TLS and a login, for tests; any number at a time.
#
#   registry.sh start DIR PORT   answers at https://127.0.0.1:PORT when this returns
#   registry.sh stop DIR
#
# The login is SHIPLINE_REGISTRY_USER and SHIPLINE_REGISTRY_PASSWORD. All that
# belongs to it is under DIR: ca.pem (for clients), pid, log, storage/. Docker
# engines push to 127.0.0.0/8 without knowing the authority.
#
# SHIPLINE_REGISTRY_TLS=off           plain HTTP, which BuildKit speaks to 127.0.0.0/8
# SHIPLINE_REGISTRY_TOKEN_REALM=URL   in place of the login: tokens of the issuer
#                                     `harbor-token-issuer` for the service
#                                     `harbor-registry`, signed with DIR/server.key
set -euo pipefail

usage() {
  echo "usage: registry.sh start DIR PORT | stop DIR" >&2
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
user=${SHIPLINE_REGISTRY_USER:-ci}
# With a dollar, as the names of Harbor's robots have.
# shellcheck disable=SC2016
password=${SHIPLINE_REGISTRY_PASSWORD:-'robot-secret$1'}

scheme=https
[[ ${SHIPLINE_REGISTRY_TLS:-on} == on ]] || scheme=http
realm=${SHIPLINE_REGISTRY_TOKEN_REALM:-}

# Prints the pid of DIR's registry if it runs; a pid used again by another process is not ours.
running() {
  local pid
  pid=$(cat "$dir/pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "serve $dir/config.yml" || return 1
  echo "$pid"
}

configure() {
  "$here/certificate.sh" "$dir"
  local tls="tls: { certificate: '$dir/server.pem', key: '$dir/server.key' }"
  local auth="htpasswd: { realm: shipline-tests, path: '$dir/htpasswd' }"
  [[ $scheme == https ]] || tls='# no TLS'
  [[ -z $realm ]] || auth="token: { realm: '$realm', service: harbor-registry, issuer: harbor-token-issuer, rootcertbundle: '$dir/ca.pem' }"
  # libcrypt makes the bcrypt hash, and Perl, which every Debian has, calls it.
  USER_NAME=$user USER_PASSWORD=$password perl -e '
    my $salt = join "", map { (".", "/", 0 .. 9, "A" .. "Z", "a" .. "z")[rand 64] } 1 .. 21;
    my $hash = crypt($ENV{USER_PASSWORD}, "\$2y\$05\$${salt}O");
    die "this libcrypt has no bcrypt\n" unless defined $hash && $hash =~ /^\$2y/;
    print "$ENV{USER_NAME}:$hash\n"' >"$dir/htpasswd"
  cat >"$dir/config.yml" <<CONFIG
version: 0.1
log: { level: info, formatter: text }
storage:
  filesystem: { rootdirectory: '$dir/storage' }
  delete: { enabled: true }
  maintenance: { uploadpurging: { enabled: false } }
http:
  addr: 127.0.0.1:$port
  secret: shipline-tests
  $tls
auth:
  $auth
CONFIG
}

start() {
  local pid
  mkdir -p "$dir/storage"
  if pid=$(running); then
    echo "registry: runs already, pid $pid, $dir"
    return
  fi
  configure
  setsid docker-registry serve "$dir/config.yml" </dev/null >>"$dir/log" 2>&1 &
  pid=$!
  echo "$pid" >"$dir/pid"
  for ((tenth = 0; tenth < 200; tenth++)); do
    kill -0 "$pid" 2>/dev/null || break
    # 401 is an answer too.
    if curl --silent --output /dev/null --max-time 5 --noproxy '*' --cacert "$dir/ca.pem" "$scheme://127.0.0.1:$port/v2/"; then
      echo "registry: 127.0.0.1:$port, pid $pid, $dir"
      return
    fi
    sleep 0.1
  done
  echo "registry: does not answer at 127.0.0.1:$port; the last lines of $dir/log:" >&2
  tail -n 10 "$dir/log" >&2
  stop >&2
  exit 3
}

stop() {
  local pid
  if ! pid=$(running); then
    rm -f "$dir/pid"
    echo "registry: does not run, $dir"
    return
  fi
  kill "$pid"
  for ((tenth = 0; tenth < 100; tenth++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  rm -f "$dir/pid"
  echo "registry: stopped, pid $pid, $dir"
}

(($# >= 2)) || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd)
case $1 in
  start) port=${3:?usage: registry.sh start DIR PORT} && start ;;
  stop) stop ;;
  *) usage ;;
esac
