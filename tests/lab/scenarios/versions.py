"""Scenario 10: two versions of Xen, and two processors."""
import pathlib
import re
import subprocess

from lab import A, B, LAB, NETWORK, STATE, clear, create, migrate, migrated, need, one_copy, other, starts_nothing
from refusals import refused


# A feature that QEMU can emulate, and that guests of each kind see.
FEATURE = "movbe"


def reinstall(host, release, processor=""):
    """Another Debian on a host, with relocd from the same package, opened up; its processor with these features as well."""
    subprocess.run([f"{LAB}/build", release], check=True)
    host.power("off")
    pathlib.Path(f"{STATE}/{host.name}.cpu").write_text(processor, encoding="ascii")
    subprocess.run([f"{LAB}/install", host.name, release], check=True)
    host.power("on")
    # Once more on the running system: there its package could start something.
    host.ok("dpkg --purge relocd && dpkg -i /root/relocd.deb")
    starts_nothing(host)
    host.ok("systemctl enable --now relocd")
    host.allow(f"^localhost$ {NETWORK}")
    # Its bridge has another MAC address than before: the other host learns it from this.
    host.ok(f"ping -q -c 1 -w 10 {other(host).address}")
    host.free_at_rest = host.free()


def version(host):
    return host.ok("xl info | sed -n 's/^xen_version *: *//p'").strip()


def forced(host):
    """What --force has passed over in the host's last relocation, by its log."""
    told = host.ok("journalctl -u relocd --no-pager -o cat --grep 'relocation over' -n 1")
    found = re.search('forced="([^"]*)"', told)
    need(found, f"{host}'s log does not say what --force has passed over: {told}")
    return found.group(1).split()


def newer_xen(options):
    """Xen 4.17 to 4.20 with a better processor; back with --force"""
    try:
        reinstall(B, "trixie", f",+{FEATURE}")
        there = f"{version(A)} to {version(B)}"
        create(A, "pvh")
        told, _ = migrated(A)
        one_copy(B)
        refused("to an older Xen", B, ["--force"])
        done, _ = migrate(B, options="--force ")
        at = one_copy()
        need((done.code == 0) == (at is A), f"xm migrate ended with {done.code}, and the guest runs on {at}: {done.text}")
        # The guest does not know what its second host has more than its first one.
        need(forced(B) == ["older-xen"], f"--force has passed over {forced(B)}")
        back = "PVH live works" if at is A else f"PVH live fails, and the guest runs on: {done.text.strip().splitlines()[-1]}"
        clear()
        create(B, "pv")
        refused("PV offline to an older Xen", B, ["--force"], live=False)
        done, _ = migrate(B, live=False, options="--force ")
        at = one_copy()
        need((done.code == 0) == (at is A), f"xm migrate ended with {done.code}, and the guest runs on {at}: {done.text}")
        # This one was started there.
        need(forced(B) == ["older-xen", "cpu-features"], f"--force has passed over {forced(B)}")
        back += "; PV offline works" if at is A else f"; PV offline fails, and the guest runs on: {done.text.strip().splitlines()[-1]}"
        return f"{there}: {told}; back, refused without --force, with it: {back}"
    finally:
        if options.keep:
            reinstall(B, "bookworm")
