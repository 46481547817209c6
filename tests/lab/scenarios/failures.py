"""Scenario 6: what breaks, at each stage, and where the guest runs afterwards."""
import queue
import threading
import time

from lab import A, B, GUEST, Failed, answers, clear, create, need, one_copy, other, until
from moves import LIGHT

# What xm prints when a stage begins.
BEGINNING, COPYING, LAST_ROUND = "copying", "copying: round 1", "committing"


class Migration:
    """An `xm migrate -l` that is watched line by line."""

    def __init__(self, source):
        self.source = source
        self.process = source.start(f"xm migrate -l {GUEST} {other(source).address}")
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
    host.run("systemctl kill -s KILL --kill-who=main relocd")


def kill(host, pattern):
    host.run(f"pkill -9 -f '{pattern}'")


def cut(host, seconds, directions):
    rules = "; ".join(f"add chain inet cut {way} {{ type filter hook {way} priority 0; }}; add rule inet cut {way} tcp {end} 8002 drop"
                      for way in directions for end in ("dport", "sport"))
    host.ok(f"nft 'add table inet cut; {rules}'")
    time.sleep(seconds)
    host.ok("nft delete table inet cut")


# What it is called, whether it belongs to the core, the stage at which it happens, and what happens, to (source, destination).
CASES = (
    ("relocd killed at the source, copying", False, COPYING, lambda s, d: kill_relocd(s)),
    ("relocd killed at the source, last round", True, LAST_ROUND, lambda s, d: kill_relocd(s)),
    ("relocd killed at the destination, copying", True, COPYING, lambda s, d: kill_relocd(d)),
    ("relocd killed at the destination, last round", False, LAST_ROUND, lambda s, d: kill_relocd(d)),
    ("relocd killed at both ends, last round", False, LAST_ROUND, lambda s, d: (kill_relocd(s), kill_relocd(d))),
    ("network cut for 20 s, copying", False, COPYING, lambda s, d: cut(d, 20, ("input", "output"))),
    ("network cut for 60 s, copying", True, COPYING, lambda s, d: cut(d, 60, ("input", "output"))),
    ("network cut for 60 s, last round", False, LAST_ROUND, lambda s, d: cut(d, 60, ("input", "output"))),
    ("answers cut for 60 s, last round", False, LAST_ROUND, lambda s, d: cut(d, 60, ("output",))),
    ("xl killed at the source, copying", True, COPYING, lambda s, d: kill(s, "^[^ ]*xl migrate ")),
    ("xl killed at the source, last round", False, LAST_ROUND, lambda s, d: kill(s, "^[^ ]*xl migrate ")),
    ("xl killed at the destination, copying", True, COPYING, lambda s, d: kill(d, "^[^ ]*xl restore ")),
    ("xl killed at the destination, last round", False, LAST_ROUND, lambda s, d: kill(d, "^[^ ]*xl restore ")),
    ("save helper killed at the source, copying", False, COPYING, lambda s, d: kill(s, "libxl-save-helper")),
    ("save helper killed at the destination, copying", False, COPYING, lambda s, d: kill(d, "libxl-save-helper")),
    ("xm killed, copying", False, COPYING, lambda s, d: kill(s, "^xm migrate")),
)


def one(name, stage, happens, source):
    begun = time.monotonic()
    migration = Migration(source)
    migration.until(stage)
    happens(source, other(source))
    code = migration.end()
    at = one_copy()
    said = migration.text.strip().splitlines()[-1:]
    print(f"    {name}: exit code {code}, runs at the {'source' if at is source else 'destination'}, {time.monotonic() - begun:.0f} s; {' '.join(said)}", flush=True)
    need(code != 0 or at is not source, f"{name}: xm migrate said that all is well, and the guest is where it was")
    return at


def power_off_while_copying(source):
    """The destination loses its power in the middle: the guest runs on, and its operator hears of it."""
    migration = Migration(source)
    migration.until(COPYING)
    B.power("off")
    code = migration.end()
    try:
        need(code != 0, "xm migrate said that all is well")
        def runs():
            return source.domains() and source.domains()[0][0] == GUEST and not source.leftovers() and answers()
        until("the guest runs at the source", runs, 60)
        need("p" not in source.domains()[0][1] and "s" not in source.domains()[0][1], f"the guest does not run: {source.domains()}")
    finally:
        B.power("on")
    until("relocd is there again", lambda: B.run("systemctl is-active relocd || systemctl start relocd").code == 0)
    one_copy(source)
    print(f"    destination powered off, copying: exit code {code}; {' '.join(migration.text.strip().splitlines()[-3:])}", flush=True)


def power_off_after_commit(source):
    """The destination loses its power while the decision is on its way: nothing runs twice, and the operator is told where it stands."""
    migration = Migration(source)
    migration.until(LAST_ROUND)
    until("the destination has the domain", lambda: "domain runs here" in B.log(3), 60, 0.1)
    B.power("off")
    code = migration.end()
    told = source.run("xm status").out
    left = source.domains()
    B.power("on")
    until("relocd is there again", lambda: B.run("systemctl is-active relocd || systemctl start relocd").code == 0)
    time.sleep(15)
    there = [host for host in (A, B) if any("p" not in flags and "s" not in flags for _, flags in host.domains())]
    need(len(there) <= 1, f"the guest runs twice: {there}")
    if not there:
        need(code == 0 or GUEST in told, f"the guest has gone with its host, and nobody was told: {migration.text} {told}")
    print(f"    destination powered off after the commit: exit code {code}, then at the source {left}; {' '.join(migration.text.strip().splitlines()[-3:])}", flush=True)


def all_of_them(options):
    """Failures at each stage"""
    create(A, "pvh", extra=LIGHT)
    at = A
    cases = [case for case in CASES if case[1] or not options.core]
    for name, _, stage, happens in cases:
        try:
            at = one(name, stage, happens, at)
        except Failed as failed:
            raise Failed(f"{name}: {failed}") from failed
    if at is not A:
        clear()
        create(A, "pvh", extra=LIGHT)
    power_off_while_copying(A)
    if not options.core:
        power_off_after_commit(A)
    return f"{len(cases)} failures and a power cut: one copy each time, nothing left over"
