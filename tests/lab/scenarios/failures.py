"""Scenario 6: what breaks, at each stage, and where the guest runs afterwards."""
import json
import queue
import threading
import time

from lab import A, B, GUEST, LASTING, Failed, answers, ask_guest, clear, create, need, one_copy, other, runs, undamaged, until

# What xm prints when a stage begins.
CONNECTING, COPYING, LOADING, COMMITTING = "connecting", "copying: round 1", "loading", "committing"
# What it prints of an offline one in place of the second.
SUSPENDED = "suspended: round 1"


class Migration:
    """An `xm migrate` that is watched line by line."""

    def __init__(self, source, live=True):
        self.source = source
        self.process = source.start(f"xm migrate {'-l ' if live else ''}{GUEST} {other(source).address}")
        self.lines, self.text = queue.Queue(), ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode(errors="replace"))
        self.lines.put(None)

    def until(self, stage):
        """Until a stage has begun."""
        while True:
            line = self.lines.get(timeout=240)
            need(line is not None, f"xm migrate ended before '{stage}': {self.text}")
            self.text += line
            if line.startswith(stage):
                return

    def end(self, seconds=240):
        """Its exit code, once it has ended."""
        try:
            while (line := self.lines.get(timeout=seconds)) is not None:
                self.text += line
        except queue.Empty:
            self.process.kill()
            raise Failed(f"xm migrate did not end within {seconds} s: {self.text}") from None
        return self.process.wait(timeout=10)


def kill_relocd(host):
    host.ok("systemctl kill -s KILL --kill-who=main relocd")


def kill(host, pattern):
    """False: there was nothing to kill."""
    return host.run(f"pkill -9 -f '{pattern}'").code == 0


def install(host, rules, peers=""):
    """Rules of nftables, each with its direction, that stand until the table goes or the host boots. `peers`: what declares a set that they use."""
    chains = "; ".join(f"add chain inet cut {way} {{ type filter hook {way} priority 0; }}; add rule inet cut {way} {rule}" for way, rule in rules)
    host.ok(f"nft 'add table inet cut; {peers}{chains}'")


def close(host, directions):
    """Drops what comes and goes for relocd, in these directions."""
    install(host, [(way, f"tcp {end} 8002 drop") for way in directions for end in ("dport", "sport")])


def close_by_commit(source, lost):
    """A cut that the commit itself will begin, at its source: what is told to begin once xm says that it commits, comes too late. `lost`: nothing comes or goes any more,
    and the commit is the first that is lost. Otherwise it arrives, and no answer does."""
    # Behind 32 bytes of header, as Linux sends it, "(commit)": from there on the peer is known as one that is cut off.
    rules = [("output", f"tcp dport 8002 @th,256,64 0x{b'(commit)'.hex()} add @peers {{ ip daddr }}"), ("input", "ip saddr @peers tcp sport 8002 drop")]
    if lost:
        rules.append(("output", "ip daddr @peers tcp dport 8002 drop"))
    install(source, rules, "add set inet cut peers { type ipv4_addr; flags dynamic; timeout 10m; }; ")


def reopen(host):
    host.run("nft delete table inet cut")


def cut(host, seconds, directions):
    try:
        close(host, directions)
        time.sleep(seconds)
    finally:
        reopen(host)


class CutByCommit:
    """A cut that is prepared before the relocation begins."""

    def __init__(self, seconds, lost):
        self.seconds, self.lost = seconds, lost

    def prepare(self, source):
        close_by_commit(source, self.lost)

    def __call__(self, source, _):
        try:
            until("the commit is sent", lambda: "elements" in source.ok("nft list set inet cut peers"), 10)
            time.sleep(self.seconds)
        finally:
            reopen(source)


# Seconds for which relocd waits for a silent peer here, instead of 30; a cut that it does not notice, and one that it does. TCP tries again after twice as long each
# time, so that a connection is silent for up to twice the cut.
PATIENCE, SHORT, LONG = 15, 6, 20
# A cut after which xm has ended: its relocd waits for an answer to the commit, xm 10 s more.
LONGER = 30
# How xm may end (0 moved, 1 not moved, 3 lost its relocd, 4 in doubt), and where the guest then runs.
MOVED, STAYED, NO_WORD, IN_DOUBT = {(0, "there")}, {(1, "here")}, {(3, "here"), (3, "there")}, {(4, "here"), (4, "there")}
SETTINGS = "/etc/xen/xend-config.sxp"
# What the names of those begin with that move offline.
OFFLINE = "offline, "
# What it is called, whether it belongs to the core, the stage at which it happens, what happens, to (source, destination), and how it may end.
CASES = (
    ("relocd killed at the source, copying", False, COPYING, lambda s, d: kill_relocd(s), {(3, "here")}),
    ("relocd killed at the source, committing", True, COMMITTING, lambda s, d: kill_relocd(s), NO_WORD),
    ("relocd killed at the destination, copying", False, COPYING, lambda s, d: kill_relocd(d), STAYED),
    ("relocd killed at the destination, committing", False, COMMITTING, lambda s, d: kill_relocd(d), MOVED | STAYED | IN_DOUBT),
    ("relocd killed at both ends, committing", False, COMMITTING, lambda s, d: (kill_relocd(s), kill_relocd(d)), NO_WORD),
    ("relocd killed at the source, loading", False, LOADING, lambda s, d: kill_relocd(s), NO_WORD),
    ("relocd killed at the destination, loading", False, LOADING, lambda s, d: kill_relocd(d), STAYED),
    (f"network cut for {SHORT} s, copying", False, COPYING, lambda s, d: cut(d, SHORT, ("input", "output")), MOVED),
    (f"network cut for {LONG} s, copying", True, COPYING, lambda s, d: cut(d, LONG, ("input", "output")), STAYED),
    (f"network cut for {LONG} s, loading", False, LOADING, lambda s, d: cut(d, LONG, ("input", "output")), STAYED),
    (f"network cut for {LONG} s, committing", False, COMMITTING, CutByCommit(LONG, lost=True), STAYED | IN_DOUBT),
    (f"answers cut for {LONGER} s, committing", False, COMMITTING, CutByCommit(LONGER, lost=False), {(4, "there")}),
    ("xl killed at the source, copying", False, COPYING, lambda s, d: kill(s, "^[^ ]*xl migrate "), STAYED),
    ("xl killed at the source, committing", False, COMMITTING, lambda s, d: kill(s, "^[^ ]*xl migrate "), MOVED),
    ("xl killed at the destination, copying", True, COPYING, lambda s, d: kill(d, "^[^ ]*xl restore "), STAYED),
    ("xl killed at the destination, committing", False, COMMITTING, lambda s, d: kill(d, "^[^ ]*xl restore "), MOVED | STAYED),
    ("save helper killed at the source, copying", False, COPYING, lambda s, d: kill(s, "libxl-save-helper"), STAYED),
    ("save helper killed at the destination, copying", False, COPYING, lambda s, d: kill(d, "libxl-save-helper"), STAYED),
    ("relocd killed at the source, connecting", False, CONNECTING, lambda s, d: kill_relocd(s), {(3, "here")}),
    ("relocd killed at the destination, connecting", False, CONNECTING, lambda s, d: kill_relocd(d), MOVED | STAYED),
    (f"network cut for {LONG} s, connecting", False, CONNECTING, lambda s, d: cut(d, LONG, ("input", "output")), STAYED),
    ("relocd restarted at the source, committing", False, COMMITTING, lambda s, d: s.ok("systemctl restart relocd"), MOVED),
    (OFFLINE + "relocd killed at the source, copying", False, SUSPENDED, lambda s, d: kill_relocd(s), {(3, "here")}),
    (OFFLINE + "relocd killed at the destination, committing", False, COMMITTING, lambda s, d: kill_relocd(d), MOVED | STAYED | IN_DOUBT),
    (OFFLINE + "xl killed at the source, copying", False, SUSPENDED, lambda s, d: kill(s, "^[^ ]*xl save "), STAYED),
    ("xm killed, copying", False, COPYING, lambda s, d: kill(s, "^xm migrate"), {(255, "here")}),
)


def one(name, stage, happens, source, ends):
    """Where the guest runs afterwards. Done again if all was over before it could happen."""
    for _ in range(3):
        begun, first = time.monotonic(), ask_guest()
        if stage == CONNECTING:
            # Otherwise it is over too soon.
            close(other(source), ("input",))
        if isinstance(happens, CutByCommit):
            happens.prepare(source)
        migration = Migration(source, live=not name.startswith(OFFLINE))
        migration.until(stage)
        happened = happens(source, other(source)) is not False
        if stage == CONNECTING:
            reopen(other(source))
        code = migration.end()
        at = one_copy()
        place = "here" if at is source else "there"
        if stage == LOADING and COMMITTING in migration.text:
            need((code, place) in MOVED | STAYED | NO_WORD | IN_DOUBT, f"xm migrate ended with {code}, and the guest runs {place}")
            source = at
            continue
        # The console is told on the host where the guest runs. At the moment of its move one tick may be told on both.
        told = {host: host.ticks(first["boot"], first["tick"]) for host in (A, B)}
        both = told[A] & told[B]
        need(len(both) <= 1, f"the guest ran on both hosts: both were told its ticks {sorted(both)}")
        need(told[at], f"nothing was told on the guest's console on {at}")
        said = migration.text.strip().splitlines()[-1:]
        print(f"    {name}: exit code {code}, runs {place}, {time.monotonic() - begun:.0f} s; {' '.join(said)}", flush=True)
        for words, where in (("now runs on", "there"), ("runs on here", "here"), ("was not touched", "here")):
            need(words not in migration.text or place == where, f"the guest runs {place}, and xm migrate said '{words}'")
        if happened and ((code, place) in ends or code != 0):
            need((code, place) in ends, f"xm migrate ended with {code}, and the guest runs {place}, which is none of {sorted(ends)}")
            return at
        need((code, place) == (0, "there"), f"nothing happened, and xm migrate ended with {code}, and the guest runs {place}")
        source = at
    raise Failed("three times it came too late")


def relocations(host):
    """What `xm status` shows, by identity: what it is at."""
    return {each["id"]: each["state"] for each in json.loads(host.ok("xm status --json"))["relocations"]}


def relocd_comes_back(host):
    until("relocd runs again by itself", lambda: host.run("systemctl is-active relocd").code == 0, 90)


def power_cycle(host):
    """On again, whether it was off or not, and without rules of the firewall."""
    host.power("off")
    host.power("on")
    relocd_comes_back(host)


def power_off_while_copying(source):
    """The destination loses its power in the middle: the guest runs on, and its operator hears of it."""
    migration = Migration(source)
    migration.until(COPYING)
    try:
        B.power("off")
        code = migration.end()
        need(code == 1 and "runs on here" in migration.text, f"xm migrate ended with {code}: {migration.text}")

        def runs_on():
            look = source.look()
            return len(look.domains) == 1 and look.domains[0][0] == GUEST and runs(look.domains[0][1]) and not look.leftovers and answers()
        until("the guest runs at the source", runs_on, 60)
        undamaged()
    finally:
        power_cycle(B)
    one_copy(source)
    print(f"    destination powered off, copying: exit code {code}; {' '.join(migration.text.strip().splitlines()[-3:])}", flush=True)


def power_off_after_commit(source):
    """The destination loses its power once it runs the guest, before the source has heard so: nothing runs twice, and the operator is told where it stands."""
    before = relocations(source)
    close_by_commit(source, lost=False)
    migration = Migration(source)
    migration.until(COMMITTING)
    try:
        until("the destination has the domain", lambda: "domain runs here" in B.log(3), 60, 0.1)
        B.power("off")
        code = migration.end()
        # The only one that is new.
        new = [each for each in relocations(source) if each not in before]
        need(len(new) == 1, f"xm status shows {new} as new")
        left = source.domains()
        need(not any(runs(flags) for _, flags in left), f"the guest runs at the source, and had begun to run at the destination: {left}")
        need(code == 4 and "is not known" in migration.text and "xm resolve" in migration.text, f"xm migrate ended with {code}: {migration.text}")
        need(relocations(source)[new[0]] == "in-doubt", f"xm status shows {relocations(source)}")
        need(len(left) == 1, f"the copy at the source is gone before anybody knew that the guest ran at the destination: {left}")
    finally:
        reopen(source)
        power_cycle(B)
    # It had written down that the guest ran there, before it said so in its log.
    until("both ends know what became of it", lambda: (relocations(source).get(new[0]), relocations(B).get(new[0])) == ("destroyed", "running"), 60)
    left = [str(host) for host in (A, B) if host.domains()]
    need(not left, f"something of the guest is left on {left}, and it had begun to run at the destination")
    print(f"    destination powered off after the commit: exit code {code}: {' '.join(migration.text.strip().splitlines()[-3:])}", flush=True)


def all_of_them(options):
    """Failures at each stage"""
    for host in (A, B):
        host.ok(f"cp -p {SETTINGS} /root/settings.sxp; echo '(relocd-idle-timeout {PATIENCE}) (relocd-commit-timeout {PATIENCE})' >>{SETTINGS}; systemctl reload relocd")
    try:
        return failures(options)
    finally:
        for host in (A, B):
            reopen(host)
            host.run(f"cp -p /root/settings.sxp {SETTINGS}; systemctl reload relocd")


def failures(options):
    create(A, "pvh", memory=LASTING)
    at = A
    cases = [case for case in CASES if case[1] or not options.core]
    for name, _, stage, happens, ends in cases:
        try:
            at = one(name, stage, happens, at, ends)
        except Failed as failed:
            raise Failed(f"{name}: {failed}") from failed
    if at is not A:
        clear()
        create(A, "pvh", memory=LASTING)
    power_off_while_copying(A)
    if options.core:
        return f"{len(cases)} failures and a power cut: one copy each time, nothing left over"
    power_off_after_commit(A)
    return f"{len(cases)} failures and two power cuts: one copy each time, nothing left over, or its operator told"
