#!/usr/bin/env bash
# debian-source.sh NAME DIR: gets the source package NAME of Debian 12, Debian's
# patches applied, to DIR/NAME. It uses apt with all its files under DIR/apt, so
# that the system's own sources and lists stay as they are. What is there already
# is kept. Exits with 3 when it cannot be had from the mirror.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage="usage: debian-source.sh NAME DIR"
name=${1:?$usage}
mkdir -p "${2:?$usage}"
dir=$(cd "$2" && pwd)

apt=$dir/apt
download=$apt/download/$name
log=$apt/$name.log
mkdir -p "$apt"/{lists/partial,archives/partial}
# One at a time: they share apt's lists.
exec 9>"$apt/lock"
flock 9

say() { echo "debian-source: $*"; }
# Unpacked beside, then renamed: a tree that is there is whole.
if [[ -d $dir/$name ]]; then
  say "$dir/$name is there"
  exit 0
fi
if ! command -v dpkg-source >/dev/null; then
  say "dpkg-source is missing; install it with: sudo apt-get install dpkg-dev" >&2
  exit 3
fi

touch "$apt/status"
"$here/sources.sh" deb-src >"$apt/sources.list"
options=(
  -q
  -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=-
  -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status"
  -o Dir::Cache="$apt" -o Dir::Cache::Archives="$apt/archives"
  -o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=30
  -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any
)
get() {
  rm -rf "$download" && mkdir -p "$download" &&
    (cd "$download" && apt-get "${options[@]}" source --download-only "$name")
}

# The lists of another day do well, unless what they name is gone.
say "downloading $name"
{ get || { apt-get "${options[@]}" update && get; }; } >"$log" 2>&1 </dev/null || {
  {
    tail -n 20 "$log"
    say "Debian's mirror cannot be reached, or lacks $name; all that apt said is in $log"
  } >&2
  exit 3
}
rm -rf "$dir/$name.part"
dpkg-source --no-check --no-copy --extract "$download"/*.dsc "$dir/$name.part" >"$log" 2>&1 || {
  tail -n 20 "$log" >&2
  exit 3
}
mv "$dir/$name.part" "$dir/$name"
say "$name $(sed -n 's/^Version: //p' "$download"/*.dsc | head -n 1) in $dir/$name"
