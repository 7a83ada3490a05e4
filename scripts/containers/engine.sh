#!/usr/bin/env bash
# A Docker engine for `make containers`, as process 1 of namespaces of its own: network, mounts, processes. Whatever runs in them
# ends with it, and no mount, interface or rule of it is in the machine's own.
#
#   engine.sh FOLDER     below which all its files are; FOLDER/docker.sock is its socket

set -euo pipefail
folder=$1

# Hides the machine's own engine, if it has one, and the files that the parts of this one share.
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
# A way out that leads nowhere: what goes there is lost, so the DNS outside is as slow as it can be.
ip link add nowhere type veth peer name beyond
ip address add 192.0.2.1/24 dev nowhere
ip link set nowhere up
ip link set beyond up
ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev nowhere
ip route add default via 192.0.2.2

# In memory, where there is plenty: that is faster, and it goes with the mount.
mkdir -p "$folder/data"
available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
[ "$available" -lt 12000000 ] || mount -t tmpfs -o mode=711,size=8g tmpfs "$folder/data"

echo '{}' >"$folder/daemon.json"
dockerd --config-file "$folder/daemon.json" --host "unix://$folder/docker.sock" --data-root "$folder/data" \
  --exec-root "$folder/exec" --pidfile "$folder/docker.pid" --exec-opt native.cgroupdriver=cgroupfs \
  --cgroup-parent "/${folder##*/}" --dns 192.0.2.53 --shutdown-timeout 5 >"$folder/engine.log" 2>&1 &
engine=$!

trap 'kill -TERM "$engine" 2>/dev/null || true' TERM
# A signal interrupts `wait`. As process 1, bash also waits for the processes that lose their parent.
while kill -0 "$engine" 2>/dev/null; do wait "$engine" || true; done
