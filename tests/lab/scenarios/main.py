"""Runs the lab's scenarios on two hosts that are up; `run` says what the options mean. Pairs of hosts that share a directory of rows share the scenarios, too."""
import argparse
import json
import os
import re
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

# Number, whether it belongs to the core, and the function: it gives back the figures for the table. In the order in which pairs of hosts take them: long ones
# first, so that all pairs end at about the same time. What stock xl takes for its part of `speed` is as long as half of the others: it has to be asked for.
SCENARIOS = (
    ("6", True, failures.all_of_them),
    ("1", True, moves.live_there_and_back),
    ("1pv", False, moves.pv_live_there_and_back),
    ("3hvm", False, moves.hvm),
    ("5", True, refusals.before_anything_stops),
    ("7", True, xend.captured_streams_arrive),
    ("9", True, moves.reboot_after_relocation),
    ("3", False, moves.pvh_offline),
    ("8", False, refusals.other_subnet),
    ("10", False, versions.newer_xen),
    ("2", True, moves.pv_offline),
    ("5dom0", False, refusals.dom0_gives_memory),
    ("4a", False, moves.dirtying_slowly),
    ("4b", False, moves.dirtying_fast),
    ("speed", False, speed.against_stock_xl),
)
# Leaves a host that is another Debian than the others: a pair's last.
LAST = "10"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", action="store_true", help="only what is checked at each change, each thing once")
    parser.add_argument("--only", help="numbers of scenarios, with commas")
    parser.add_argument("--times", type=int, help="how often scenario 1 goes there and back")
    parser.add_argument("--pv-live", action="store_true", help="the hypervisor has shadow paging")
    parser.add_argument("--keep", action="store_true", help="the hosts are used afterwards")
    parser.add_argument("--pairs", type=int, default=1, help="how many pairs of hosts share the scenarios")
    parser.add_argument("--rows", help="the directory where they tell each other what is taken, and what came of it")
    parser.add_argument("--table", metavar="ROWS", help="only print what came of it")
    parser.add_argument("--check", action="store_true", help="only look at the arguments: prints how many scenarios they ask for")
    options = parser.parse_args()
    options.times = options.times or (1 if options.core else 10)
    known = [number for number, _, _ in SCENARIOS]
    if options.only:
        options.chosen = options.only.split(",")
    else:
        options.chosen = [number for number, core, _ in SCENARIOS if core or not options.core and number not in ("1pv", "speed")] + ["1pv"] * options.pv_live
    if not (options.rows or options.table or options.check):
        parser.error("--rows is missing")
    unknown = set(options.chosen) - set(known)
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(sorted(known, key=in_table))}")
    return options


def is_taken(rows, number):
    return os.path.exists(f"{rows}/{number}.taken")


def take(rows, number):
    """Whether a scenario is this pair's: nobody else has taken it."""
    try:
        os.close(os.open(f"{rows}/{number}.taken", os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


def run(number, scenario, options):
    """One scenario, and its row."""
    print(f"--- {number} {name_of(scenario)}", flush=True)
    begun = time.monotonic()
    try:
        outcome, figures = "ok", scenario(options)
        lab.clear()
        lab.given_back()
    except lab.Skipped as skipped:
        outcome, figures = "skipped", str(skipped)
    except Exception as error:  # A scenario that breaks has failed; the others are to run.
        outcome, figures = "FAILED", str(error) or repr(error)
        if not isinstance(error, lab.Failed):
            traceback.print_exc()
    seconds = f"{time.monotonic() - begun:.0f} s"
    print(f"    {number}: {outcome}, {seconds}: {figures or ''}", flush=True)
    with open(f"{options.rows}/{number}.row", "w", encoding="utf-8") as file:
        json.dump((number, name_of(scenario), outcome, seconds, figures or ""), file)
    if outcome == "FAILED":
        for host in lab.HOSTS:
            print(f"--- log of {host}\n{host.log()}", flush=True)
        # A pair whose hosts have died leaves all others to another one.
        lab.clear()


def name_of(scenario):
    return scenario.__doc__.splitlines()[0]


def in_table(number):
    """1, 1pv, 2, ..., 10, speed"""
    digits = re.match(r"\d+", number)
    return (int(digits.group()) if digits else 1000, number)


def table(rows, chosen):
    """Prints what came of the scenarios. Whether it is good: some are ok, and all others are skipped."""
    print()
    outcomes = set()
    for number, _, scenario in sorted(SCENARIOS, key=lambda each: in_table(each[0])):
        if number not in chosen:
            continue
        try:
            with open(f"{rows}/{number}.row", encoding="utf-8") as file:
                row = json.load(file)
        except FileNotFoundError:
            row = (number, name_of(scenario), "FAILED", "", "did not end" if is_taken(rows, number) else "did not begin")
        print("{:<6} {:<58} {:<7} {:>6}  {}".format(*row))
        outcomes.add(row[2])
    return "ok" in outcomes and "FAILED" not in outcomes


def main():
    options = arguments()
    if options.check:
        print(len(options.chosen))
        return 0
    if options.table:
        return 0 if table(options.table, options.chosen) else 1
    lab.open_up()
    lab.clear()
    # Alone, this pair has to do all others before it.
    scenarios = SCENARIOS if options.pairs > 1 else sorted(SCENARIOS, key=lambda each: each[0] == LAST)
    for number, _, scenario in scenarios:
        if number not in options.chosen or is_taken(options.rows, number):
            continue
        if take(options.rows, number):
            run(number, scenario, options)
            if number == LAST and not options.keep:
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
