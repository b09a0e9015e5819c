#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a node that joins a lattice takes to hold its share, and what that costs those who write.

    tests/bench_grow.py [PROGRAM] [--records N] [--shard-size SIZE] [--before S] [--limit S]

Three nodes on this machine are filled with N records (a million) of 990 bytes of noise, as text, then written and read by 16 clients (workload A of `lathwork bench`, on records of its own). After a
while a fourth one joins. Printed are
the commits a second before, meanwhile and afterwards, as the nodes count them, and the seconds
until the fourth holds nine tenths of its share: three replicas of each shard over four nodes."""
import argparse
import base64
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

PORT = 27971
SHARE = 3 / 4 * 0.9


class Lattice:
    def __init__(self, program, folder, shard_size):
        self.program, self.folder, self.shard_size = program, folder, shard_size
        self.nodes, self.counts = [], {}

    def address(self, index):
        return f"127.0.0.1:{PORT + index}"

    def start(self, index):
        data = os.path.join(self.folder, str(index))
        command = [self.program, "start", "--data", data, "--listen", self.address(index),
                   "--memory", "256M", "--shard-size", self.shard_size]
        if index > 0:
            command += ["--join", self.address(0), "--token-file",
                        os.path.join(self.folder, "0", "join-token")]
        log = open(os.path.join(self.folder, f"{index}.log"), "w")
        self.nodes.append(subprocess.Popen(command, stdout=log, stderr=log))
        end = time.monotonic() + 30
        while "listening on" not in open(log.name).read():
            if time.monotonic() > end or self.nodes[-1].poll() is not None:
                sys.exit(f"node {index} did not start: see {log.name}")
            time.sleep(0.05)

    def ask(self, index, *command):
        done = subprocess.run([self.program, *command, "--addr", self.address(index), "--json"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def commits(self):
        """New ones since the last call, of all nodes: counters begin anew where shards move."""
        new = 0
        for index in range(len(self.nodes)):
            status = self.ask(index, "status")
            for shard in status["shards"] if status else []:
                key = (index, shard["id"])
                before = self.counts.get(key, 0)
                now = shard["commits"]
                new += now - before if now >= before else now
                self.counts[key] = now
        return new

    def reads(self):
        states = [self.ask(index, "status") for index in range(len(self.nodes))]
        return sum(shard["reads"] for state in states if state for shard in state["shards"])

    def held(self, index):
        """Replicas of the lattice's shards, and those that a node holds as a voter."""
        shards = self.ask(0, "shards")
        status = self.ask(index, "status")
        if not shards or not status:
            return 0, 1
        held = sum(any(r["node"] == status["node"] and r["role"] == "voter" for r in s["replicas"])
                   for s in shards)
        return held, len(shards)

    def spread(self):
        shards = self.ask(0, "shards") or []
        return all(sum(r["role"] == "voter" for r in s["replicas"]) == 3 for s in shards)

    def stop(self):
        for node in self.nodes:
            node.send_signal(signal.SIGTERM)
        for node in self.nodes:
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()


def fill(lattice, count):
    """In an order that spreads over all keys, so that tables lie over one another."""
    load = subprocess.Popen(
        [lattice.program, "load", "--timeout", "60s", "--addr", lattice.address(0)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for number in range(count):
        value = base64.b64encode(os.urandom(990))
        load.stdin.write(b"grow/%012d\t%s\n" % (number * 7919 % count, value))
    load.stdin.close()
    if load.wait() != 0:
        sys.exit("the records could not be stored")


def watch(lattice, seconds, until=lambda: False):
    """Commits a second, second by second, until then or so long."""
    lattice.commits()
    rates, begin = [], time.monotonic()
    last = begin
    while time.monotonic() - begin < seconds and not until():
        time.sleep(max(0, last + 1 - time.monotonic()))
        new, now = lattice.commits(), time.monotonic()
        rates.append(new / (now - last))
        last = now
    return rates, time.monotonic() - begin


def main():
    options = argparse.ArgumentParser()
    options.add_argument("program", nargs="?", default="build/release/lathwork")
    options.add_argument("--records", type=int, default=1_000_000)
    options.add_argument("--shard-size", default="128M")
    options.add_argument("--before", type=int, default=20)
    options.add_argument("--limit", type=int, default=180)
    options.add_argument("--keep", action="store_true")
    given = options.parse_args()
    folder = tempfile.mkdtemp(prefix="lathwork-grow-")
    lattice = Lattice(given.program, folder, given.shard_size)
    writer = None
    try:
        for index in range(3):
            lattice.start(index)
        end = time.monotonic() + 30
        while not lattice.spread() and time.monotonic() < end:
            time.sleep(0.5)
        begin = time.monotonic()
        fill(lattice, given.records)
        time.sleep(10)  # splits, and leaders that find their places
        print(f"filled with {given.records} records in {time.monotonic() - begin:.0f} s, "
              f"{lattice.held(0)[1]} shards", flush=True)
        reads = lattice.reads()
        writer = subprocess.Popen(
            [given.program, "bench", "A", "--records", "20000", "--timeout", "60s",
             "--duration", f"{given.before + given.limit + 60}s", "--addr", lattice.address(0)],
            stdout=subprocess.DEVNULL, stderr=open(os.path.join(folder, "bench.log"), "w"))
        # It reads once it has stored all of them.
        while writer.poll() is None and lattice.reads() < reads + 5000:
            time.sleep(0.5)
        if writer.poll() is not None:
            sys.exit(f"the bench ended: see {folder}/bench.log")
        before, _ = watch(lattice, given.before)
        lattice.start(3)

        def done():
            held, count = lattice.held(3)
            return held >= SHARE * count

        meanwhile, taken = watch(lattice, given.limit, done)
        held, count = lattice.held(3)
        time.sleep(15)
        after, _ = watch(lattice, given.before)
        rate, later = statistics.median(before), statistics.median(meanwhile)
        settled = statistics.median(after)
        print(f"before      {rate:8.0f} commits/s (median of {len(before)} s)")
        print(f"meanwhile   {later:8.0f} commits/s ({100 * later / rate:.0f} %), "
              f"lowest second {min(meanwhile):.0f}")
        print(f"afterwards  {settled:8.0f} commits/s ({100 * settled / rate:.0f} %), with four nodes")
        print(f"the fourth  {held} of {count} shards after {taken:.0f} s"
              f"{'' if held >= SHARE * count else ': not its share yet'}")
    finally:
        if writer is not None and writer.poll() is None:
            writer.kill()
        lattice.stop()
        if given.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
