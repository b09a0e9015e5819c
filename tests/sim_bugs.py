#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many seeds the simulator needs to catch each planted bug: how we know that it looks.

  tests/sim_bugs.py PROGRAM [BUG...] [--seeds 2000] [--jobs 2] [--from-one] [--out DIR]

Every bug that tests/planted_bugs.h names a scenario for, or those that are named here. The seed that
stands there is tried first; when it finds the bug no more, and with --from-one always, seeds from 1
on are tried one after the other. A seed that fails without the bug, too, has not caught it. Cheap
scenarios come first, and all bugs of one in turns. Prints the seed that caught each bug, and how,
and the median. What was found out about a program stays in DIR (build/sim-bugs), so that a run that
was interrupted goes on where it was. Exit code 1: a bug is not caught, or stands in no list.
"""
import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Cheapest first, and how many seeds make a turn.
TURNS = {"raft": 500, "links": 200, "engine": 200, "shards": 100, "gossip": 100, "crash": 100,
         "disk": 100, "rot": 100, "calm": 100, "lattice-storm": 40, "lattice": 40,
         "lattice-disk": 40, "lattice-calm": 40, "lattice-moves": 40, "lattice-rot": 40}
TURN_SECONDS = 300  # and what takes longer than that hangs
SEED_SECONDS = 60


def planted():
    """What tests/planted_bugs.h says: bug to (scenario, seed), and bugs that tests catch."""
    with open(os.path.join(TOP, "tests/planted_bugs.h"), encoding="utf-8") as file:
        text = file.read()
    rows = re.findall(r'X\("([a-z_.]+)", "([a-z-]+)", (\d+)\)', text)
    tested = re.findall(r'Y\("([a-z_.]+)", "[a-z_]+"\)', text)
    return {bug: (scenario, int(seed)) for bug, scenario, seed in rows}, tested


def bugs_of_code():
    found = set()
    for folder in ("base", "storage", "txn", "lattice", "node", "client"):
        for name in sorted(os.listdir(os.path.join(TOP, folder))):
            if name.endswith((".c", ".h")):
                with open(os.path.join(TOP, folder, name), encoding="utf-8") as file:
                    text = file.read()
                found.update(re.findall(r'LW_BUG\([^,"]*,\s*"([a-z_.]+)"', text))
                # Machines that know of no env list their own (lattice/raft.h, lattice/planted.h).
                found.update(re.findall(r'X\([A-Z_]+,\s*"([a-z]+\.[a-z_]+)"', text))
    return found


class Hunt:
    """One bug: which seeds were looked at, and what came of it. Kept in a file."""

    def __init__(self, options, bug, scenario, known):
        self.options, self.bug, self.scenario = options, bug, scenario
        self.path = os.path.join(options.folder, bug)
        self.state = {"next": 1, "known": 0 if options.from_one else known, "seed": 0, "words": ""}
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                kept = json.load(file)
            if kept["scenario"] == scenario:
                self.state = kept
        self.state["scenario"] = scenario

    def over(self):
        return self.state["seed"] > 0 or self.state["next"] > self.options.seeds

    def simulate(self, seed, count, bug, seconds):
        """The first of so many seeds that fails, and in what words; 0: none; None: it hangs."""
        command = [self.options.program, "sim", "--once", "--no-shrink", "--json", "--scenario",
                   self.scenario, "--seed", str(seed), "--runs", str(count)]
        try:
            done = subprocess.run(command + (["--bug", self.bug] if bug else []), timeout=seconds,
                                  capture_output=True, cwd=self.options.folder, check=False)
        except subprocess.TimeoutExpired:
            return None, "it does not end"
        if done.returncode == 0:
            return 0, ""
        report = done.stderr.decode(errors="replace")
        try:
            failure = json.loads(done.stdout)["failures"][0]
            return failure["seed"], failure["violations"][0]
        except (ValueError, IndexError):
            seeds = re.findall(r"seed[= ](\d+)", report)
            said = re.findall(r"assert.*", report)
            return int(seeds[-1]) if seeds else (seed if count == 1 else None), \
                said[0] if said else "the process dies"

    def find(self, seed, count):
        """As simulate; of those that hang or die without a word it is looked which one it is."""
        found, words = self.simulate(seed, count, True, TURN_SECONDS)
        if found is not None:
            return found, words
        for one in range(seed, seed + count):
            found, words = self.simulate(one, 1, True, SEED_SECONDS)
            if found != 0:
                return one, words
        return 0, ""

    def turn(self):
        state = self.state
        known, state["known"] = state["known"], 0
        seed, count = (known, 1) if known else (state["next"], TURNS[self.scenario])
        count = min(count, self.options.seeds + 1 - seed)
        found, words = self.find(seed, count)
        if found and self.simulate(found, 1, False, SEED_SECONDS)[0] == 0:
            state["seed"], state["words"] = found, words
        elif not known:
            state["next"] = found + 1 if found else seed + count
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(state, file)
        os.replace(self.path + ".new", self.path)

    def line(self):
        if self.state["seed"] == 0:
            return f"{self.bug:36} {self.scenario:14}     - not caught by {self.state['next'] - 1} seeds"
        return f"{self.bug:36} {self.scenario:14} {self.state['seed']:5} {self.state['words'][:90]}"


class Pack:
    """The hunts that are not over, by scenario; guarded by `lock`."""

    def __init__(self, hunts):
        order = list(TURNS)
        self.lock = threading.Lock()
        self.waiting = sorted((hunt for hunt in hunts if not hunt.over()),
                              key=lambda hunt: (not hunt.state["known"], order.index(hunt.scenario)))

    def work(self):
        while True:
            with self.lock:
                if not self.waiting:
                    return
                hunt = self.waiting.pop(0)
            hunt.turn()
            with self.lock:
                if hunt.over():
                    print(hunt.line(), flush=True)
                else:  # behind the others of its scenario, and of cheaper ones
                    order = list(TURNS)
                    place = sum(bool(other.state["known"]) or
                                order.index(other.scenario) <= order.index(hunt.scenario)
                                for other in self.waiting)
                    self.waiting.insert(place, hunt)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("bugs", nargs="*")
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--from-one", action="store_true", help="known seeds are not tried first")
    parser.add_argument("--scenario", help="this one, whatever the list says")
    parser.add_argument("--out", type=os.path.abspath, default=os.path.join(TOP, "build/sim-bugs"))
    options = parser.parse_intermixed_args()
    with open(options.program, "rb") as file:
        name = hashlib.sha256(file.read()).hexdigest()[:12]
    options.folder = os.path.join(options.out, name + ("-from-one" if options.from_one else ""))
    os.makedirs(options.folder, exist_ok=True)
    return options


def main():
    options = parse()
    rows, tested = planted()
    hunts = []
    for bug in options.bugs or sorted(rows):
        scenario, seed = rows.get(bug, ("lattice-storm", 0))
        if options.scenario and options.scenario != scenario:
            scenario, seed = options.scenario, 0
        hunts.append(Hunt(options, bug, scenario, seed if seed <= options.seeds else 0))
    for hunt in hunts:
        if hunt.over():
            print(hunt.line())
    pack = Pack(hunts)
    began = time.monotonic()
    workers = [threading.Thread(target=pack.work) for _ in range(options.jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    caught = [hunt.state["seed"] for hunt in hunts if hunt.state["seed"] > 0]
    print(f"{len(caught)} of {len(hunts)} planted bugs are caught within {options.seeds} seeds, in the "
          f"median by {statistics.median(caught or [0]):.0f}, in the mean by "
          f"{statistics.fmean(caught or [0]):.0f}; {time.monotonic() - began:.0f} s")
    for hunt in hunts:
        if hunt.state["seed"] == 0:
            print(hunt.line())
    unlisted = sorted(bugs_of_code() - set(rows) - set(tested))
    for bug in unlisted:
        print(f"{bug} stands in no list of tests/planted_bugs.h")
    sys.exit(0 if len(caught) == len(hunts) and not unlisted else 1)


if __name__ == "__main__":
    main()
