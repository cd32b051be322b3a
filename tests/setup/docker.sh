#!/usr/bin/env bash
# Sees to it that a Docker engine answers: does nothing if one does (DOCKER_HOST
# is respected), else starts the system's, by systemd or, without it, by itself.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

state=${SHIPLINE_SETUP_STATE:-/var/lib/shipline-setup}
log=/var/log/shipline-dockerd.log
pidfile=/var/run/docker.pid
deadline=60

answers() {
  timeout 20 docker info --format '{{.ServerVersion}}' 2>/dev/null | grep -q .
}

# True if there is a daemon, which may be about to answer.
starting() {
  local pid
  pid=$(cat "$pidfile" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]]
}

report() {
  docker info --format \
    'docker: engine {{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}} ({{.CgroupDriver}}), {{.NCPU}} cpus'
}

# Mounts the cgroup file systems if nobody has: v2 where the kernel can.
mount_cgroups() {
  mountpoint -q /sys/fs/cgroup && return
  echo "docker: mounting cgroups"
  if mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null &&
    grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
    return
  fi
  umount /sys/fs/cgroup 2>/dev/null || true
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  local controller enabled
  while read -r controller _ _ enabled; do
    [[ $controller != \#* && $enabled == 1 ]] || continue
    mkdir -p "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" ||
      rmdir "/sys/fs/cgroup/$controller"
  done </proc/cgroups
}

# Debian's default is iptables on nftables; some kernels have only the legacy tables.
choose_iptables() {
  iptables -w -t nat -nL >/dev/null 2>&1 && return
  if iptables-legacy -w -t nat -nL >/dev/null 2>&1; then
    echo "docker: iptables-legacy, since this kernel has no nftables"
    update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy
    update-alternatives --quiet --set ip6tables /usr/sbin/ip6tables-legacy || true
  fi
}

start_daemon() {
  mkdir -p "$state"
  rm -f "$pidfile"
  mount_cgroups
  choose_iptables
  echo "docker: starting dockerd, log in $log"
  # dockerd brings its own containerd.
  setsid dockerd </dev/null >>"$log" 2>&1 &
  echo $! >"$state/dockerd.pid"
}

if ! command -v docker >/dev/null; then
  echo "docker: no client; install one with: sudo apt-get install docker.io" >&2
  exit 3
fi
if answers; then
  report
  exit 0
fi
if [[ -n ${DOCKER_HOST:-} ]]; then
  echo "docker: no engine answers at DOCKER_HOST=$DOCKER_HOST" >&2
  exit 3
fi
if ((EUID != 0)); then
  echo "docker: no engine answers this user; start one, and join its group: sudo systemctl start docker; sudo usermod -aG docker $(id -un)" >&2
  exit 3
fi

if [[ -d /run/systemd/system ]]; then
  echo "docker: starting docker.service"
  systemctl start docker
elif ! starting; then
  start_daemon
fi

for ((second = 0; second < deadline; second++)); do
  if answers; then
    report
    exit 0
  fi
  sleep 1
done
echo "docker: no answer after $deadline s; the last lines of $log:" >&2
tail -n 20 "$log" >&2 || true
exit 3
