#!/usr/bin/env bash
# Feeds parse and check with mutated pipelines, and with mutated templates and what is
# laid over them, for so many minutes in all (default 20), on one core. A second word
# names one target: `check` or `template`. What it finds lies in
# crates/pipeline/fuzz/artifacts; mended, it belongs into crates/pipeline/tests/fuzz,
# where a test reads it.
set -euo pipefail
cd "$(dirname "$0")/../crates/pipeline"

minutes=${1:-20}
read -ra targets <<<"${2:-check template}"
cargo=${CARGO:-cargo}
if ! "$cargo" fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz"
    "$cargo" install cargo-fuzz --locked
fi
if ! "$cargo" +nightly --version >/dev/null 2>&1; then
    echo "fuzz: needs a nightly compiler: rustup toolchain install nightly" >&2
    exit 3
fi

# Words the mutations would hardly find: every key of the table.
mkdir -p fuzz/corpus/check fuzz/corpus/template
grep -rhoE '"[a-z][a-z-]+"' src/keys | sort -u > fuzz/corpus/words.dict
# shellcheck disable=SC2016 # these are the words themselves
printf '"${{ "\n" }}"\n"<<: *"\n"&a "\n"stages."\n"matrix."\n"params."\n"git.branch"\n"\\x0a====\\x0a"\n"locked"\n' >> fuzz/corpus/words.dict

flat() { echo "$1" | tr '/.' '__'; }
for file in ../../tests/cases/*/pipeline.yml ../../pipelines/*.yml ../../templates/pipelines/*/*/template.yml tests/fuzz/*.yml; do
    [ -e "$file" ] && cp "$file" "fuzz/corpus/check/$(flat "$file")"
done
cp tests/fuzz/template/*.txt fuzz/corpus/template/
for file in ../../templates/pipelines/*/*/template.yml; do
    { cat "$file"; printf '\n====\nwith: { image: r.example/a, registry: r, environment: demo }\n====\nstages: { image: { timeout: 9m } }\n'; } \
        > "fuzz/corpus/template/$(flat "$file")"
done

# No sanitizer: nothing here is unsafe, and the limits are those of real speed.
for target in "${targets[@]}"; do
    "$cargo" +nightly fuzz run -s none "$target" -- \
        -dict=fuzz/corpus/words.dict -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -max_total_time=$((minutes * 60 / ${#targets[@]})) -print_final_stats=1
done
