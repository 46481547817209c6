#!/usr/bin/env python3
"""Watches a guest from a third place on its network until it is told to stop, then prints one line of JSON. Before it, a line once its connection stands.

usage: probe.py ADDRESS STOPFILE

Told to stop, it goes on until lines have come for half a second more, for 20 s at most: a connection that is merely silent is not one that holds.

Pings every 100 ms, and holds one TCP connection on which the guest sends a numbered line every 100 ms: more often, and an
emulated host is busy with being measured. Times are this machine's, in seconds.
"""
import json
import os
import select
import socket
import struct
import sys
import time

INTERVAL = 0.1
# Lines that have to come after it was told to stop, and how long it waits for them.
LAST_LINES, PATIENCE = 5, 20


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo_request(identifier, number):
    head = struct.pack("!BBHHHI", 8, 0, 0, identifier, number & 0xFFFF, number)
    return struct.pack("!BBHHHI", 8, 0, checksum(head), identifier, number & 0xFFFF, number)


def echo_reply(packet, identifier):
    """The number of a reply to one of ours, or None."""
    head = (packet[0] & 15) * 4
    if len(packet) < head + 12:
        return None
    kind, _, _, theirs, _, number = struct.unpack("!BBHHHI", packet[head:head + 12])
    return number if kind == 0 and theirs == identifier else None


def longest_gap(times):
    return max((later - earlier for earlier, later in zip(times, times[1:])), default=None)


class Probe:
    def __init__(self, address):
        self.address = address
        self.identifier = os.getpid() & 0xFFFF
        self.ping = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.ping.setblocking(False)
        self.stream = socket.create_connection((address, 7777), 30)
        self.stream.setblocking(False)
        self.sent, self.answered, self.ticks = {}, {}, []
        self.rest, self.closed = b"", None
        self.last_lines, self.ended = 0, None

    def send(self, now):
        number = len(self.sent) + 1
        self.sent[number] = now
        try:
            self.ping.sendto(echo_request(self.identifier, number), (self.address, 0))
        except OSError:
            pass

    def take_replies(self, now):
        try:
            while True:
                number = echo_reply(self.ping.recv(2048), self.identifier)
                if number in self.sent:
                    self.answered[number] = now
        except BlockingIOError:
            pass

    def take_ticks(self, now):
        try:
            data = self.stream.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.closed = str(error)
            return
        if not data:
            self.closed = "closed by the guest"
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            number, clock, changed = line.split()
            self.ticks.append((now, int(number), float(clock), int(changed)))

    def run(self, stop):
        due = time.monotonic()
        stopped, before = None, 0
        while True:
            now = time.monotonic()
            if stopped is None and os.path.exists(stop):
                stopped, before = now, len(self.ticks)
            self.last_lines = len(self.ticks) - before
            if stopped is not None and (self.closed or self.last_lines >= LAST_LINES or now > stopped + PATIENCE):
                break
            if now >= due:
                self.send(now)
                due = max(due + INTERVAL, now - 10 * INTERVAL)
            sources = [self.ping] + ([] if self.closed else [self.stream])
            ready = select.select(sources, [], [], max(0.0, due - time.monotonic()))[0]
            now = time.monotonic()
            if self.ping in ready:
                self.take_replies(now)
            if self.stream in ready:
                self.take_ticks(now)
        self.ended = time.monotonic()

    def report(self):
        ticks = self.ticks
        numbers = [tick[1] for tick in ticks]
        return {
            "pings": len(self.sent),
            "pings_lost": len(self.sent) - len(self.answered),
            "ping_gap": longest_gap([*sorted(self.answered.values()), self.ended]),
            "ticks": len(ticks),
            "ticks_missing": numbers[-1] - numbers[0] + 1 - len(ticks) if ticks else None,
            "ticks_in_order": numbers == sorted(numbers),
            "tcp_gap": longest_gap([*(tick[0] for tick in ticks), self.ended]),
            "tcp_closed": self.closed,
            "last_lines": self.last_lines,
            "guest_seconds": ticks[-1][2] - ticks[0][2] if ticks else None,
            "guest_last": ticks[-1][2] if ticks else None,
            "pages_changed": ticks[-1][3] - ticks[0][3] if ticks else None,
        }


def main():
    address, stop = sys.argv[1:]
    probe = Probe(address)
    print("watching", flush=True)
    probe.run(stop)
    print(json.dumps(probe.report()))


if __name__ == "__main__":
    main()
