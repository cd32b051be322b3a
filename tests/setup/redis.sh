#!/usr/bin/env bash
# redis.sh DIR: gets the source of Debian's Redis, Debian's patches applied, to
# DIR/redis. It uses apt with all its files under DIR/apt, so that the system's
# own sources and lists stay as they are. What is there already is kept.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${1:?usage: redis.sh DIR}"
dir=$(cd "$1" && pwd)

if [[ -e $dir/redis/src/server.c ]]; then
  echo "redis: $dir/redis is there"
  exit 0
fi
if ! command -v dpkg-source >/dev/null; then
  echo "redis: dpkg-source is missing; install it with: sudo apt-get install dpkg-dev" >&2
  exit 3
fi

apt=$dir/apt
mkdir -p "$apt"/{lists/partial,archives/partial,download}
if ! compgen -G "$apt/download/redis_*.dsc" >/dev/null; then
  echo "redis: downloading the source"
  touch "$apt/status"
  "$here/sources.sh" deb-src >"$apt/sources.list"
  options=(
    -q
    -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=-
    -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status"
    -o Dir::Cache="$apt" -o Dir::Cache::Archives="$apt/archives"
    -o Acquire::Languages=none -o APT::Sandbox::User=root
  )
  {
    apt-get "${options[@]}" update &&
      cd "$apt/download" && apt-get "${options[@]}" source --download-only redis
  } >"$apt/log" 2>&1 </dev/null || {
    tail -n 20 "$apt/log" >&2
    echo "redis: apt-get failed; its output is in $apt/log" >&2
    exit 3
  }
fi

# Unpacked beside, then renamed: a tree that is there is whole.
rm -rf "$dir/redis.part"
dpkg-source --no-check --no-copy --extract "$apt/download"/redis_*.dsc "$dir/redis.part" >"$apt/log" 2>&1 || {
  tail -n 20 "$apt/log" >&2
  exit 3
}
mv "$dir/redis.part" "$dir/redis"
echo "redis: $(sed -n 's/^Version: //p' "$apt/download"/redis_*.dsc | head -n 1) in $dir/redis"
