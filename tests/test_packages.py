#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real input: this machine's Debian package lists go through `lathwork load`, with kill -9 in the
middle of it. Then lookups, prefix scans, and a transaction that touches hundreds of them.

    tests/test_packages.py      $LATHWORK names the program; build/debug/lathwork if it does not

After each kill and restart, what is there must be a beginning of the input that ends where a batch
ends, with every acknowledged batch in it. Ends with "N passed, N failed".
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from packages_to_text import escaped, records  # noqa: E402

PROGRAM = os.path.abspath(os.environ.get("LATHWORK", "build/debug/lathwork"))
KILLS = 3
SEED = int(os.environ.get("LATHWORK_SEED", "20"))

passed = failed = 0


def check(name, good, more=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAIL: {name}: {more}")


def package_lists():
    """The source of the stanzas, and where it comes from."""
    if shutil.which("apt-cache"):
        done = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, timeout=120)
        if done.returncode == 0 and len(done.stdout) > 1_000_000:
            return done.stdout, "apt-cache dumpavail"
    path = "/var/lib/dpkg/status"
    if os.path.exists(path):
        with open(path, "rb") as file:
            return file.read(), path + " (there are no package lists)"
    stanzas = [b"Package: made-up-%05d\nVersion: 1\nDescription: %s" % (n, b"x" * (n % 2000))
               for n in range(20000)]
    return b"\n\n".join(stanzas), "made-up packages (this is no Debian)"


class Node:
    """A node in a folder, on a free port."""

    def __init__(self, folder):
        self.log = open(folder + ".log", "ab")
        self.process = subprocess.Popen(
            [PROGRAM, "start", "--data", folder, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=self.log)
        self.lines = [self.process.stdout.readline().decode() for _ in range(3)]
        if not self.lines[0].startswith("listening on "):
            self.process.kill()
            with open(folder + ".log", encoding="utf-8") as file:
                sys.exit("FAIL: the node did not start: " + file.read()[-2000:] + "\n0 passed, 1 failed")
        self.address = self.lines[0].split()[-1]

    def end(self, number):
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.log.close()
        return code

    def command(self, *arguments):
        return [PROGRAM, *arguments, "--addr", self.address]

    def run(self, *arguments, data=None):
        return subprocess.run(self.command(*arguments), input=data, capture_output=True, timeout=300)


def acknowledged_in(path):
    """The count in the last whole line `acknowledged N` that a load wrote."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")[:-1]
    counts = [int(line.split()[1]) for line in lines if line.startswith("acknowledged")]
    return counts[-1] if counts else 0


def there(node):
    """What is stored, as the lines of a dump."""
    done = node.run("dump")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def load_and_kill(folder, text, after, number):
    """Loads, and kills the node once `after` records are acknowledged, and a little later."""
    node = Node(folder)
    talk = f"{folder}.talk{number}"
    with open(talk, "wb") as file:
        loading = subprocess.Popen(node.command("load", "--progress", "--timeout", "2s", text),
                                   stdout=subprocess.DEVNULL, stderr=file)
    deadline = time.monotonic() + 300
    while acknowledged_in(talk) < after and loading.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(random.random() * 0.01)
    node.end(signal.SIGKILL)
    code = loading.wait(timeout=60)
    return acknowledged_in(talk), code


def check_kills(folder, text, keys, boundaries):
    """Every kill leaves a beginning of the input that ends with a batch."""
    low = 0
    for number in range(KILLS):
        after = int(len(keys) * (0.1 + 0.6 * random.random()))
        shutil.rmtree(folder, ignore_errors=True)
        acknowledged, code = load_and_kill(folder, text, after, number)
        node = Node(folder)
        stored = {line.split(b"\t", 1)[0] for line in there(node)}
        node.end(signal.SIGTERM)
        low = len(stored)
        what = f"kill {number + 1}: {acknowledged} acknowledged, {low} stored of {len(keys)}"
        print(what)
        check("the load was killed in its middle", 0 < acknowledged < len(keys), what)
        check("a load without its node does not end well", code in (3, 5), f"exit code {code}")
        check("every acknowledged batch is there", low >= acknowledged, what)
        check("they are the first of the input", stored == set(keys[:low]), what)
        check("no batch is torn", low in boundaries, what)
    return low


def check_lookups(node, expected, keys):
    for key in random.sample(keys, 25):
        done = node.run("get", "--escaped", key.decode("utf-8", "surrogateescape"))
        check("a lookup gives the stanza", done.stdout == expected[key] + b"\n", done.stderr)
    check("a package that there is not", node.run("get", "no-such-package").returncode == 1)
    for prefix in (b"lib", b"python3-", b"z", b"0ad"):
        done = node.run("scan", "--prefix", prefix.decode(), "--keys-only")
        wanted = sorted(key for key in keys if key.startswith(prefix))
        check(f"a scan of {prefix.decode()}", done.stdout.splitlines() == wanted,
              f"{len(done.stdout.splitlines())} keys for {len(wanted)}")
    done = node.run("scan", "--prefix", "lib", "--reverse", "--limit", "7", "--keys-only")
    wanted = sorted((key for key in keys if key.startswith(b"lib")), reverse=True)[:7]
    check("a scan backwards", done.stdout.splitlines() == wanted, done.stdout)


def check_transaction(node, expected, keys):
    """Moves some hundred packages to other names, and counts them, all at once."""
    chosen = random.sample(keys, 400)
    script = []
    for key in chosen:
        script.append(b'expect "' + key + b'" "' + expected[key].replace(b'"', b'\\"') + b'"')
        script.append(b'insert "moved/' + key + b'" "' + expected[key].replace(b'"', b'\\"') + b'"')
        script.append(b'del "' + key + b'"')
    script.append(b"put moved-count 400")
    script.append(b"scan moved/")
    text = b"\n".join(script) + b"\n"
    broken = text.replace(b"put moved-count", b"expect-absent " + sorted(set(keys) - set(chosen))[0] +
                          b"\nput moved-count")
    done = node.run("txn", data=broken)
    check("a transaction of hundreds fails as a whole", done.returncode == 1, done.stderr)
    check("and leaves nothing", node.run("scan", "--prefix", "moved").stdout == b"")
    done = node.run("txn", data=text)
    check("a transaction of hundreds", done.returncode == 0, done.stderr)
    wanted = sorted(b"moved/" + key + b"\t" + expected[key] for key in chosen)
    check("it sees its own writes", sorted(done.stdout.splitlines()) == wanted)
    check("run again, it is refused", node.run("txn", data=text).returncode == 1)
    after = dict(expected)
    for key in chosen:
        after[b"moved/" + key] = after.pop(key)
    after[b"moved-count"] = b"400"
    return after


def check_stored(node, expected, name):
    stored = there(node)
    wanted = sorted(key + b"\t" + value for key, value in expected.items())
    check(name, sorted(stored) == wanted, f"{len(stored)} records for {len(wanted)}")
    found = [line.split(b"\t", 1)[0] for line in stored]
    check("in the order of their keys", found == sorted(found))


def main():
    random.seed(SEED)
    source, origin = package_lists()
    expected = {escaped(key): escaped(value) for key, value in records(source)}
    keys = list(expected)
    print(f"{len(keys)} packages, {len(source) >> 20} MiB, from {origin}; seed {SEED}")
    check("every stanza is there", len(keys) > 100)
    with tempfile.TemporaryDirectory() as root:
        text = root + "/packages.txt"
        with open(text, "wb") as file:
            file.writelines(key + b"\t" + value + b"\n" for key, value in expected.items())
        # An undisturbed load says where the batches end.
        node = Node(root + "/whole")
        began = time.monotonic()
        done = node.run("load", "--progress", text)
        took = time.monotonic() - began
        check("load", done.returncode == 0, done.stderr[-500:])
        lines = done.stderr.decode().splitlines()
        print(f"loaded in {took:.1f} s; {lines[-1]}")
        boundaries = {int(line.split()[1]) for line in lines[:-1]} | {0}
        check_stored(node, expected, "every record is there")
        check_lookups(node, expected, keys)
        expected_after = check_transaction(node, expected, keys)
        node.end(signal.SIGKILL)
        node = Node(root + "/whole")
        check_stored(node, expected_after, "all of it is there after kill -9")
        check("SIGTERM ends it well", node.end(signal.SIGTERM) == 0)
        check("the folder is sound", subprocess.run(
            [PROGRAM, "check", root + "/whole"], capture_output=True, timeout=120).returncode == 0)
        check_kills(root + "/killed", text, keys, boundaries)
        node = Node(root + "/killed")
        check("load again", node.run("load", text).returncode == 0)
        check_stored(node, expected, "every record is there, loaded over a part of it")
        node.end(signal.SIGTERM)


try:
    main()
except Exception as error:  # pylint: disable=broad-except
    check("the test itself", False, repr(error))
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
