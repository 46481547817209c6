"""Relocations that succeed: scenarios 1 to 4, and 9."""
import statistics

from lab import A, B, LASTING, LIGHT, Probe, answers, ask_guest, create, migrated, need, one_copy, other, rebooted, sent_bytes, until


def looked_at(host):
    """What an operator asks of a guest, and tells it, with xm."""
    flags = lambda: next(line.split()[4] for line in host.ok("xm list").splitlines() if line.startswith("web "))
    host.ok("xm pause web")
    need("p" in flags(), f"xm pause: {host.ok('xm list')}")
    host.ok("xm unpause web")
    need("p" not in flags(), f"xm unpause: {host.ok('xm list')}")
    info = host.ok("xm info")
    for shown in ("free_memory", "relocd"):
        need(shown in info, f"xm info does not show {shown}: {info}")


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
    with Probe() as probe:
        for live in modes:
            # How the guest goes on is told from here; what has come of the looks since the last move is not.
            uptime, tick = probe.part()["guest_last"], ask_guest()["tick"]
            _, seconds = migrated(at, live=live)
            at = other(at)
            until("the guest answers", answers)
            seen = probe.part()
            one_copy(at)
            need(seen["guest_last"] > uptime, f"the guest's clock went back from {uptime} to {seen['guest_last']}")
            need((now := ask_guest()["tick"]) > tick, f"the guest's ticks went from {tick:.0f} to {now:.0f}")
            totals.append(seconds)
            downtimes.append(max(seen["tcp_gap"], seen["ping_gap"]))
            losses.append(seen["pings_lost"])
            # On each host once.
            if len(totals) <= 2:
                reattach_console(at)
    probe.unbroken()
    return (f"{len(totals)} relocations, total {spread(totals, 's')}, longest stall {spread(downtimes, 's')}, "
            f"pings lost of one each 100 ms {spread(losses, '')}, one TCP connection, no line of it lost (min / median / max)")


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
    """PV guest, offline, there and back; beforehand paused, and refused live"""
    def refused_live():
        if not has_shadow_paging():
            done = A.run(f"xm migrate -l web {B.address}")
            need(done.code != 0 and "shadow" in done.text and "without -l" in done.text, f"live was not refused with a word on the other mode: {done.text}")
            one_copy(A)
        looked_at(A)
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
    need(changed > 1.5, f"the guest changed too little: {told}")
    return told


def dirtying_fast(_):
    """Guest that changes memory faster than the link, live"""
    told, changed, sent = dirtying(40)
    # Of what the lab's link carries, 12 MB/s are the most.
    need(changed > max(sent, 12), f"the guest changed no more than the link carries: {told}")
    return told


def begins_anew(host, command):
    """What the guest is told makes it another domain, by way of the xl that has stayed with it since it arrived."""
    number = host.ok("xl domid web").strip()
    host.ok(command)
    until("the guest is another domain", lambda: host.run("xl domid web").out.strip() not in ("", number), 120)
    rebooted()
    one_copy(host)


def reboot_after_relocation(_):
    """Guest reboots, or crashes, after its relocation, and comes back"""
    create(A, "pvh", extra=f"{LIGHT} sysrq_always_enabled", on_crash="restart")
    told, _ = migrated(A)
    one_copy(B)
    need(list(dict(B.domains())) == ["web"], f"before the reboot it was called {B.domains()}")
    begins_anew(B, "xl reboot -F web || xl reboot web")
    migrated(B)
    one_copy(A)
    begins_anew(A, "xl sysrq web c")
    return f"{told}; rebooted there, went back, crashed here and was started anew"
