#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many seeds the simulator needs to catch each planted bug: how we know that it looks.

  tests/sim_bugs.py PROGRAM [BUG...] [--seeds 2000] [--jobs 2] [--from-one] [--out DIR]

Every bug that tests/planted_bugs.h names a scenario for, or those that are named here. The seed that
stands there is tried first; when it finds the bug no more, and with --from-one always, seeds from 1
on are tried one after the other. Without any bug each seed of a scenario is run once: a run that
does not pass the place of a bug is the same with it, so these seeds need no other; and one that
fails without the bug has not caught it. Cheap scenarios come first, and all bugs of one in turns.
Prints the seed that caught each bug, and how, and the median. A run may take so much processor time
(--run-seconds); one that takes more hangs, which counts as caught. What was found out about a
program stays in DIR (build/sim-bugs), so that a run that was interrupted goes on where it was. Exit
code 1: a bug is not caught, or stands in no list.
"""
import argparse
import hashlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Cheapest first, and how many seeds make a turn.
TURNS = {"raft": 500, "links": 200, "engine": 200, "shards": 100, "gossip": 100, "crash": 100,
         "disk": 100, "rot": 100, "calm": 100, "lattice-storm": 40, "lattice": 40,
         "lattice-disk": 40, "lattice-calm": 40, "lattice-moves": 40, "lattice-rot": 40}
USUAL_SECONDS = 2  # of processor time, that the other runs of a turn take at most


def planted(path):
    """What tests/planted_bugs.h says: bug to (scenario, seed), and bugs that tests catch."""
    with open(path, encoding="utf-8") as file:
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


def simulate(options, scenario, seed, count, bug):
    """Runs seeds, with a bug up to the first that fails. What is told of each run that ended: its
    seed, whether it passed, and the bugs whose place it passed; and in what words one failed: the
    last of them, or, if the third is True, the one behind them, which did not end."""
    limit = options.run_seconds + count * USUAL_SECONDS
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        told = os.path.join(folder, "told")
        command = [options.program, "sim", "--once", "--no-shrink", "--json", "--hashes", told,
                   "--scenario", scenario, "--seed", str(seed), "--runs", str(count)]
        done = subprocess.run(
            command + (["--bug", bug] if bug else []), capture_output=True, cwd=folder, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit)))
        lines = []
        if os.path.exists(told):
            with open(told, encoding="utf-8") as file:
                lines = [line.split() for line in file if line.endswith("\n")]
    lines = [(int(line[1]), line[3] == "passed", line[4:]) for line in lines]
    report = done.stderr.decode(errors="replace")
    try:
        failures = json.loads(done.stdout)["failures"]
        return lines, failures[-1]["violations"][0] if failures else "", False
    except (ValueError, IndexError):
        said = re.findall(r"assert.*|ERROR: .*|runtime error: .*", report)
        hangs = done.returncode < 0 and -done.returncode in (9, 24)  # SIGKILL, SIGXCPU
        if not said and not hangs and done.returncode > 0:
            sys.exit(f"{' '.join(command)} ended with exit code {done.returncode}: {report}")
        return lines, said[0] if said else "it does not end" if hangs else "the process dies", True


class Kept:
    """A state that outlives this process: a file of a folder."""

    def __init__(self, folder, name, state):
        self.path = os.path.join(folder, name)
        self.state = state
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                self.state.update(json.load(file))

    def keep(self):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.state, file)
        os.replace(self.path + ".new", self.path)


class Survey(Kept):
    """The seeds of a scenario without a bug: which of them fail, and which pass whose place."""

    def __init__(self, options, scenario):
        super().__init__(options.folder, f"seeds of {scenario}",
                         {"next": 1, "failed": [], "passed": {}})
        self.options, self.scenario = options, scenario
        self.lock = threading.Lock()

    def reach(self, seed):
        """Looks at all seeds up to this one."""
        with self.lock:
            while self.state["next"] <= seed:
                count = min(TURNS[self.scenario], seed + 1 - self.state["next"])
                lines, _, cut = simulate(self.options, self.scenario, self.state["next"], count,
                                         None)
                for number, passed, bugs in lines:
                    if not passed:
                        self.state["failed"].append(number)
                    for bug in bugs:
                        self.state["passed"].setdefault(bug, []).append(number)
                self.state["next"] += len(lines)
                if cut:
                    self.state["failed"].append(self.state["next"])
                    self.state["next"] += 1
                self.keep()

    def worth(self, bug, first, last):
        """Those of these seeds that may catch it."""
        failed = set(self.state["failed"])
        return [seed for seed in self.state["passed"].get(bug, [])
                if first <= seed <= last and seed not in failed]


class Hunt(Kept):
    """One bug: which seeds were looked at, and what came of it."""

    def __init__(self, options, bug, survey, known):
        super().__init__(options.folder, f"{bug} in {survey.scenario}",
                         {"next": 1, "known": 0 if options.from_one else known, "seed": 0,
                          "words": "", "places": 0})
        self.options, self.bug, self.survey = options, bug, survey

    def over(self):
        return self.state["seed"] > 0 or self.state["next"] > self.options.seeds

    def run(self, seed, count):
        """Runs so many seeds; true if one has caught it."""
        lines, words, cut = simulate(self.options, self.survey.scenario, seed, count, self.bug)
        caught = seed + len(lines) if cut else lines[-1][0]
        if words:
            self.state["seed"], self.state["words"] = caught, words
        return bool(words)

    def try_known(self):
        seed, self.state["known"] = self.state["known"], 0
        if self.run(seed, 1):
            _, words, _ = simulate(self.options, self.survey.scenario, seed, 1, None)
            if words:
                self.state["seed"] = 0

    def turn(self):
        state = self.state
        if state["known"]:
            self.try_known()
            self.keep()
            return
        last = min(state["next"] + TURNS[self.survey.scenario] - 1, self.options.seeds)
        self.survey.reach(last)
        seeds = self.survey.worth(self.bug, state["next"], last)
        while seeds and not state["seed"]:
            count = 1  # of seeds in a row
            while count < len(seeds) and seeds[count] == seeds[0] + count:
                count += 1
            self.run(seeds[0], count)
            state["places"] += count
            seeds = seeds[count:]
        state["next"] = last + 1
        self.keep()

    def line(self):
        name = f"{self.bug:36} {self.survey.scenario:14}"
        if self.state["seed"] == 0:
            return (f"{name}     - not caught by {self.state['next'] - 1} seeds, of which "
                    f"{self.state['places']} pass its place")
        return f"{name} {self.state['seed']:5} {self.state['words'][:90]}"


class Pack:
    """The hunts that are not over, by scenario; guarded by `lock`."""

    def __init__(self, hunts):
        self.order = list(TURNS)
        self.lock = threading.Lock()
        self.waiting = sorted((hunt for hunt in hunts if not hunt.over()), key=self.rank)

    def rank(self, hunt):
        return not hunt.state["known"], self.order.index(hunt.survey.scenario)

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
                    place = sum(self.rank(other) <= self.rank(hunt) for other in self.waiting)
                    self.waiting.insert(place, hunt)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("bugs", nargs="*")
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--run-seconds", type=int, default=60)
    parser.add_argument("--from-one", action="store_true", help="known seeds are not tried first")
    parser.add_argument("--scenario", help="this one, whatever the list says")
    parser.add_argument("--list", default=os.path.join(TOP, "tests/planted_bugs.h"))
    parser.add_argument("--out", type=os.path.abspath, default=os.path.join(TOP, "build/sim-bugs"))
    options = parser.parse_intermixed_args()
    with open(options.program, "rb") as file:
        name = hashlib.sha256(file.read()).hexdigest()[:12]
    options.folder = os.path.join(options.out, name + ("-from-one" if options.from_one else ""))
    os.makedirs(options.folder, exist_ok=True)
    return options


def main():
    options = parse()
    rows, tested = planted(options.list)
    surveys = {scenario: Survey(options, scenario) for scenario in TURNS}
    hunts = []
    for bug in options.bugs or sorted(rows):
        scenario, seed = rows.get(bug, ("lattice-storm", 0))
        if options.scenario and options.scenario != scenario:
            scenario, seed = options.scenario, 0
        hunts.append(Hunt(options, bug, surveys[scenario], seed if seed <= options.seeds else 0))
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
          f"median by {statistics.median(caught or [0]):.0f}, at most by {max(caught or [0])}; "
          f"{time.monotonic() - began:.0f} s")
    for hunt in hunts:
        if hunt.state["seed"] == 0:
            print(hunt.line())
    unlisted = [] if options.bugs else sorted(bugs_of_code() - set(rows) - set(tested))
    for bug in unlisted:
        print(f"{bug} stands in no list of tests/planted_bugs.h")
    sys.exit(0 if len(caught) == len(hunts) and not unlisted else 1)


if __name__ == "__main__":
    main()
