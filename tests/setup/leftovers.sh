#!/usr/bin/env bash
# Says what tests left on the engine: whatever has a label of Shipline and does
# not say that it stays. Prints nothing, and exits with 0, when there is nothing.
set -euo pipefail

# `docker ... --format` prints a map of labels in one line, KEY=VALUE,KEY=VALUE.
left=$(
  docker ps --all --format 'container {{.Names}} {{.Labels}}'
  docker network ls --format 'network {{.Name}} {{.Labels}}'
  docker volume ls --format 'volume {{.Name}} {{.Labels}}'
)
left=$(grep 'shipline\.instance=' <<<"$left" | grep -v 'shipline\.keep=' || true)
[ -z "$left" ] && exit 0
printf 'left on the engine:\n%s\n' "$left" >&2
exit 1
