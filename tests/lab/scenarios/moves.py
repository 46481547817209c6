"""Relocations that succeed: scenarios 1 to 4, and 9."""
import statistics

from lab import A, B, LASTING, Failed, Probe, answers, create, migrated, need, one_copy, other, rebooted, sent_bytes, until


def spread(values, unit):
    return f"{min(values):.1f} / {statistics.median(values):.1f} / {max(values):.1f} {unit}"


def reattach_console(host):
    """The console tells the guest's next ticks."""
    said = host.ok("(timeout 6 xm console web </dev/null || :) | tr -d '\\r' | grep -c '^tick ' || :")
    need(int(said.strip() or 0) >= 2, f"xm console on {host} shows {said.strip()} ticks of the guest in 6 s")


def there_and_back(kind, modes, memory=LASTING, first=lambda: None):
    """From a to b, back, and so on: live where a mode says so, offline where not."""
    create(A, kind, memory=memory)
    first()
    at, totals, downtimes, losses = A, [], [], []
    uptime = None
    for live in modes:
        with Probe() as probe:
            _, seconds = migrated(at, live=live)
            at = other(at)
            until("the guest answers", answers)
        probe.unbroken()
        one_copy(at)
        now = probe.figures["guest_last"]
        need(uptime is None or now > uptime, f"the guest's clock went back from {uptime} to {now}")
        uptime = now
        totals.append(seconds)
        downtimes.append(max(probe.figures["tcp_gap"], probe.figures["ping_gap"]))
        losses.append(probe.figures["pings_lost"])
    reattach_console(at)
    return (f"{len(totals)} relocations, total {spread(totals, 's')}, longest stall {spread(downtimes, 's')}, "
            f"pings lost of one each 100 ms {spread(losses, '')}, no line of the TCP connection lost (min / median / max)")


def live_there_and_back(options):
    """PVH guest, live, there and back"""
    return there_and_back("pvh", [True, True] * options.times)


def pv_live_there_and_back(options):
    """PV guest, live, there and back"""
    need(has_shadow_paging(), "the hypervisor has no shadow paging")
    return there_and_back("pv", [True, True] * options.times)


def has_shadow_paging():
    return "shadow" in A.ok("xl info | grep virt_caps")


def pv_offline(_):
    """PV guest, offline, there and back; live is refused beforehand"""
    def refused_live():
        if not has_shadow_paging():
            done = A.run(f"xm migrate -l web {B.address}")
            need(done.code != 0 and "shadow" in done.text and "without -l" in done.text, f"live was not refused with a word on the other mode: {done.text}")
            one_copy(A)
    return there_and_back("pv", [False, False], memory=96, first=refused_live)


def pvh_offline(_):
    """PVH guest, offline, there and back"""
    return there_and_back("pvh", [False, False], memory=96)


def hvm(_):
    """HVM guest, live there, and offline back"""
    return there_and_back("hvm", [True, False])


def dirtying(rate):
    """A live relocation of a guest that changes so many MB/s, or what its host lets it. What was told of it, and the MB/s that it changed, and that were sent."""
    create(A, "pvh", memory=192, extra=f"wss=48 dirty={rate}")
    before = sent_bytes(A)
    with Probe() as probe:
        told, seconds = migrated(A)
    sent = (sent_bytes(A) - before) / 1e6 / seconds
    probe.unbroken()
    one_copy(B)
    changed = probe.figures["pages_changed"] * 4096 / 1e6 / probe.figures["guest_seconds"]
    told = f"{told}; {changed:.1f} MB/s changed meanwhile, {sent:.1f} sent, stall {probe.figures['tcp_gap']:.1f} s"
    return told, changed, sent


def dirtying_slowly(_):
    """Guest that changes 2 MB/s, live"""
    told, changed, _ = dirtying(2)
    need(changed > 0.5, f"the guest changed too little: {told}")
    return told


def dirtying_fast(_):
    """Guest that changes memory faster than the link, live"""
    told, changed, sent = dirtying(40)
    need(changed > sent, f"the guest changed no more than was sent: {told}")
    return told


def reboot_after_relocation(_):
    """Guest reboots after its relocation, and comes back"""
    create(A, "pvh")
    migrated(A)
    one_copy(B)
    first = dict(B.domains())
    number = B.ok("xl domid web").strip()
    B.ok("xl reboot -F web || xl reboot web")
    until("the guest is another domain", lambda: B.run("xl domid web").out.strip() not in ("", number), 120)
    rebooted()
    one_copy(B)
    if list(first) != ["web"]:
        raise Failed(f"before the reboot it was called {list(first)}")
    migrated(B)
    one_copy(A)
    return "and went back"
