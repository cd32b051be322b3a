#!/usr/bin/env bash
# Makes the user whose engine has no root, for the tests that try one. Only root can;
# where it cannot be, those tests fail and say how to leave them out.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
user=shipline-test

((EUID == 0)) || exit 0
if ! id "$user" >/dev/null 2>&1; then
  echo "user: making $user, who runs an engine without root in tests"
  useradd --create-home --shell /usr/sbin/nologin "$user"
fi
# Networks without root need it; systems with udev give it to everybody, too.
if [[ -c /dev/net/tun && $(stat -c %a /dev/net/tun) != 666 ]]; then
  echo "user: /dev/net/tun is made usable by everybody"
  chmod 666 /dev/net/tun 2>/dev/null || echo "user: it cannot be; tests without root will fail"
fi
