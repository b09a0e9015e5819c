#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tables of hazards in docs/SIMULATION.md: of the rows of each hazard one names a planted bug that
runs find, or a test; tests that are named are there; and each planted bug is told of."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
text = (root / "docs/SIMULATION.md").read_text()
planted = (root / "tests/planted_bugs.h").read_text()
found = {bug for bug, seed in re.findall(r'X\("([a-z_.]+)", "[a-z-]+", (\d+)\)', planted) if seed != "0"}
tested = dict(re.findall(r'Y\("([a-z_.]+)", "([a-z_]+)"\)', planted))
names = {path.name.rsplit(".", 1)[0] for path in (root / "tests").iterdir()}
lasts = {"R": 18, "T": 17, "O": 6, "S": 17, "G": 11, "X": 8}
wanted = {f"{kind}{number}" for kind, last in lasts.items() for number in range(1, last + 1)} - {"X7"}
passed = failed = 0


def ok(fine, why):
    global passed, failed
    passed, failed = passed + bool(fine), failed + (not fine)
    if not fine:
        print(f"not ok: {why}")


shown = dict.fromkeys(wanted, False)
for row in re.findall(r"^\| [RTOSGX]\d.*$", text, re.M):
    head, _, caught = [cell.strip() for cell in row.strip("|").split(" | ")][:3]
    ids = re.match(r"[RTOSGX]\d+(, [RTOSGX]\d+)*", head).group().split(", ")
    tests = set(re.findall(r"\b(?:test|fuzz)_[a-z_]+\b", caught))
    ok(tests <= names, f"{head}: there is no {', '.join(sorted(tests - names))}")
    bugs = [bug for bug in found | set(tested) if re.search(rf"\b{re.escape(bug)}\b", caught)]
    for one in ids:
        shown[one] = shown.get(one, False) or bool(bugs or tests or "histories" in caught)
for one in sorted(wanted):
    ok(shown[one], f"nothing is told to catch {one}")
for bug, test in sorted(tested.items()):
    ok(test in names, f"{bug}: there is no {test}")
for bug in sorted(found | set(tested)):
    ok(bug in text, f"{bug} stands in no table of docs/SIMULATION.md")
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0 or passed == 0)
