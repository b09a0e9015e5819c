#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""yields: a function that calls one that may suspend says so itself.

    yields.py ROOT

A function is marked by LW_YIELDS before its name, where it is declared or defined; a member that
holds such a function is marked the same way. A definition that calls a marked function and is
not marked is a finding, except

  - the body of a fiber (given to lw_env_start or lw_fiber_start in the same file), where it begins;
  - a function of a header for users, client/lathwork.h or sim/lathwork_sim.h: each of these may wait;
  - main, and tests.

This reads text, not C: it sees calls by name. A call through a pointer that is not marked passes.
"""
import pathlib
import re
import sys

import project

WORD = re.compile(r"[A-Za-z_]\w*")
MARKED = re.compile(r"\bLW_YIELDS\b([^;{}]*)")
MEMBER = re.compile(r"\(\s*\*\s*(\w+)\s*\)\s*\(")
FUNCTION = re.compile(r"\b(\w+)\s*\(")
CALL = re.compile(r"(->|\.)?\s*\b([A-Za-z_]\w*)\s*\(")
START = re.compile(r"\blw_(?:env|fiber)_start\s*\(([^;]*);")
PUBLIC = re.compile(r"\bLW_PUBLIC\b[^;(]*?\b(\w+)\s*\(")
NOT_A_NAME = {"if", "for", "while", "switch", "return", "sizeof", "defined", "__attribute__"}


def code_of(text):
    """The text without comments and preprocessor lines."""
    text = project.without_comments(text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text,
                  flags=re.MULTILINE)


def marked_in(text):
    """(functions, members) that LW_YIELDS marks in the text."""
    functions, members = set(), set()
    for match in MARKED.finditer(text):
        member = MEMBER.search(match.group(1))
        name = FUNCTION.search(match.group(1))
        if member and (not name or member.start() < name.end()):
            members.add(member.group(1))
        elif name:
            functions.add(name.group(1))
    return functions, members


def definitions(text):
    """(line, name, body) of each function defined in the text: what stands before a brace at depth 0
    and looks like a function, and what stands between it and its closing brace."""
    depth = 0
    since = 0  # where the text before the next brace begins
    opened = 0
    for place, letter in enumerate(text):
        if letter == "{":
            if depth == 0:
                head, opened = text[since:place], place
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                name = next((m for m in FUNCTION.finditer(head) if m.group(1) not in NOT_A_NAME), None)
                if name and "=" not in head and not head.lstrip().startswith(("typedef", "struct", "enum")):
                    yield text.count("\n", 0, since + name.start()) + 1, name.group(1), text[opened:place]
                since = place + 1
        elif letter == ";" and depth == 0:
            since = place + 1


def check_file(path, text, functions, members, public):
    own_functions, own_members = marked_in(text)
    functions, members = functions | own_functions, members | own_members
    started = {word for call in START.findall(text) for word in WORD.findall(call)}
    for line, name, body in definitions(text):
        if name in functions or name in members or name in public or name in started or name == "main":
            continue
        for through, called in CALL.findall(body):
            if called in (members if through else functions):
                yield f"{path}:{line}: {name} calls {called}, which may suspend: mark it LW_YIELDS"
                break


def check(root):
    texts = {path: code_of((pathlib.Path(root) / path).read_text())
             for path in project.sources(root, project.FOLDERS)}
    functions, members, public = set(), set(), set()
    for path, text in texts.items():
        if path.endswith(".h"):
            more_functions, more_members = marked_in(text)
            functions |= more_functions
            members |= more_members
    for header in ("client/lathwork.h", "sim/lathwork_sim.h"):
        public |= set(PUBLIC.findall(texts.get(header, "")))
    for path, text in texts.items():
        yield from check_file(path, text, functions, members, public)


def main():
    project.report("yields", list(check(sys.argv[1])))


if __name__ == "__main__":
    main()
