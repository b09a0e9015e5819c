#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The simulator for as long as one likes: fresh seeds of every scenario on all processors.

  tests/sim_long.py PROGRAM OTHER [--seconds 1800] [--seed N] [--jobs N] [--out DIR]

Each seed runs once in PROGRAM and once in OTHER, built from the same sources by another compiler and
run on another heap; the hash of all that happened must be the same. Ends with exit code 1 when a run
failed, when hashes differ, or when a coverage mark was never reached by any run; the counts of all
marks are printed. DIR (build/sim-long) keeps reports, lists of faults, and RECORD.md: a row for the
table of clean seeds in docs/SIMULATION.md.
"""
import argparse
import collections
import json
import os
import subprocess
import sys
import textwrap
import threading
import time

SEEDS_A_TURN = 2  # of every scenario: how much is lost when the time is up
SELDOM = 5  # times at most
# For OTHER: fresh memory is filled, small pieces come without a cache, large ones from elsewhere.
OTHER_HEAP = ("glibc.malloc.perturb=165:glibc.malloc.tcache_count=0:"
              "glibc.malloc.mmap_threshold=40960:glibc.malloc.top_pad=3000000")


class Tally:
    """What all turns came to; guarded by `lock`."""

    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.next_seed = options.seed
        self.end = time.monotonic() + options.seconds
        self.numbers = collections.Counter()
        self.marks = collections.Counter()
        self.faults = collections.Counter()
        self.never = None
        self.scenarios = set()
        self.failed_seeds = set()
        self.seeds = 0
        self.troubles = []

    def take(self):
        with self.lock:
            if time.monotonic() >= self.end:
                return None
            seed = self.next_seed
            self.next_seed += SEEDS_A_TURN
            return seed

    def trouble(self, seed, text):
        with self.lock:
            self.failed_seeds.add(seed)
            self.troubles.append(text)
            print(text, flush=True)

    def add(self, told, hashes):
        with self.lock:
            self.seeds += SEEDS_A_TURN
            for name in ("runs", "failed_runs", "simulated_ms", "committed", "violations"):
                self.numbers[name] += told[name]
            self.marks.update(told["marks"])
            self.faults.update(told["faults"])
            never = set(told["marks_never_reached"])
            self.never = never if self.never is None else self.never & never
            self.scenarios.update(scenario for scenario, _ in hashes)

    def clean_in_a_row(self):
        """The longest row of seeds without a failure."""
        longest = row = 0
        for seed in range(self.options.seed, self.options.seed + self.seeds):
            row = 0 if seed in self.failed_seeds else row + 1
            longest = max(longest, row)
        return longest


def simulate(program, seed, name, options, environment):
    """Runs a turn; what the program told, and the hash of each run."""
    hashes = os.path.join(options.out, f"{name}-{seed}.hashes")
    command = [program, "sim", "--once", "--json", "--seed", str(seed), "--runs",
               str(SEEDS_A_TURN), "--hashes", hashes]
    if options.scenario:
        command += ["--scenario", options.scenario]
    done = subprocess.run(command, cwd=options.out, capture_output=True, text=True,
                          env={**os.environ, **environment}, check=False)
    try:
        told = json.loads(done.stdout)
    except json.JSONDecodeError:
        told = None
    with open(hashes, encoding="utf-8") as file:
        found = {(scenario, int(number)): digest
                 for scenario, number, digest, *_ in map(str.split, file)}
    os.unlink(hashes)
    return told, found, done.stderr


def turn(tally, seed):
    options = tally.options
    told, hashes, report = simulate(options.program, seed, "one", options, {})
    _, others, _ = simulate(options.other, seed, "other", options, {"GLIBC_TUNABLES": OTHER_HEAP})
    if told is None:
        tally.trouble(seed, f"seeds from {seed}: the program told nothing: {report[-2000:]}")
        return
    for failure in told["failures"]:
        path = os.path.join(options.out, f"{failure['scenario']}-{failure['seed']}.report")
        with open(path, "w", encoding="utf-8") as file:
            file.write(report)
        tally.trouble(failure["seed"], f"{failure['scenario']} {failure['seed']}: "
                      f"{failure['violations'][0]}\n  again with: {failure['replay']}")
    for run, digest in hashes.items():
        if others.get(run) != digest:
            tally.trouble(run[1], f"{run[0]} {run[1]}: hash {digest} in one build, "
                          f"{others.get(run)} in the other")
    tally.add(told, hashes)


def work(tally):
    while (seed := tally.take()) is not None:
        turn(tally, seed)


def commit_of(folder):
    told = subprocess.run(["git", "-C", folder, "log", "-1", "--format=%h"], capture_output=True,
                          text=True, check=False)
    return told.stdout.strip() or "unknown"


def wrapped(head, items, width=100):
    """The items behind a head, on as many lines as they take."""
    return textwrap.fill(", ".join(items), width=width, initial_indent=f"{head:<11} ",
                         subsequent_indent=" " * 12, break_long_words=False,
                         break_on_hyphens=False)


def print_counts(tally):
    """How often each mark was reached, a paragraph for each part of the code; rare ones again."""
    parts = collections.defaultdict(list)
    for name, count in sorted(tally.marks.items()):
        part, _, rest = name.partition(".")
        parts[part].append(f"{rest}\u00a0{count}")
    for part, items in parts.items():
        print(wrapped(part, items))
    print(wrapped("faults", [f"{name}\u00a0{count}" for name, count in sorted(tally.faults.items())]))
    seldom = sorted((count, name) for name, count in tally.marks.items() if 0 < count <= SELDOM)
    if seldom:
        print(wrapped("seldom", [f"{name}\u00a0{count}" for count, name in seldom]))


def summary(tally):
    numbers = tally.numbers
    hours = numbers["simulated_ms"] / 3.6e6
    print_counts(tally)
    print(f"{tally.seeds} seeds of {len(tally.scenarios)} scenarios, {numbers['runs']} runs, "
          f"{hours:.1f} simulated hours, {numbers['committed']} commits, "
          f"{len(tally.failed_seeds)} seeds failed, {tally.clean_in_a_row()} clean in a row")
    row = (f"| {time.strftime('%Y-%m-%d', time.gmtime())} | {commit_of(os.path.dirname(__file__))} | "
           f"{tally.options.seed} | {tally.seeds} | {numbers['runs']} | {hours:.1f} | "
           f"{len(tally.failed_seeds)} | {tally.clean_in_a_row()} |")
    with open(os.path.join(tally.options.out, "RECORD.md"), "a", encoding="utf-8") as file:
        file.write(row + "\n")
    print(row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("other", type=os.path.abspath)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--scenario", help="this one only: then not every mark is asked for")
    parser.add_argument("--out", type=os.path.abspath, default=os.path.abspath("build/sim-long"))
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    tally = Tally(options)
    workers = [threading.Thread(target=work, args=(tally,)) for _ in range(options.jobs)]
    for worker in workers:
        worker.start()
    told = time.monotonic()
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.2)
        if time.monotonic() - told > 30:
            told = time.monotonic()
            print(f"{tally.seeds} seeds, {tally.numbers['runs']} runs, "
                  f"{len(tally.failed_seeds)} failed", flush=True)
    summary(tally)
    never = sorted(tally.never or []) if not options.scenario else []
    if never:
        print(wrapped("never", never))
    sys.exit(1 if tally.troubles or never else 0)


if __name__ == "__main__":
    main()
