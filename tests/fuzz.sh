#!/usr/bin/env bash
# Feeds parse and check with mutated pipelines for so many minutes (default 20),
# on every core. What it finds lies in crates/pipeline/fuzz/artifacts; mended, it
# belongs into crates/pipeline/tests/fuzz, where a test reads it.
set -euo pipefail
cd "$(dirname "$0")/../crates/pipeline"

minutes=${1:-20}
cargo=${CARGO:-cargo}
if ! "$cargo" fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz"
    "$cargo" install cargo-fuzz --locked
fi
if ! "$cargo" +nightly --version >/dev/null 2>&1; then
    echo "fuzz: needs a nightly compiler: rustup toolchain install nightly" >&2
    exit 3
fi

corpus=fuzz/corpus/check
mkdir -p "$corpus"
for file in ../../tests/cases/*/pipeline.yml ../../pipelines/*.yml ../../templates/pipelines/*/*/template.yml tests/fuzz/*.yml; do
    [ -e "$file" ] && cp "$file" "$corpus/$(echo "$file" | tr '/.' '__')"
done

# Words the mutations would hardly find: every key of the table.
grep -rhoE '"[a-z][a-z-]+"' src/keys | sort -u > fuzz/corpus/words.dict
# shellcheck disable=SC2016 # these are the words themselves
printf '"${{ "\n" }}"\n"<<: *"\n"&a "\n"stages."\n"matrix."\n"params."\n"git.branch"\n' >> fuzz/corpus/words.dict

# No sanitizer: nothing here is unsafe, and the limits are those of real speed.
exec "$cargo" +nightly fuzz run -s none check -- \
    -dict=fuzz/corpus/words.dict -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
    -max_total_time=$((minutes * 60)) -print_final_stats=1
