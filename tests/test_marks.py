#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Marks that no scenario reaches stand in sim/coverage.c with a test that does: each is still a mark of
the code, and the test is there."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
rows = re.findall(r'\{"([a-z_.]+)", "([a-z_.]+)"\}', (root / "sim/coverage.c").read_text())
code = "".join(path.read_text() for folder in ("base", "storage", "txn", "lattice", "node", "client")
               for path in (root / folder).glob("*.c"))
passed = failed = 0
for mark, test in rows:
    path = root / "tests" / (test if "." in test else test + ".c")
    known = f'"{mark}"' in code
    passed += known and path.exists()
    failed += not (known and path.exists())
    if not known or not path.exists():
        print(f"{mark}: {'no mark of the code' if not known else f'there is no tests/{path.name}'}")
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0 or passed == 0)
