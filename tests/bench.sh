#!/usr/bin/env bash
# Runs the benches and puts their tables into docs/performance.md, each between
# the markers that name it. Figures are medians of interleaved turns; only their
# ratios mean something on another machine.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

# put NAME TABLE: replaces what stands between the markers of NAME.
put() {
    awk -v name="$1" -v table="$2" '
        $0 == "<!-- bench: " name " -->" { print; print table; inside = 1; next }
        $0 == "<!-- end -->" { inside = 0 }
        !inside { print }
    ' docs/performance.md > target/performance.md
    cp target/performance.md docs/performance.md
}

mkdir -p target
table=$("$cargo" bench --quiet -p shipline-pipeline --bench language)
printf '%s\n\n' "$table"
put language "$table"
table=$("$cargo" bench --quiet -p shipline --bench check)
printf '%s\n\n' "$table"
put check "$table"
table=$("$cargo" bench --quiet -p shipline-runner --bench masker)
printf '%s\n\n' "$table"
put masker "$table"
echo "written to docs/performance.md"
