#!/usr/bin/env bash
# Runs every test, examples of the documentation first, and closes with the sum
# of the test runner's summaries. Exits with 1 when a test failed or none ran.
set -euo pipefail

cargo=${CARGO:-cargo}
log=target/test.log
mkdir -p target

# What a user cannot have. As root, a test that has not its world fails.
if ((EUID != 0)) && [[ -z ${SHIPLINE_TESTS_LACK:-} ]]; then
  export SHIPLINE_TESTS_LACK=own-engine,small-disk,podman,podman-without-root,docker-without-root
fi
# Tests wait for containers and processes more than they work: one more of them
# at a time than there are cores.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 1))}
status=0
"$cargo" test --workspace --doc --no-fail-fast 2>&1 | tee "$log" || status=1
"$cargo" test --workspace --all-targets --no-fail-fast 2>&1 | tee --append "$log" || status=1

# `test result: ok. 12 passed; 0 failed; …`, one line for each binary.
read -r passed failed < <(awk '/^test result: / { passed += $4; failed += $6 } END { print passed + 0, failed + 0 }' "$log")
tests/setup/leftovers.sh || status=1
# Once more at the end, for whoever sees only the end: what each failed test said.
awk '/^---- .* stdout ----$/ { lines = 40; print "" }
     /^failures:$|^test result: / { lines = 0 }
     lines-- > 0 { print substr($0, 1, 600) }' "$log"
[ "$passed" -gt 0 ] || status=1
if [[ -n ${SHIPLINE_TESTS_LACK:-} ]]; then
  echo "left out, since this machine lacks it: $SHIPLINE_TESTS_LACK"
fi
echo "$passed passed, $failed failed"
exit "$status"
