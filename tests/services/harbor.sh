#!/usr/bin/env bash
# What clients see of Harbor, before a real registry that wants its tokens, for tests.
#
#   harbor.sh start DIR PORT   answers at https://127.0.0.1:PORT when this returns
#   harbor.sh stop DIR
#
# DIR/world.json must be there; harbor.py says what may stand in it. All that belongs
# to it is under DIR, as with registry.sh, and the registry itself is DIR/registry.
set -euo pipefail

usage() {
  echo "usage: harbor.sh start DIR PORT | stop DIR" >&2
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Prints the pid of DIR's Harbor if it runs.
running() {
  local pid
  pid=$(cat "$dir/pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "harbor.py $dir " || return 1
  echo "$pid"
}

start() {
  local pid behind
  "$here/certificate.sh" "$dir"
  mkdir -p "$dir/registry"
  # It checks tokens that are signed with our key.
  cp "$dir/ca.pem" "$dir/server.pem" "$dir/server.key" "$dir/registry/"
  # Free now, and with luck still when the registry takes it.
  behind=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  SHIPLINE_REGISTRY_TLS=off SHIPLINE_REGISTRY_TOKEN_REALM="https://127.0.0.1:$port/service/token" \
    "$here/registry.sh" start "$dir/registry" "$behind"
  setsid /usr/bin/python3 "$here/harbor.py" "$dir" "$port" "$behind" </dev/null >>"$dir/log" 2>&1 &
  pid=$!
  echo "$pid" >"$dir/pid"
  for ((tenth = 0; tenth < 200; tenth++)); do
    kill -0 "$pid" 2>/dev/null || break
    if curl --silent --output /dev/null --max-time 5 --noproxy '*' --cacert "$dir/ca.pem" "https://127.0.0.1:$port/api/v2.0/ping"; then
      echo "harbor: 127.0.0.1:$port, pid $pid, $dir"
      return
    fi
    sleep 0.1
  done
  echo "harbor: does not answer at 127.0.0.1:$port; the last lines of $dir/log:" >&2
  tail -n 10 "$dir/log" >&2
  stop >&2
  exit 3
}

stop() {
  local pid
  if pid=$(running); then
    kill "$pid"
    echo "harbor: stopped, pid $pid, $dir"
  else
    echo "harbor: does not run, $dir"
  fi
  rm -f "$dir/pid"
  [[ ! -d $dir/registry ]] || "$here/registry.sh" stop "$dir/registry"
}

(($# >= 2)) || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd)
case $1 in
  start) port=${3:?usage: harbor.sh start DIR PORT} && start ;;
  stop) stop ;;
  *) usage ;;
esac
