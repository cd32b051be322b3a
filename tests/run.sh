#!/usr/bin/env bash
# Runs every test, examples of the documentation first, and closes with the sum
# of the test runner's summaries. Exits with 1 when a test failed or none ran.
set -euo pipefail

cargo=${CARGO:-cargo}
log=target/test.log
mkdir -p target

status=0
"$cargo" test --workspace --doc --no-fail-fast 2>&1 | tee "$log" || status=1
"$cargo" test --workspace --all-targets --no-fail-fast 2>&1 | tee --append "$log" || status=1

# `test result: ok. 12 passed; 0 failed; …`, one line for each binary.
read -r passed failed < <(awk '/^test result: / { passed += $4; failed += $6 } END { print passed + 0, failed + 0 }' "$log")
tests/setup/leftovers.sh || status=1
[ "$passed" -gt 0 ] || status=1
echo "$passed passed, $failed failed"
exit "$status"
