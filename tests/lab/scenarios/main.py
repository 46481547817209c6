"""Runs the lab's scenarios on two hosts that are up, and prints one table. Usage: main.py [--core] [--only N,N] [--times N] [--keep]"""
import argparse
import sys
import time
import traceback

import failures
import lab
import moves
import refusals
import speed
import versions
import xend

# Number, whether it belongs to the core, and the function: it gives back the figures for the table. What stock xl takes for its part of `speed` is as long as
# half of the others: it has to be asked for.
SCENARIOS = (
    ("1", True, moves.live_there_and_back),
    ("1pv", False, moves.pv_live_there_and_back),
    ("2", True, moves.pv_offline),
    ("3", False, moves.pvh_offline),
    ("3hvm", False, moves.hvm),
    ("4a", False, moves.dirtying_slowly),
    ("4b", False, moves.dirtying_fast),
    ("5", True, refusals.before_anything_stops),
    ("5dom0", False, refusals.dom0_gives_memory),
    ("6", True, failures.all_of_them),
    ("7", True, xend.captured_streams_arrive),
    ("8", False, refusals.other_subnet),
    ("9", True, moves.reboot_after_relocation),
    ("speed", False, speed.against_stock_xl),
    ("10", False, versions.newer_xen),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", action="store_true", help="only what is checked at each change, each thing once")
    parser.add_argument("--only", help="numbers of scenarios, with commas")
    parser.add_argument("--times", type=int, help="how often scenario 1 goes there and back")
    parser.add_argument("--keep", action="store_true", help="the hosts are used afterwards")
    options = parser.parse_args()
    options.times = options.times or (1 if options.core else 10)
    chosen = options.only.split(",") if options.only else [number for number, core, _ in SCENARIOS if core or not options.core and number != "speed"]
    unknown = set(chosen) - {number for number, _, _ in SCENARIOS}
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(number for number, _, _ in SCENARIOS)}")
    lab.open_up()
    if not options.only and not moves.has_shadow_paging():
        chosen = [number for number in chosen if number != "1pv"]
    rows = []
    for number, _, scenario in SCENARIOS:
        if number not in chosen:
            continue
        name = scenario.__doc__.splitlines()[0]
        print(f"--- {number} {name}", flush=True)
        begun = time.monotonic()
        try:
            lab.clear()
            outcome, figures = "ok", scenario(options)
        except lab.Skipped as skipped:
            outcome, figures = "skipped", str(skipped)
        except Exception as error:  # A scenario that breaks has failed; the others are to run.
            outcome, figures = "FAILED", str(error) or repr(error)
            if not isinstance(error, lab.Failed):
                traceback.print_exc()
            for host in lab.HOSTS:
                print(f"--- log of {host}\n{host.log()}", flush=True)
        rows.append((number, name, outcome, f"{time.monotonic() - begun:.0f} s", figures or ""))
        print(f"    {rows[-1][2]}, {rows[-1][3]}: {rows[-1][4]}", flush=True)
    print()
    for row in rows:
        print("{:<6} {:<58} {:<7} {:>6}  {}".format(*row))
    return 1 if not rows or any(row[2] == "FAILED" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
