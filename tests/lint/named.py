#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What README.md and docs/ name must be there: files, and targets of make.

    named.py ROOT

A file is a word that begins with one of our folders and ends as files do; `{a,b}` stands for both,
`*` for any. A target is the word behind "make" where code is shown."""
import pathlib
import re
import sys

import project

FOLDERS = "base|storage|txn|lattice|client|node|sim|tests|docs"
FILE = re.compile(r"(?<![\w/.-])(?:%s)/[\w./*{},-]*\.(?:c|h|sh|py|md|svg|html|patch)\b" % FOLDERS)
CODE = re.compile(r"`([^`\n]+)`|^ {4}(.*)$", re.MULTILINE)
TARGET = re.compile(r"(?:^|[\s;&])make +(?:-\S+ +|[A-Z]\w*=\S+ +)*([a-z][\w-]*)")
RULE = re.compile(r"^([a-z][\w -]*):(?!=)", re.MULTILINE)


def alternatives(name):
    match = re.search(r"\{([^}]*)\}", name)
    if match is None:
        return [name]
    return [one for part in match.group(1).split(",")
            for one in alternatives(name[:match.start()] + part + name[match.end():])]


def check(root):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = {target for rule in RULE.findall(makefile) for target in rule.split()}
    for path in [root / "README.md", *sorted(root.glob("docs/*.md"))]:
        text = path.read_text(encoding="utf-8")
        code = "\n".join(span or line for span, line in CODE.findall(text))
        absent = {f"make {target}" for target in TARGET.findall(code) if target not in targets}
        absent |= {name for found in FILE.findall(text) for name in alternatives(found)
                   if not any(root.glob(name))}
        for name in sorted(absent):
            yield f"{path.relative_to(root)}: names {name}, which is not there"


def main():
    project.report("named", list(check(pathlib.Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
