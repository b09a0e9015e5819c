#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/sim_bugs.py with a program whose runs are made up: which seeds it runs, what it counts as
caught, and that it goes on where it was."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent
# Seeds: 3 fails always, 5 dies always; others pass the places of `easy` (every tenth), `fatal` and
# `endless` (seed 20), `hidden` (all), `nowhere` (none). Each bug shows where its place is passed, but
# for `hidden`, which never does, and `late`, which shows in seed 150.
PROGRAM = r"""#!/usr/bin/env python3
import json, sys
given = dict(zip(sys.argv[2:], sys.argv[3:]))
bug, path = given.get("--bug"), given["--hashes"]
first, count = int(given["--seed"]), int(given["--runs"])
open("%(log)s", "a").write(f"{bug} {first} {count}\n")
failures = []
with open(path, "w") as told:
    for seed in range(first, first + count):
        if seed == 5:
            print("x.c:1: assertion failed: seed != 5", file=sys.stderr)
            sys.stderr.flush()
            told.flush()
            import os; os.abort()
        places = {"a.hidden"}
        places |= {"a.easy"} if seed %% 10 == 0 else set()
        places |= {"a.fatal", "a.endless"} if seed == 20 else set()
        places |= {"a.late"} if seed in (100, 150) else set()
        if bug == "a.fatal" and seed == 20:
            print("y.c:2: assertion failed: all is well", file=sys.stderr)
            sys.exit(134)
        while bug == "a.endless" and seed == 20:
            pass
        shows = bug in places and bug != "a.hidden" and (bug != "a.late" or seed == 150)
        if seed == 3 or shows:
            failures.append({"seed": seed, "violations": ["it is wrong"]})
        told.write(f"crash {seed} 00 {'failed' if seed == 3 or shows else 'passed'} "
                   + " ".join(sorted(places)) + "\n")
        told.flush()
        if bug and failures:
            break
print(json.dumps({"failures": failures}))
sys.exit(1 if failures else 0)
"""
LIST = """
    X("a.easy", "crash", 7)      \\
    X("a.endless", "crash", 0)   \\
    X("a.fatal", "crash", 20)    \\
    X("a.hidden", "crash", 3)    \\
    X("a.late", "crash", 5000)   \\
    X("a.nowhere", "crash", 0)
    Y("a.tested", "test_of_it")
"""
passed = failed = 0


def ok(name, fine, why=""):
    global passed, failed
    passed, failed = passed + bool(fine), failed + (not fine)
    if not fine:
        print(f"not ok: {name}: {why}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        log, program, rows = folder / "log", folder / "program", folder / "rows"
        program.write_text(PROGRAM % {"log": log})
        program.chmod(0o755)
        rows.write_text(LIST)

        def hunt(*options):
            log.write_text("")
            done = subprocess.run([sys.executable, FOLDER / "sim_bugs.py", program, "--list", rows,
                                   "--out", folder / "out", "--seeds", "200", "--jobs", "1",
                                   "--run-seconds", "1", *options], capture_output=True, text=True,
                                  timeout=250, check=False)
            return done, log.read_text().splitlines()

        done, runs = hunt("a.easy")
        ok("a seed that finds it no more is followed by all from 1 on",
           re.search(r"a.easy +crash +10 it is wrong", done.stdout), done.stdout + done.stderr)
        ok("the known one is tried first", runs[0] == "a.easy 7 1", runs)
        ok("what is caught passes", done.returncode == 0 and
           "1 of 1 planted bugs are caught" in done.stdout, done.stdout)
        ok("only a seed that passes its place is run with it",
           [run for run in runs[1:] if run.startswith("a.")] == ["a.easy 10 1"], runs)

        done, runs = hunt("a.easy")
        ok("what is known is not looked for again", runs == [] and "10 it is wrong" in done.stdout,
           runs)

        done, runs = hunt("a.fatal")
        ok("a known seed costs two runs", runs == ["a.fatal 20 1", "None 20 1"], runs)
        ok("an assertion is told", "assertion failed: all is well" in done.stdout, done.stdout)

        done, _ = hunt("a.endless")
        ok("a run that does not end has caught it",
           re.search(r"a.endless +crash +20 it does not end", done.stdout), done.stdout)

        done, runs = hunt("a.hidden")
        ok("a seed that fails without it has not caught it",
           "not caught by 200 seeds, of which 198 pass its place" in done.stdout, done.stdout)
        ok("nor one that dies without it", not any(run.startswith("a.hidden 5") for run in runs), runs)
        ok("what is not caught fails", done.returncode == 1, done.returncode)

        done, runs = hunt("a.late", "a.nowhere")
        ok("seeds that were run without a bug are not run again",
           runs == ["a.late 100 1", "a.late 150 1"], runs)
        ok("a place that no seed passes costs nothing",
           "not caught by 200 seeds, of which 0 pass its place" in done.stdout, done.stdout)

        done, _ = hunt()
        ok("bugs of the code that stand in no list fail",
           done.returncode == 1 and "raft.cut_always stands in no list" in done.stdout, done.stdout)

    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0 or passed == 0)


main()
