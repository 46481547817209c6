"""Scenario 7: what a real xend sent arrives on real Xen, and the guest runs on."""
import os
import subprocess
import tempfile

from lab import B, NAMESPACE, Skipped, need, runs, until

SENDER = '''
import socket, sys
path, address = sys.argv[1:]
s = socket.create_connection((address, 8002), 30)
s.settimeout(120)
s.sendall(b"receive\\n")
answer = b""
while not answer.endswith(b"\\n"):
    more = s.recv(1)
    if not more:
        sys.exit("closed before it was ready")
    answer += more
if answer != b"(ready receive)\\n":
    sys.exit(f"answered {answer!r}")
with open(path, "rb") as image:
    while block := image.read(1 << 20):
        s.sendall(block)
s.shutdown(socket.SHUT_RDWR)
s.close()
'''
CAPTURES = ("tiny1-offline", "tiny1-live", "tiny1-xsave-live", "tiny2-live", "xen41-tiny1-live", "pv64-dev-live")


def name_of(sxp):
    return sxp.split("(name ", 1)[1].split(")", 1)[0]


def has_xsave(host):
    """Bit 26 of ecx in leaf 1."""
    return int(host.ok("xl info | sed -n 's/^hw_caps *: //p'").split(":")[1], 16) >> 26 & 1 == 1


def arrives(captures, name):
    with open(f"{captures}/{name}.sxp") as file:
        domain = name_of(file.read())
    with tempfile.NamedTemporaryFile(prefix="relocd-lab-") as image:
        subprocess.run(["zstd", "-dqfo", image.name, f"{captures}/{name}.xend.zst"], check=True)
        sent = subprocess.run(["ip", "netns", "exec", NAMESPACE, "python3", "-c", SENDER, image.name, B.address], capture_output=True, timeout=300)
    if "xsave" in name and not has_xsave(B):
        need(sent.returncode != 0 and "with XSAVE" in B.log(10), f"{name}: not refused by a processor without XSAVE: {B.log(10)}")
        need(not B.domains() and domain not in B.ok("xm spool list"), f"{name}: something is left: {B.domains()}")
        return f"{name}: refused, as this processor has no XSAVE"
    need(sent.returncode == 0, f"{name}: {sent.stderr.decode().strip()}")

    def there():
        return any(each == domain and runs(flags) for each, flags in B.domains())
    until(f"{name}: domain {domain} runs", there, 120)
    if domain.startswith("tiny"):
        said = B.ok(f"(timeout 8 xm console {domain} </dev/null || :) | tr -d '\\r'")
        # What the end has cut off is no line.
        ticks = [line for line in said[:said.rfind("\n") + 1].splitlines() if line.startswith("tick ")]
        # Its own count since it was started at the xend goes on.
        numbers = [int(line.split()[1]) for line in ticks]
        goes_on = len(numbers) >= 2 and numbers[0] > 1 and all(next == last + 1 for last, next in zip(numbers, numbers[1:]))
        need(goes_on and "PAT-BAD" not in said and any("pat-ok" in line for line in ticks), f"{name}: its console says {said!r}")
        told = ticks[-1]
    else:
        def seconds():
            return float(B.ok(f"xl list {domain}").splitlines()[1].split()[5])
        begun = seconds()
        until(f"{name}: the guest takes processor time", lambda: seconds() > begun + 0.5, 60)
        need(there(), f"{name}: {B.domains()}")
        told = "runs on, and takes processor time"
    until("the safety copy has gone", lambda: domain not in B.ok("xm spool list"), 60)
    B.ok(f"xm destroy {domain}")
    until("it has gone", lambda: not B.domains(), 60)
    return f"{name}: {told}"


def captured_streams_arrive(options):
    """Streams of a real xend arrive and run on"""
    captures = os.environ.get("RELOCD_CAPTURES")
    if not captures:
        raise Skipped("no captured streams in ../shared/captures, and RELOCD_CAPTURES does not say where they are")
    B.ok("truncate -s 64M /root/disk.img; losetup /dev/loop5 >/dev/null 2>&1 || losetup /dev/loop5 /root/disk.img")
    told = []
    for name in CAPTURES[1:2] if options.core else CAPTURES:
        told.append(arrives(captures, name))
        print(f"    {told[-1]}", flush=True)
    return f"{len(told)} streams; {told[0]}"
