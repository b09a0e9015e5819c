#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real processes of a lattice in trouble. Each round starts nodes in network namespaces of their own,
lets clients record what they are told while nodes are killed, stopped, cut off, filled up, joined,
drained, split and merged, heals everything, and has the histories judged by `lathwork sim --check`.
In the end all nodes are killed at once and started again: what was acknowledged is there.

  torture.py PROGRAM [--rounds N] [--seconds S] [--nodes N] [--seed N] [--only TROUBLE,...]
             [--keep FOLDER]

Needs root, for the namespaces (iproute2). Ends with "N passed, N failed"."""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

WORKLOADS = ("append", "bank", "register")
PORT = 7871
NODES_MAX = 5
DISK_SIZE = 256 << 20
FILLER = "filler"


def run(*words, check=True, timeout=60):
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done


def hit(process, number):
    """A signal to a process that may have ended meanwhile."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass


class Node:
    """A node in a namespace: its address is on one interface, its broker's on another."""

    def __init__(self, lattice, number):
        self.lattice, self.number = lattice, number
        self.space = f"lw{lattice.tag}n{number}"
        self.address = f"10.{lattice.subnet}.0.{number}"
        self.bus = f"10.{lattice.subnet}.1.{number}"
        self.folder = os.path.join(lattice.folder, f"n{number}")
        self.log = os.path.join(lattice.folder, f"n{number}.log")
        self.process = None
        self.stopped = False
        self.gone = False  # it left
        lattice.space(self.space, (self.address, self.bus))
        self.give_disk()

    def give_disk(self):
        """A small file system of its own, which can be filled."""
        image = f"{self.folder}.image"
        os.makedirs(self.folder)
        with open(image, "wb") as file:
            file.truncate(DISK_SIZE)
        run("mkfs.ext4", "-q", image)
        run("mount", "-o", "loop", image, self.folder)
        shutil.rmtree(os.path.join(self.folder, "lost+found"))

    def take_disk(self):
        run("umount", self.folder, check=False)

    def fill(self):
        """Takes all room that is left."""
        with open(os.path.join(self.folder, FILLER), "wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
                    file.flush()
            except OSError:
                pass

    def empty(self):
        try:
            os.remove(os.path.join(self.folder, FILLER))
        except OSError:
            pass

    def start(self, join=None):
        words = ["ip", "netns", "exec", self.space, self.lattice.program, "start",
                 "--data", self.folder, "--listen", f"{self.address}:{PORT}",
                 "--bus-listen", self.bus, "--memory", "32M", "--dead-after", "8s"]
        if join is not None:
            words += ["--join", f"{join.address}:{PORT}", "--token-file", self.lattice.token]
        with open(self.log, "a", encoding="utf-8") as log:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(words, stdout=log, stderr=log, preexec_fn=os.setpgrp)
        self.stopped = False

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.running():
            os.kill(self.process.pid, number)
            self.stopped = number == signal.SIGSTOP or (self.stopped and number != signal.SIGCONT)

    def kill(self):
        if self.running():
            self.signal(signal.SIGKILL)
            self.process.wait()

    def brokers(self):
        """Process numbers of the nats-server that this node started."""
        if not self.running():
            return []
        found = run("ps", "-o", "pid=,comm=", "--ppid", str(self.process.pid), check=False)
        return [int(line.split()[0]) for line in found.stdout.splitlines() if "nats" in line]


class Lattice:
    """Nodes, the bridge between them, and a namespace for the clients."""

    def __init__(self, program, count, chance):
        self.program, self.chance = program, chance
        unique = random.SystemRandom()
        self.tag = f"{unique.randrange(1 << 16):04x}"
        self.subnet = unique.randrange(64, 250)
        self.folder = tempfile.mkdtemp(prefix="lathwork-torture.")
        self.token = os.path.join(self.folder, "n1", "join-token")
        self.spaces = []
        self.bridge = f"lwb{self.tag}"
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "link", "set", self.bridge, "up")
        self.clients = f"lw{self.tag}c"
        self.space(self.clients, (f"10.{self.subnet}.0.250",))
        self.nodes, self.left, self.made = [], [], 0
        for _ in range(count):
            self.add()

    def space(self, name, addresses):
        run("ip", "netns", "add", name)
        self.spaces.append(name)
        outer, inner = f"v{name}", f"w{name}"
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
        run("ip", "link", "set", outer, "master", self.bridge, "up")
        run("ip", "link", "set", inner, "netns", name)
        for address in addresses:
            run("ip", "-n", name, "addr", "add", f"{address}/16", "dev", inner)
        run("ip", "-n", name, "link", "set", inner, "up")
        run("ip", "-n", name, "link", "set", "lo", "up")

    def add(self):
        self.made += 1
        node = Node(self, self.made)
        node.start(self.nodes[0] if self.nodes else None)
        self.nodes.append(node)
        wait(lambda: self.command("ping", node=node).returncode == 0, 20, f"n{node.number} serves")
        return node

    def command(self, *words, node=None, timeout=15):
        """A command of the program, from where the clients are."""
        at = ",".join(f"{one.address}:{PORT}" for one in ([node] if node else self.nodes))
        return run("ip", "netns", "exec", self.clients, self.program, words[0], "--addr", at,
                   "--timeout", f"{timeout - 2}s", *words[1:], check=False, timeout=timeout + 10)

    def healthy(self):
        told = self.command("status", "--json")
        try:
            return told.returncode == 0 and json.loads(told.stdout)["health"] == "healthy"
        except (ValueError, KeyError):
            return False

    # ---- trouble ----

    def cut(self, one, other, both=True, data=True, bus=True):
        """Drops what `one` sends to `other`."""
        for address, wanted in ((other.address, data), (other.bus, bus)):
            if wanted:
                run("ip", "-n", one.space, "route", "replace", "blackhole", f"{address}/32",
                    check=False)
        if both:
            self.cut(other, one, False, data, bus)

    def heal(self):
        for node in self.nodes:
            for other in self.nodes:
                for address in (other.address, other.bus):
                    run("ip", "-n", node.space, "route", "del", "blackhole", f"{address}/32",
                        check=False)
            node.signal(signal.SIGCONT)
            for broker in node.brokers():
                hit(broker, signal.SIGCONT)
            node.empty()
            if not node.running():
                node.start()

    def close(self):
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.kill()
        for node in self.nodes + self.left:
            node.take_disk()
        for name in self.spaces:
            run("ip", "netns", "del", name, check=False)
        run("ip", "link", "del", self.bridge, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def wait(what, seconds, name):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.05)
    raise RuntimeError(f"not within {seconds} s: {name}")


# ---- what can go wrong: each strikes once, and lasts as long as it likes ----

def kill_one(lattice, chance):
    node = chance.choice(lattice.nodes)
    node.kill()
    time.sleep(chance.uniform(0, 2))
    node.start()


def kill_all(lattice, _chance):
    for node in lattice.nodes:
        node.kill()
    for node in lattice.nodes:
        node.start()


def stop_one(lattice, chance):
    node = chance.choice(lattice.nodes)
    node.signal(signal.SIGSTOP)
    time.sleep(chance.choice((0.5, 2, 6)))
    node.signal(signal.SIGCONT)


def cut_one(lattice, chance):
    lonely = chance.choice(lattice.nodes)
    both, plane = chance.random() < 0.6, chance.choice(("all", "data", "bus"))
    for other in lattice.nodes:
        if other is not lonely and (chance.random() < 0.7):
            lattice.cut(lonely, other, both, plane != "bus", plane != "data")
    time.sleep(chance.uniform(0.5, 6))
    lattice.heal()


def kill_brokers(lattice, chance):
    end = time.monotonic() + chance.uniform(1, 5)
    while time.monotonic() < end:
        for node in lattice.nodes:
            for broker in node.brokers():
                hit(broker, signal.SIGKILL)
        time.sleep(0.05)


def stop_brokers(lattice, chance):
    for node in lattice.nodes:
        for broker in node.brokers():
            if chance.random() < 0.6:
                hit(broker, signal.SIGSTOP)
    time.sleep(chance.uniform(1, 5))
    lattice.heal()


def split(lattice, chance):
    key = chance.choice(("bench/list/%08d" % chance.randrange(400),
                         "bench/bank/%02d" % chance.randrange(16),
                         "bench/register/%02d" % chance.randrange(12)))
    lattice.command("split", key)


def merge(lattice, chance):
    """Mostly it is refused: the last one, or somebody is away."""
    told = lattice.command("shards", "--json")
    try:
        shards = json.loads(told.stdout)
    except ValueError:
        return
    if shards:
        lattice.command("merge", str(chance.choice(shards)["id"]))


def move_leader(lattice, chance):
    told = lattice.command("shards", "--json")
    try:
        shards = json.loads(told.stdout)
    except ValueError:
        return
    if shards:
        shard = chance.choice(shards)
        target = chance.choice(shard["replicas"])["node"]
        lattice.command("transfer", str(shard["id"]), str(target))


def fill_one(lattice, chance):
    node = chance.choice(lattice.nodes)
    node.fill()
    time.sleep(chance.uniform(0.5, 4))
    node.empty()


def join_one(lattice, _chance):
    """One that does not get in, in all this, is as if it had never been."""
    if lattice.made < NODES_MAX:
        try:
            lattice.add()
        except RuntimeError:
            lattice.nodes[-1].kill()
            lattice.left.append(lattice.nodes.pop())


def drain_one(lattice, chance):
    if len(lattice.nodes) > 3:
        node = chance.choice(lattice.nodes)
        lattice.command("drain", f"{node.address}:{PORT}")
        time.sleep(chance.uniform(0, 3))
        lattice.command("drain", "--undo", f"{node.address}:{PORT}")


def leave_one(lattice, chance):
    """The last one that came goes for ever."""
    node = lattice.nodes[-1]
    if len(lattice.nodes) > 3:
        lattice.command("leave", f"{node.address}:{PORT}")
        try:
            wait(lambda: not node.running(), chance.uniform(5, 20), "it ended")
        except RuntimeError:
            return  # it cannot leave yet, and goes on
        lattice.left.append(lattice.nodes.pop())


TROUBLES = {"full": fill_one, "join": join_one, "drain": drain_one, "leave": leave_one, "kill": kill_one, "all": kill_all, "stop": stop_one, "cut": cut_one,
            "brokers": kill_brokers, "bus": stop_brokers, "split": split,
            "merge": merge, "lead": move_leader}


# ---- a round ----

class Round:
    def __init__(self, options, number):
        self.options = options
        self.seed = options.seed + number
        self.chance = random.Random(self.seed)
        self.passed, self.failed = 0, 0
        self.lattice = Lattice(options.program, options.nodes, self.chance)

    def ok(self, name, good, detail=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAIL: seed {self.seed}: {name}: {detail[:2000]}", flush=True)

    def record(self):
        at = ",".join(f"{node.address}:{PORT}" for node in self.lattice.nodes)
        recorders = []
        for workload in WORKLOADS:
            history = os.path.join(self.lattice.folder, workload)
            words = ["ip", "netns", "exec", self.lattice.clients, self.options.program, "bench",
                     "--addr", at, "--workload", workload, "--history", history, "--clients", "6",
                     "--timeout", "4s", "--duration", f"{self.options.seconds}s"]
            # pylint: disable-next=consider-using-with
            recorders.append((workload, history, subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)))
        return recorders

    def strike(self):
        names = self.options.only.split(",") if self.options.only else list(TROUBLES)
        chosen = [name for name in names if self.chance.random() < 0.7] or names
        end = time.monotonic() + self.options.seconds
        struck = []
        while time.monotonic() < end:
            time.sleep(self.chance.uniform(0.2, 2))
            name = self.chance.choice(chosen)
            struck.append(name)
            TROUBLES[name](self.lattice, self.chance)
        self.lattice.heal()
        return struck

    def judge(self, recorders):
        told = 0
        for workload, history, process in recorders:
            try:
                words, _ = process.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                words, _ = process.communicate()
            self.ok(f"{workload} is recorded, with final reads", process.returncode == 0, words)
            verdict = run(self.options.program, "sim", "--check", history, check=False, timeout=120)
            sound = verdict.returncode == 0
            self.ok(f"{workload} is sound", sound, verdict.stderr + verdict.stdout)
            told += int(words.split()[0]) if words.split() and words.split()[0].isdigit() else 0
            if not sound and self.options.keep:
                shutil.copy(history, os.path.join(self.options.keep, f"{self.seed}-{workload}"))
        self.ok("clients got on", told > 20 * self.options.seconds, f"{told} operations")
        return told

    def play(self):
        lattice = self.lattice
        try:
            wait(lattice.healthy, 30, "the lattice is healthy")
            recorders = self.record()
            struck = self.strike()
            told = self.judge(recorders)
            wait(lattice.healthy, 60, "the lattice is healthy again")
            lattice.command("put", "kept", "yes")
            kill_all(lattice, self.chance)
            wait(lambda: lattice.command("get", "kept").stdout.strip() == "yes", 30,
                 "what was acknowledged is there after all were killed")
            for node in lattice.nodes:
                self.ok(f"n{node.number} runs", node.running(), tail(node.log))
            print(f"seed {self.seed}: {told} operations; {' '.join(struck)}", flush=True)
        # What the round's own code stumbles over must not leave anything behind either.
        except Exception as problem:  # pylint: disable=broad-exception-caught
            self.ok("the round ends", False,
                    f"{problem}\n" + "\n".join(tail(node.log) for node in lattice.nodes))
        finally:
            lattice.close()


def tail(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return f"{os.path.basename(path)}: " + "".join(file.readlines()[-5:])
    except OSError:
        return ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only")
    parser.add_argument("--keep")
    options = parser.parse_args()
    options.program = os.path.abspath(options.program)
    passed, failed = 0, 0
    for number in range(options.rounds):
        one = Round(options, number)
        one.play()
        passed, failed = passed + one.passed, failed + one.failed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
