"""Scenarios 5 and 8: what is refused before anything stops, and what makes it possible."""
import re

from lab import A, B, GUEST, NETWORK, Probe, config, create, migrate, migrated, need, one_copy, other, until


def refused(case, source, words, live=True):
    """A migration that has to be refused with these words, while the guest goes on running as the same domain."""
    number, there = source.ok(f"xl domid {GUEST}"), other(source).domains()
    done, _ = migrate(source, live)
    need(done.code != 0, f"{case}: xm migrate ended with 0")
    need("was not touched" in done.text, f"{case}: does not say that the domain was not touched: {done.text}")
    need("copying" not in done.text, f"{case}: the copy had begun: {done.text}")
    after = other(source).domains()
    need(after == there, f"{case}: on {other(source)} there were {there}, and are {after}")
    for word in words:
        need(word in done.text, f"{case}: '{word}' is not in: {done.text}")
    flags = dict(source.domains())
    need(GUEST in flags and not any(flag in flags[GUEST] for flag in "pscd"), f"{case}: the guest does not run on: {flags}")
    need(source.ok(f"xl domid {GUEST}") == number, f"{case}: the guest is another domain")
    error = next((line for line in done.text.splitlines() if line.startswith("Error:")), done.text)
    print(f"    {case}: {error}", flush=True)


def before_anything_stops(_):
    """Refusals: list, memory, name, bridge, subnet, disk"""
    create(A, "pvh")
    with Probe() as probe:
        without_touching_it()
    probe.unbroken()
    one_copy(A)
    on_other_bridges()
    without_its_disk()
    return "six, each with the guest running on"


def without_touching_it():
    B.allow("^localhost$")
    try:
        refused("not on the list", A, ["relocd check-host"])
    finally:
        B.allow(f"^localhost$ {NETWORK}")

    B.ok("cat >/root/other.cfg", stdin=config("pv", memory=B.free() - 64, vif="bridge=xenbr0").replace(f'"{GUEST}"', '"filler"').encode())
    B.ok("xl create -p /root/other.cfg")
    refused("memory", A, ["memory"])
    B.ok("xl destroy filler")

    B.ok("cat >/root/other.cfg", stdin=config("pv", memory=128).encode())
    B.ok("xl create -p /root/other.cfg")
    refused("name taken", A, [GUEST, "is taken"])
    B.ok(f"xl destroy {GUEST}")
    until("no domain on b", lambda: not B.domains())


def on_other_bridges():
    A.ok(f"xm destroy {GUEST}; ip link add xenbr1 type bridge; ip link set xenbr1 up; ip address add 192.168.81.1/24 dev xenbr1")
    try:
        until("no domain on a", lambda: not A.domains())
        A.ok("cat >/root/web.cfg", stdin=config("pvh", vif="bridge=xenbr1").encode())
        A.ok("xm create /root/web.cfg")
        refused("bridge missing", A, ["xenbr1"])
        B.ok("ip link add xenbr1 type bridge; ip link set xenbr1 up; ip address add 192.168.82.1/24 dev xenbr1")
        refused("other subnet", A, ["xenbr1", "vxlan", "--force"])
    finally:
        A.run(f"xm destroy {GUEST}; ip link delete xenbr1")
        B.run("ip link delete xenbr1")
    until("no domain on a", lambda: not A.domains())


def without_its_disk():
    A.ok("truncate -s 16M /root/disk1.img; losetup /dev/loop1 /root/disk1.img; rm -f /dev/only-here; mknod /dev/only-here b 7 1")
    try:
        A.ok("cat >/root/web.cfg", stdin=config("pvh", more="disk = ['phy:/dev/only-here,xvda,w']").encode())
        A.ok("xm create /root/web.cfg")
        refused("disk missing", A, ["/dev/only-here"])
    finally:
        A.run(f"xm destroy {GUEST}; until losetup -d /dev/loop1; do sleep 1; done; rm -f /dev/only-here")


def dom0_gives_memory(_):
    """Destination whose domain 0 has to give memory first"""
    create(A, "pvh")
    before = B.dom0_memory()
    B.ok("cat >/root/other.cfg", stdin=config("pv", memory=B.free() - 64).replace(f'"{GUEST}"', '"filler"').encode())
    B.ok("xl create -p /root/other.cfg")
    keys = "(enable-dom0-ballooning yes)\n(dom0-min-mem 600)\n"
    B.ok("cp /etc/xen/xend-config.sxp /root/xend-config.sxp; cat >>/etc/xen/xend-config.sxp; systemctl reload relocd", stdin=keys.encode())
    try:
        migrated(A)
        left = B.dom0_memory()
        need(600 <= left < before, f"domain 0 has {left} MiB, and had {before}")
        B.ok("xl destroy filler")
        one_copy(B)
        return f"domain 0 went from {before} to {left} MiB"
    finally:
        B.run("xl destroy filler")
        B.ok(f"cp /root/xend-config.sxp /etc/xen/xend-config.sxp; systemctl reload relocd; xl mem-set 0 {before}")
        until("domain 0 has its memory again", lambda: B.dom0_memory() == before)


CLIENT = r'''
import socket, sys, time
s = socket.create_connection(("192.168.81.10", 7777), 60)
s.settimeout(60)
last = None
rest = b""
gap, came = 0, time.monotonic()
while True:
    data = s.recv(65536)
    if not data:
        sys.exit("closed")
    now = time.monotonic()
    gap, came = max(gap, now - came), now
    *lines, rest = (rest + data).split(b"\n")
    for line in lines:
        number = int(line.split()[0])
        if last is not None and number != last + 1:
            sys.exit(f"{number} after {last}")
        last = number
    open("/run/client", "w").write(f"{last} {gap:.1f}")
'''


def other_subnet(_):
    """Another subnet: with the tunnel that relocd printed"""
    for host, address in ((A, "192.168.81.1"), (B, "192.168.82.1")):
        host.ok(f"ip link add xenbr1 type bridge; ip link set xenbr1 up; ip address add {address}/24 dev xenbr1")
    try:
        guest = config("pvh", vif="bridge=xenbr1").replace("address=192.168.77.10", "address=192.168.81.10")
        A.ok("cat >/root/web.cfg", stdin=guest.encode())
        A.ok("xm create /root/web.cfg")
        until("the guest answers", lambda: A.run("ping -c 1 -W 1 192.168.81.10").code == 0, 120)
        A.ok("cat >/root/client.py", stdin=CLIENT.encode())
        A.ok("rm -f /run/client; nohup python3 /root/client.py >/run/client.log 2>&1 & echo $! >/run/client.pid")
        until("the connection stands", lambda: A.run("cat /run/client").code == 0, 60)
        done, _ = migrate(A)
        need(done.code != 0 and "vxlan" in done.text, f"not refused with a tunnel: {done.text}")
        commands = dict(re.findall(r"on (\S+): (ip link .*)", done.text))
        need(set(commands) == {"host-a", B.address}, f"no command for each host: {done.text}")
        A.ok(commands["host-a"])
        B.ok(commands[B.address])
        told, _ = migrated(A, options="--force ")
        # The last line's number, and the longest silence. Both are written anew each time: there may be nothing for a moment.
        seen = lambda: until("the client's file", lambda: A.run("cat /run/client").out.split(), 60)
        before = int(seen()[0])
        until("the connection goes on", lambda: int(seen()[0]) > before + 50, 60)
        need(A.run("kill -0 $(cat /run/client.pid)").code == 0, f"the connection broke: {A.run('cat /run/client.log').out}")
        need([name for name, _ in B.domains()] == [GUEST] and not A.domains(), f"{A.domains()} {B.domains()}")
        return f"{told}; longest silence of its connection {seen()[1]} s"
    finally:
        A.run("kill $(cat /run/client.pid)")
        for host in (A, B):
            host.run(f"xm destroy {GUEST}; ip link delete xenbr1; for each in $(ip -o link show type vxlan | cut -d: -f2); do ip link delete $each; done")
