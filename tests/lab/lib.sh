# Settings and functions of the lab's scripts; to be sourced. Two Xen dom0s, a and b, in QEMU's software emulation, one layer-2 network between them.
set -euo pipefail

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$lab/../.." && pwd)

# Downloads and the root file system: kept between runs.
cache=${RELOCD_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/relocd-lab}
# Images, sockets, process ids, keys of the lab that is up: thrown away by `down`.
state=${RELOCD_LAB_STATE:-${TMPDIR:-/tmp}/relocd-lab}
# A namespace of its own is the third place on the network of both hosts.
namespace=relocd-lab

ssh_port() { case $1 in a) echo 2401 ;; b) echo 2402 ;; *) fail "a host is a or b, not '$1'" ;; esac; }
host_address() { case $1 in a) echo 192.168.77.1 ;; b) echo 192.168.77.2 ;; esac; }
guest_address=192.168.77.10
probe_address=192.168.77.3

say() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }
fail() { printf 'lab: %s\n' "$*" >&2; exit 1; }

need_root() { [ "$(id -u)" -eq 0 ] || fail "needs root: packages, a network namespace, file systems with root's files"; }

# A command on a host. Without input: a script that is read from stdin is not eaten.
on() {
    local host=$1
    shift
    ssh -n -i "$state/key" -p "$(ssh_port "$host")" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        -o ConnectTimeout=20 -o ServerAliveInterval=15 root@127.0.0.1 "$@"
}

# Files to a host: to HOST DESTINATION FILE...
to() {
    local host=$1 destination=$2
    shift 2
    scp -q -i "$state/key" -P "$(ssh_port "$host")" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        "$@" "root@127.0.0.1:$destination"
}

is_alive() { [ -f "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# Ends a process by its id, and waits for it.
end() {
    is_alive "$1" || return 0
    local process
    process=$(cat "$1")
    kill "$process" 2>/dev/null || :
    for _ in $(seq 50); do
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$process" 2>/dev/null || :
    rm -f "$1"
}
