"""relocd next to stock xl, on the same guest in the same run."""
import statistics
import time

from lab import A, B, GUEST, Failed, Probe, create, migrated, need, one_copy, other, sent_bytes

TURNS = 5
PORT = 6000


def stock(at, options, address):
    begun = time.monotonic()
    done = at.run(f"xl migrate {options} {GUEST} {address}")
    need(done.code == 0, f"xl migrate {options} ended with {done.code}: {done.text.strip()}")
    return time.monotonic() - begun


def over_ssh(at):
    return stock(at, "", other(at).address)


def over_tcp(at):
    return stock(at, f"-s 'socat - TCP:{other(at).address}:{PORT} #'", other(at).address)


def with_relocd(at):
    return migrated(at)[1]


WAYS = {"relocd": with_relocd, "xl migrate -s (bare TCP)": over_tcp, "xl migrate (ssh)": over_ssh}


def against_stock_xl(_):
    """Total time, downtime and bytes against stock xl migrate"""
    for host in (A, B):
        host.ok(f"nohup socat TCP-LISTEN:{PORT},fork,reuseaddr EXEC:'xl migrate-receive',nofork >/dev/null 2>&1 & echo $! >/run/receive.pid")
    seen = {way: [] for way in WAYS}
    try:
        create(A, "pvh", memory=256)
        at = A
        for _ in range(TURNS):
            for way, move in WAYS.items():
                before = sent_bytes(at)
                with Probe() as probe:
                    seconds = move(at)
                sent = sent_bytes(at) - before
                at = other(at)
                probe.unbroken()
                one_copy(at)
                seen[way].append((seconds, probe.figures["tcp_gap"], sent / 1e6))
                print(f"    {way}: {seconds:.1f} s, stall {probe.figures['tcp_gap']:.2f} s, {sent / 1e6:.1f} MB", flush=True)
    finally:
        for host in (A, B):
            host.run("kill $(cat /run/receive.pid)")
    middle = {way: [statistics.median(column) for column in zip(*runs)] for way, runs in seen.items()}
    ours, tcp, ssh = middle.values()
    for way, (seconds, stall, sent) in middle.items():
        print(f"    median of {TURNS}: {way}: {seconds:.1f} s, stall {stall:.2f} s, {sent:.1f} MB", flush=True)
    bars = [("total / ssh", ours[0] / ssh[0], 0.5), ("total / bare TCP", ours[0] / tcp[0], 1.1), ("downtime / bare TCP", ours[1] / tcp[1], 1.1)]
    figures = ", ".join(f"{what} {ratio:.2f} (bar {bar})" for what, ratio, bar in bars) + f", bytes / bare TCP {ours[2] / tcp[2]:.2f}"
    missed = [what for what, ratio, bar in bars if ratio > bar]
    if missed:
        raise Failed(f"missed: {', '.join(missed)}: {figures}")
    return figures
