#!/usr/bin/env bash
# sources.sh deb|deb-src: prints the lines of a sources.list of Debian 12, with
# the mirror that this machine's own apt uses. Nothing of the system is changed.
set -euo pipefail

kind=${1:?usage: sources.sh deb|deb-src}
codename=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# What apt knows; who the origin is, it knows only after an update.
# shellcheck disable=SC2016
targets() {
  apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    sed -n 's/^Debian main //p'
}

if ! command -v apt-get >/dev/null || [[ ! -e $keyring ]]; then
  echo "sources: this machine's apt is not Debian's" >&2
  exit 3
fi
known=$(targets)
if [[ -z $known ]] && ((EUID == 0)); then
  apt-get update -q >/dev/null
  known=$(targets)
fi
if [[ -z $known ]]; then
  echo "sources: apt knows no mirror of Debian; run: sudo apt-get update" >&2
  exit 3
fi

while read -r release uri; do
  case $release in
    *-backports* | *-proposed*) continue ;;
    *-updates) release=$codename-updates ;;
    *-security) release=$codename-security ;;
    *) release=$codename ;;
  esac
  echo "$kind [signed-by=$keyring] $uri $release main"
done <<<"$known" | sort -u
