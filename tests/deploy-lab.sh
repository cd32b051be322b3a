#!/usr/bin/env bash
# Runs the deploy lab and puts its table into docs/performance.md. It exits with 1 when a
# goal is missed, and the table says which.
#
# `EXPERIMENT=bad`, `RPS=200` and `DEPLOYS=3` narrow it; then the table is printed, and the
# page is left alone. `KILLS=40` and `PAIRS=20` shorten what takes longest, and their rows say
# so. `PROFILE=dev` measures the debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
profile=${PROFILE:-release}

# shellcheck source=tests/setup/put.sh
. tests/setup/put.sh

# Together, so that the binary has the places where it can be told to die.
"$cargo" build --quiet --workspace --bins --examples --profile "$profile"
folder=target/$profile
[[ $profile != dev ]] || folder=target/debug

status=0
table=$("$folder/examples/deploy-lab") || status=$?
printf '%s\n\n' "$table"
if [[ -z ${EXPERIMENT:-}${RPS:-}${DEPLOYS:-} && -n $table ]]; then
    put deploy-lab "$table"
    echo "written to docs/performance.md"
fi
exit "$status"
