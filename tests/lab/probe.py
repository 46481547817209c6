#!/usr/bin/env python3
"""Watches a guest from a third place on its network. First it prints a line, once its connection stands. For each line on its input, and at the input's end, it prints a
line of JSON: what it has seen since the one before.

usage: probe.py ADDRESS

Asked, it goes on until lines have come for half a second more, for 20 s at most: a connection that is merely silent is not one that holds.

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
# Lines that have to come after it was asked, and how long it waits for them.
LAST_LINES, PATIENCE = 5, 20
# How long a ping may be on its way, in seconds, before it counts as lost.
ANSWERED = 1


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
        self.number, self.sent, self.answered, self.ticks = 0, {}, {}, []
        self.rest, self.closed = b"", None
        self.next_part()

    def next_part(self):
        self.begun = time.monotonic()
        # What may still be answered belongs to the next part.
        self.sent = {number: sent for number, sent in self.sent.items() if number not in self.answered and sent > self.begun - ANSWERED}
        self.answered = {}
        # The last one stays: what is lost between two parts is lost in the second.
        self.ticks = self.ticks[-1:]

    def send(self, now):
        self.number += 1
        self.sent[self.number] = now
        try:
            self.ping.sendto(echo_request(self.identifier, self.number), (self.address, 0))
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

    def run(self):
        due = time.monotonic()
        # Since when the end of a part is asked for, and the ticks that there were then.
        asked, before, is_last = None, 0, False
        while True:
            now = time.monotonic()
            last_lines = len(self.ticks) - before
            if asked is not None and (self.closed or last_lines >= LAST_LINES or now > asked + PATIENCE):
                print(json.dumps(self.report(now, last_lines)), flush=True)
                if is_last:
                    return
                asked = None
                self.next_part()
            if now >= due:
                self.send(now)
                due = max(due + INTERVAL, now - 10 * INTERVAL)
            sources = [self.ping] + [self.stream] * (not self.closed) + [sys.stdin] * (asked is None)
            ready = select.select(sources, [], [], max(0.0, due - time.monotonic()))[0]
            now = time.monotonic()
            if self.ping in ready:
                self.take_replies(now)
            if self.stream in ready:
                self.take_ticks(now)
            if sys.stdin in ready:
                is_last = not sys.stdin.readline()
                asked, before = now, len(self.ticks)

    def report(self, now, last_lines):
        ticks = self.ticks
        numbers = [tick[1] for tick in ticks]
        return {
            "pings": len(self.sent),
            "pings_lost": sum(1 for number, sent in self.sent.items() if number not in self.answered and sent <= now - ANSWERED),
            "ping_gap": longest_gap([self.begun, *sorted(self.answered.values()), now]),
            "ticks": len(ticks),
            "ticks_missing": numbers[-1] - numbers[0] + 1 - len(ticks) if ticks else None,
            "ticks_in_order": numbers == sorted(numbers),
            "tcp_gap": longest_gap([*(tick[0] for tick in ticks), now]),
            "tcp_closed": self.closed,
            "last_lines": last_lines,
            "guest_seconds": ticks[-1][2] - ticks[0][2] if ticks else None,
            "guest_last": ticks[-1][2] if ticks else None,
            "pages_changed": ticks[-1][3] - ticks[0][3] if ticks else None,
        }


def main():
    (address,) = sys.argv[1:]
    probe = Probe(address)
    print("watching", flush=True)
    probe.run()


if __name__ == "__main__":
    main()
