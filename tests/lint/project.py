# SPDX-License-Identifier: Apache-2.0
"""What the linters share: the folders, their sources without comments, and their objects' symbols."""
import collections
import pathlib
import re
import subprocess
import sys

# Who may include whom (docs/ARCHITECTURE.md). Nothing includes sim or tests.
MAY_INCLUDE = {
    "base": set(),
    "storage": {"base"},
    "lattice": {"base"},
    "txn": {"base", "storage"},
    "client": {"base", "lattice", "txn"},
    "node": {"base", "storage", "txn", "lattice", "client"},
    "sim": {"base", "storage", "txn", "lattice", "client", "node"},
    "tests": {"base", "storage", "txn", "lattice", "client", "node", "sim"},
}
FOLDERS = [folder for folder in MAY_INCLUDE if folder != "tests"]
# The file that ties the one binary together may see everything.
MAIN = "node/main.c"

Symbol = collections.namedtuple("Symbol", "name kind section")


def sources(root, folders, endings=(".c", ".h")):
    """The paths of all sources of the folders, relative to root, sorted."""
    found = []
    for folder in folders:
        found += [path.relative_to(root).as_posix()
                  for path in (pathlib.Path(root) / folder).glob("*") if path.suffix in endings]
    return sorted(found)


def folder_of(path):
    return path.split("/")[0]


NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def without_comments(text):
    """Comments and the insides of strings become blanks; line numbers stay."""
    def blank(match):
        kept = re.sub(r"[^\n]", " ", match.group(0))
        return '"' + kept[1:-1] + '"' if match.group(0)[0] == '"' else kept
    return NOT_CODE.sub(blank, text)


def symbols(root, build, folders):
    """{source path: [Symbol]} of every object that lies in the build folder for a source that exists."""
    table = {}
    for path in sources(root, folders, (".c",)):
        lines = subprocess.run(
            ["nm", "--format=sysv", pathlib.Path(root) / build / (path[:-2] + ".o")],
            check=True, capture_output=True, text=True).stdout.splitlines()
        rows = [[column.strip() for column in line.split("|")] for line in lines]
        table[path] = [Symbol(row[0], row[2], row[6]) for row in rows if len(row) == 7 and row[2] != "Class"]
    return table


def report(name, findings):
    """Prints the findings, one a line, and ends the program: 1 if there are any."""
    for finding in findings:
        print(finding)
    print(f"{name}: {len(findings)} found" if findings else f"{name}: good")
    sys.exit(1 if findings else 0)
