"""The lab as the scenarios see it: two hosts, a guest, a probe on the network between them, and the question where a domain runs."""
import collections
import concurrent.futures
import json
import os
import re
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LAB = os.path.dirname(HERE)
STATE = os.environ["RELOCD_LAB_STATE"]
NAMESPACE = os.environ["RELOCD_LAB_NAMESPACE"]

GUEST = "web"
GUEST_ADDRESS = "192.168.77.10"
NETWORK = "192.168.77.0/24"
# MiB that the hypervisor may keep to itself after a domain has gone.
SLACK = 4
# And more than that: of a host that runs a guest, whose own memory is not the same everywhere; and in all scenarios since it booted.
MORE_SLACK = 16


class Failed(Exception):
    """A scenario does not hold."""


class Skipped(Exception):
    """What a scenario needs is not here."""


def need(holds, what):
    if not holds:
        raise Failed(what)


def until(what, holds, seconds=60, pause=0.5):
    """Waits until something holds. That it does is what counts; the time is patience only."""
    end = time.monotonic() + seconds
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(pause)


class Ended:
    """A command that has ended: its exit code, and what it said."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        self.text = out + err


# Processes of a relocation; and those that belong to a domain as long as it is there.
LEFTOVERS = "libxl-save-helper |xl migrate |xl save |exe xl-transport "
COMPANIONS = "xl restore |xl create |xl migrate-receive|qemu-system-i386 -xen-domid [1-9]"
Look = collections.namedtuple("Look", "domains leftovers companions free in_doubt")


def domains_of(listed):
    rows = [line.split() for line in listed.splitlines()[1:]]
    return [(row[0], row[4]) for row in rows if row[1] != "0"]


def runs(flags):
    """Whether a domain with these flags of `xl list` is neither paused, nor suspended, crashed or dying."""
    return not any(flag in flags for flag in "pscd")


def free_of(info):
    return int(re.search(r"free_memory\s*:\s*(\d+)", info).group(1))


class Host:
    def __init__(self, name, address):
        self.name, self.address = name, address
        # MiB: before the present scenario, and before the first one since it booted.
        self.free_at_rest = self.free_at_first = None

    def __str__(self):
        return self.name

    def command(self, script):
        return ["ssh", "-F", f"{STATE}/ssh_config", self.name, script]

    def run(self, script, seconds=240, stdin=None):
        """A shell script on the host, however it ends."""
        done = subprocess.run(self.command(script), input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                              capture_output=True, timeout=seconds)
        return Ended(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def ok(self, script, seconds=240, stdin=None):
        """A shell script on the host that has to succeed; what it prints."""
        done = self.run(script, seconds, stdin)
        if done.code != 0:
            raise Failed(f"on {self}: {script!r} ended with {done.code}: {done.text.strip()}")
        return done.out

    def start(self, script):
        """A shell script that is followed while it runs."""
        return subprocess.Popen(self.command(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def domains(self):
        """All domains but dom0: (name, flags). Names may have no blanks here."""
        return domains_of(self.ok("xl list"))

    def free(self):
        """MiB."""
        return free_of(self.ok("xl info"))

    def dom0_memory(self):
        """MiB."""
        return int(self.ok("xl list 0").splitlines()[1].split()[2])

    def look(self):
        """What is on the host, asked at once. `in_doubt`: relocations that are; `None` if relocd does not answer."""
        # Debian's own `xl` is a script that takes longer than what it runs.
        xl = "/usr/lib/xen-*/bin/xl"
        asked = (f"{xl} list", "ps -ww -eo pid=,args=", f"{xl} info", "xm status --json || :")
        domains, processes, info, status = self.ok("; echo =====; ".join(asked)).split("=====\n")
        processes = [line.strip() for line in processes.splitlines()]
        leftovers = [each for each in processes if re.match(f"\\d+ [^ ]*({LEFTOVERS})", each)]
        companions = [each for each in processes if re.match(f"\\d+ [^ ]*({COMPANIONS})", each)]
        # Without a relocd it says what is wrong, in JSON as well.
        relocations = json.loads(status).get("relocations") if status.strip() else None
        in_doubt = None if relocations is None else [each["id"] for each in relocations if each["state"] == "in-doubt"]
        return Look(domains_of(domains), leftovers, companions, free_of(info), in_doubt)

    def ticks(self, boot, after):
        """Ticks of a guest's boot after this one that its console told on this host."""
        told = self.run(f"grep -ah '^tick [0-9]* {boot:.0f}' /var/log/xen/console/guest-*.log").out
        return {number for line in told.splitlines() if (number := int(line.split()[1])) > after}

    def log(self, lines=40):
        return self.run(f"journalctl -u relocd --no-pager -o short-precise -n {lines} | grep -v vif-bridge; "
                        "for each in $(ls -t /var/log/xen/console/guest-* | head -n 2); do echo \"--- $each\"; tail -n 20 $each; done").out

    def power(self, what):
        subprocess.run([f"{LAB}/power", what, self.name], check=True)
        self.free_at_first = None

    def allow(self, entries):
        """What an operator does: edits xend-relocation-hosts-allow, and reloads."""
        self.ok(f"""sed -i "s|^(xend-relocation-hosts-allow .*|(xend-relocation-hosts-allow '{entries}')|" /etc/xen/xend-config.sxp
                systemctl reload-or-restart relocd""")


A = Host("a", "192.168.77.1")
B = Host("b", "192.168.77.2")
HOSTS = (A, B)


def other(host):
    return B if host is A else A


def starts_nothing(host):
    """Installed from its package, relocd does not run, and does not begin to by itself."""
    at_rest = host.run("systemctl is-active relocd; systemctl is-enabled relocd").out.split()
    need(at_rest == ["inactive", "disabled"], f"on {host}, relocd's package leaves it {at_rest}")


# What a relocd says first to another one, and what is heard of it: nothing, if the host is not let in.
HELLO = """
import socket
s = socket.create_connection((%r, 8002), 30)
s.settimeout(30)
try:
    s.sendall(b"(hello (protocol relocd) (versions 1))\\n")
    print(s.recv(200).decode(), end="")
except OSError:
    pass"""


def lets_in(host):
    """Whether a host answers the other one."""
    return bool(other(host).ok("python3 -", stdin=(HELLO % host.address).encode()))


def open_up():
    """From the package as it is installed to hosts that relocate to each other; first seen to refuse. Nothing, on hosts where it was done before."""
    if all(NETWORK in host.ok("cat /etc/xen/xend-config.sxp") for host in HOSTS):
        return
    for host in HOSTS:
        starts_nothing(host)
        host.ok("systemctl enable --now relocd")
    for host in HOSTS:
        done = host.run(f"relocd check-host {other(host).address}")
        need(done.code != 0 and "xend-relocation-hosts-allow" in done.text, f"{other(host)} does not refuse by default: {done.text}")
        need(not lets_in(host), f"{host} answers {other(host)} by default")
        print(f"    by default, {other(host)} to {host}: {done.text.strip().splitlines()[0]}", flush=True)
    for host in HOSTS:
        host.allow(f"^localhost$ {NETWORK}")
    for host in HOSTS:
        host.ok(f"relocd check-host {other(host).address}")
        need(lets_in(host), f"{host} does not answer {other(host)}, which it lets in")


# What each guest keeps busy and checks, in MiB, and changes, in MiB each second: little, as the guest's kernel (Linux 6.1) loses 1.6 MB at each resume. With so many
# MiB it lasts for twenty.
LIGHT = "wss=8 dirty=0.1"
LASTING = 112


def config(kind, memory=96, extra=LIGHT, vif="bridge=xenbr0", more="", on_crash="preserve"):
    # The console that xl shows: of an HVM guest it is the serial port.
    console = "ttyS0" if kind == "hvm" else "hvc0"
    kernel = "vmlinuz" if kind == "hvm" else "vmlinux"
    lines = [
        f'name = "{GUEST}"', f'type = "{kind}"', f"memory = {memory}", "vcpus = 1", f'kernel = "/guest/{kernel}"', 'ramdisk = "/guest/initrd"',
        f"vif = ['mac=00:16:3e:77:00:10,{vif}']", f'extra = "console={console} quiet mitigations=off address={GUEST_ADDRESS} {extra}"', f'on_crash = "{on_crash}"',
    ]
    if kind != "pv":
        # Without it guests crash in QEMU's emulation of AMD's virtualization.
        lines.append('tsc_mode = "native"')
    if kind == "hvm":
        lines += ['vga = "none"', "nographic = 1", 'serial = "pty"']
    return "\n".join(lines + [more]) + "\n"


# The number of the boot of the guest that is looked at: another one would be another guest.
boot = None
# MiB that it took of its first host.
taken = None


def create(host, *arguments, **settings):
    """A guest, up and answering."""
    global boot, taken
    host.ok(f"cat >/root/{GUEST}.cfg", stdin=config(*arguments, **settings).encode())
    host.ok(f"xm create /root/{GUEST}.cfg")
    until("the guest's agent answers", serves, 120)
    boot, taken = ask_guest()["boot"], host.free_at_rest - host.free()


def rebooted():
    """The guest has booted anew, as it should."""
    global boot
    until("the guest's agent answers", serves, 120)
    before, boot = boot, ask_guest()["boot"]
    need(boot != before, "the guest did not boot anew")


def answers():
    return in_namespace("ping", "-c", "1", "-W", "1", GUEST_ADDRESS).returncode == 0


def serves():
    """Its memory is filled, and its ports are open."""
    try:
        return bool(ask_guest())
    except (Failed, subprocess.TimeoutExpired):
        return False


def in_namespace(*command, seconds=60):
    return subprocess.run(["ip", "netns", "exec", NAMESPACE, *command], capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)


def ask_guest(order="state"):
    """What the guest's agent says of itself: pages of its memory that it keeps busy, changed, checked, found damaged; its last tick, and its boot."""
    script = f"""
import socket
s = socket.create_connection(("{GUEST_ADDRESS}", 7779), 30)
s.settimeout(30)
s.sendall(b"{order}\\n")
print(s.recv(200).decode())"""
    done = in_namespace("python3", "-c", script)
    if done.returncode != 0:
        raise Failed(f"the guest does not answer: {done.stderr.decode().strip().splitlines()[-1:]}")
    words = done.stdout.decode().split()
    return {words[at]: float(words[at + 1]) for at in range(0, len(words) - 1, 2)}


def clear():
    """No domain anywhere, and what is free then."""
    global boot
    boot = None
    for host in HOSTS:
        def empty():
            rows = host.domains()
            for name, _ in rows:
                host.run(f"xl destroy '{name}'")
            return not rows
        # Twice: one that is rebooting is not there for a moment.
        until(f"no domain on {host}", empty)
        time.sleep(1)
        until(f"no domain on {host}", empty)
        host.free_at_rest = host.free()
        host.free_at_first = host.free_at_first or host.free_at_rest


def given_back():
    """Of what was free without a domain before the first scenario, all is free again but for what Xen itself has come to need."""
    for host in HOSTS:
        need(host.free_at_rest >= host.free_at_first - MORE_SLACK, f"{host} had {host.free_at_first} MiB free at first, and now has {host.free_at_rest}")


def look_at_both():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(HOSTS, pool.map(Host.look, HOSTS)))


def both_run(seen):
    return all(any(runs(flags) for _, flags in look.domains) for look in seen.values())


def one_copy(where=None):
    """The guest, the same as before, runs on exactly one host, under its own name, undamaged, and nothing is left of a relocation anywhere. That host."""
    def settled():
        seen = look_at_both()
        # The two looks are not of the same moment; what is seen twice is no domain on its way.
        if both_run(seen) and both_run(again := look_at_both()):
            raise Failed(f"the guest runs twice: {again}")
        at = [host for host in HOSTS if seen[host].domains]
        if len(at) != 1 or len(seen[at[0]].domains) != 1:
            return None
        name, flags = seen[at[0]].domains[0]
        if name != GUEST or not runs(flags) or any(look.leftovers or look.in_doubt != [] for look in seen.values()):
            return None
        empty = other(at[0])
        if seen[empty].companions or seen[empty].free < empty.free_at_rest - SLACK:
            return None
        full = at[0]
        if seen[full].free < full.free_at_rest - taken - MORE_SLACK:
            return None
        return full
    try:
        # A look is a second's work for an emulated host, which has its own to do until then.
        host = until("exactly one running copy, nothing left or in doubt, and memory given back", settled, 90, pause=2)
    except Failed as failed:
        now = ", ".join(f"{host}, with {host.free_at_rest} MiB free without the guest, which took {taken}: {look}" for host, look in look_at_both().items())
        raise Failed(f"{failed}; now {now}") from failed
    need(where is None or host is where, f"the guest runs on {host}, not on {where}")
    until("the guest answers", answers, 60)
    undamaged()
    return host


def undamaged():
    """The guest is the one that was there before, and since now has checked each of its pages."""
    first = ask_guest()
    need(first["boot"] == boot, f"the guest is another boot, {first['boot']:.0f} and not {boot:.0f}")
    need(first["pages"] > 0, "the guest checks no memory")

    def checked():
        state = ask_guest()
        return state if state["checked"] >= first["checked"] + first["pages"] else None
    bad = until("the guest has checked its memory", checked)["bad"]
    need(bad == 0, f"the guest found {bad:.0f} damaged pages")


class Probe:
    """Pings, and one TCP connection, from a third place on the network, for the time of a `with`. Then, and after each `part`: `figures`."""

    def __enter__(self):
        self.process = subprocess.Popen(["ip", "netns", "exec", NAMESPACE, "python3", f"{HERE}/../probe.py", GUEST_ADDRESS],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # It says so once its connection stands.
        self.process.stdout.readline()
        time.sleep(0.3)
        return self

    def __exit__(self, kind, *_):
        out, _ = self.process.communicate(timeout=60)
        # A part that nobody has waited for comes before the last one.
        self.figures = json.loads(out.splitlines()[-1]) if out else {}

    def part(self):
        """What was seen since the last one, of a connection that is the same, and unbroken."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed("the probe has ended") from None
        self.figures = json.loads(self.process.stdout.readline() or "{}")
        self.unbroken()
        return self.figures

    def unbroken(self):
        """The connection was never cut, and nothing in it was lost or came out of order."""
        figures = self.figures
        need(figures.get("ticks"), f"the probe saw nothing: {figures}")
        need(not figures["tcp_closed"], f"the TCP connection was closed: {figures['tcp_closed']}")
        need(figures["last_lines"] >= 5, f"the TCP connection is silent: {figures}")
        need(figures["ticks_missing"] == 0 and figures["ticks_in_order"], f"lines of the TCP connection are lost or out of order: {figures}")


def sent_bytes(host):
    """Bytes that the host has put on the network so far."""
    return int(host.ok("cat /sys/class/net/eth1/statistics/tx_bytes"))


def migrate(source, live=True, options="", seconds=300):
    """`xm migrate` of the guest to the other host, as a user types it: how it ended, and its seconds."""
    begun = time.monotonic()
    done = source.run(f"xm migrate {'-l ' if live else ''}{options} {GUEST} {other(source).address}", seconds)
    return done, time.monotonic() - begun


def migrated(source, **options):
    """`xm migrate` that has to succeed. What it told, and its seconds."""
    done, seconds = migrate(source, **options)
    need(done.code == 0, f"xm migrate from {source} ended with {done.code}: {done.text.strip()}")
    return done.out.strip().splitlines()[-1], seconds
