# Settings and functions of the lab's scripts; to be sourced. Two Xen dom0s, a and b, in QEMU's software emulation, one layer-2 network between them.
set -euo pipefail
# Of the files that become a host's.
umask 022

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$lab/../.." && pwd)

# Downloads and the root file system: kept between runs.
cache=${RELOCD_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/relocd-lab}
# Images, sockets, process ids, keys of the lab that is up: thrown away by `down`.
state=$(realpath -m -- "${RELOCD_LAB_STATE:-${TMPDIR:-/tmp}/relocd-lab}")
[ ! -e "$state" ] || [ -O "$state" ] || { echo "lab: $state is somebody else's" >&2; exit 1; }
# A namespace of its own holds the network of both hosts, and is the third place on it. It has the name of the state's directory: labs with other names don't see each other.
namespace=$(basename "$state")

# Streams that real xends have sent, if they are beside the project.
if [ -z "${RELOCD_CAPTURES:-}" ] && [ -d "$project/../shared/captures" ]; then
    RELOCD_CAPTURES=$(realpath "$project/../shared/captures")
    export RELOCD_CAPTURES
fi

ssh_port() { case $1 in a) echo 2401 ;; b) echo 2402 ;; *) fail "a host is a or b, not '$1'" ;; esac; }
host_address() { case $1 in a) echo 192.168.77.1 ;; b) echo 192.168.77.2 ;; esac; }
probe_address=192.168.77.3

say() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }
fail() { printf 'lab: %s\n' "$*" >&2; exit 1; }
# What a script's first lines say of it.
usage() { sed -n '1d; /^#/!q; s/^# \{0,1\}//p' "$0"; exit 2; }

# A host's root file system, as `build` makes it.
root_archive() { echo "$cache/$1.tar"; }

need_root() { [ "$(id -u)" -eq 0 ] || fail "needs root: packages, a network namespace, file systems with root's files"; }

# For ssh and scp: `ssh -F "$state/ssh_config" a`. One connection serves many commands: each new one costs a second here.
write_ssh_config() {
    local host
    for host in a b; do
        cat <<END
Host $host
    HostName 127.0.0.1
    Port $(ssh_port $host)
    ProxyCommand ip netns exec $namespace socat - TCP:%h:%p
    User root
    IdentityFile $state/key
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    BatchMode yes
    IdentitiesOnly yes
    ConnectTimeout 20
    ServerAliveInterval 5
    ServerAliveCountMax 4
    ControlMaster auto
    ControlPath $state/ssh-$host
    ControlPersist 600
END
    done >"$state/ssh_config"
}

# A command on a host. Without input: a script that is read from stdin is not eaten.
on() {
    local host=$1
    shift
    ssh -n -F "$state/ssh_config" "$host" "$@"
}

# Files to a host: to HOST DESTINATION FILE...
to() {
    local host=$1 destination=$2
    shift 2
    scp -q -F "$state/ssh_config" "$@" "$host:$destination"
}

# Makes relocd's Debian package, and tells where it is.
package() {
    local made
    say "packaging relocd" >&2
    made=$(cd "$project" && systemd/package | tail -n 1)
    (cd "$project" && realpath "$made")
}

# Starts the QEMU of a host.
power_on() {
    local host=$1 number
    case $host in a) number=01 ;; b) number=02 ;; esac
    # With the offloads of a TAP, the hosts hand whole segments of TCP to each other, as hosts with real cards do: packets of 1500 bytes are most of the work otherwise.
    # Work of the dom0's kernel that is seen in emulation: pages cleared before they are written, processors looked at for RCU at each tick, a security module;
    # and programs at random addresses, which the emulator translates anew each time that one starts.
    local lean="norandmaps init_on_alloc=0 rcutree.jiffies_till_first_fqs=10 rcutree.jiffies_till_next_fqs=10 apparmor=0"
    # What its processor has beside that of the other host.
    local more
    more=$(cat "$state/$host.cpu" 2>/dev/null || :)
    # In a session of its own, so that it outlives who has started it.
    setsid ip netns exec "$namespace" qemu-system-x86_64 -accel tcg,thread=multi -cpu "Opteron_G3-v1,+svm,+npt,+aes,+pclmulqdq,+ssse3,+sse4.1,+sse4.2,+popcnt$more" \
        -m 3072 -smp 1 -display none -monitor none -serial "file:$state/$host.log" -no-reboot \
        -kernel "$state/$host.xen" -append "console=com1 com1=115200,8n1 dom0_mem=1024M,max:1024M loglvl=all guest_loglvl=all noreboot spec-ctrl=no" \
        -initrd "$state/$host.linux console=hvc0 net.ifnames=0 quiet mitigations=off $lean,$state/$host.initrd" \
        -drive "file=$state/$host.img,if=virtio,format=raw,cache=unsafe" \
        -netdev "user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:$(ssh_port "$host")-:22" -device "virtio-net-pci,netdev=n0,mac=52:54:00:77:01:$number" \
        -netdev "tap,id=n1,ifname=lab-$host,script=no,downscript=no" -device "virtio-net-pci,netdev=n1,mac=52:54:00:77:00:$number" \
        >"$state/$host.qemu" 2>&1 </dev/null &
    echo $! >"$state/$host.pid"
}

# As if the cable had been pulled: nothing is written any more.
power_off() {
    is_alive "$state/$1.pid" || return 0
    kill -9 "$(cat "$state/$1.pid")"
    await_end 10 "$(cat "$state/$1.pid")"
    rm -f "$state/$1.pid" "$state/ssh-$1"
}

# Waits until a host's Xen answers.
wait_for() {
    local host=$1 limit=$((SECONDS + 600))
    while [ $SECONDS -lt $limit ]; do
        on "$host" timeout 60 xl info >/dev/null 2>&1 && return
        is_alive "$state/$host.pid" || fail "QEMU of host $host has ended: $state/$host.qemu, $state/$host.log"
        sleep 1
    done
    fail "host $host does not answer: $state/$host.log"
}

is_alive() { [ -f "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# Waits until a process, or a group by its negative number, has gone, for so many seconds: one that nobody has waited for yet counts as alive.
await_end() {
    local _
    for _ in $(seq "$(($1 * 10))"); do
        kill -0 -- "$2" 2>/dev/null || return 0
        sleep 0.1
    done
}

# Ends a process by its id, and waits for it.
end() {
    is_alive "$1" || return 0
    local process
    process=$(cat "$1")
    kill "$process" 2>/dev/null || :
    await_end 5 "$process"
    kill -9 "$process" 2>/dev/null || :
    rm -f "$1"
}
