#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""draws: no two draws of luck, nor two looks at a wall clock, which may jump in between, in one
expression, unless the language says which comes first.

    draws.py ROOT

Arguments, operands of an operator and members of an initializer are evaluated in whatever order a
compiler likes: a run of a seed would be another one in a build by another compiler. Behind &&, ||, ?
and the comma of a declaration the order is known, and a draw inside another one's arguments comes first.
"""
import pathlib
import re
import sys

import project

DRAW = re.compile(r"\b(lw_env_random(_\w+)?|lw_chance_(next|below|between|percent)|(\w+_)?below|draw_\w+|DRAW|LW_RARE|"
                  r"lw_env_(wall_ms|entropy)|clock_of|time_carried_on|lw_timestamps_(now|time_ms)|lw_oracle_\w+)\s*\(")
PAIRS = {")": "(", "]": "[", "}": "{"}
ORDERED = re.compile(r"&&|\|\||\?|:")
HEAD = re.compile(r"^\s*#.*(?:\\\n.*)*", re.MULTILINE)


def groups(text):
    """For every position the brackets around it, outermost first. A brace is one only as an
    initializer, behind "=", "(", "," or ")": any other begins statements."""
    stack, around = [], []
    for place, char in enumerate(text):
        if char in "([{":
            before = text[:place].rstrip()[-1:]
            stack.append((char if char != "{" or before in ("=", ",", "(") or compound(text, place)
                          else "block", place))
        around.append(tuple(stack))
        if char in PAIRS and stack:
            stack.pop()
    return around


def compound(text, place):
    """Whether the brace there is that of a compound literal: (type){...}"""
    return re.search(r"[=,(:?]\s*\(\s*(const )?[a-z]\w*(\[\w*\])?\s*\)\s*$", text[max(0, place - 80):place])


def at_level(text, around, begin, end, level):
    """What stands between, but for what is in deeper brackets, of which blocks are a ";"."""
    return "".join(text[place] if len(around[place]) <= level else
                   ";" if around[place][level:] == (("block", place),) else ""
                   for place in range(begin, end))


def unordered(text, around, one, other):
    """Whether two draws, one before the other in the text, may come in any order."""
    first, second = around[one.start()], around[other.start()]
    level = 0
    while level < min(len(first), len(second)) and first[level] == second[level]:
        level += 1
    if any(kind == "block" for kind, _ in first[level:] + second[level:]):
        return False  # a statement inside the other's
    if len(second) > level and second[level][1] == one.end() - 1:
        return False  # among its arguments
    between = at_level(text, around, one.end(), other.start(), level)
    in_brackets = level > 0 and first[level - 1][0] != "block"
    if ";" in between:
        return False
    if "," in between:
        return in_brackets  # else that of a declaration
    return not ORDERED.search(between)


def judge(root, path):
    text = HEAD.sub(lambda found: re.sub(r"[^\n]", " ", found.group(0)),
                    project.without_comments((pathlib.Path(root) / path).read_text()))
    around = groups(text)
    draws = [found for found in DRAW.finditer(text) if not is_declared(text, found)]
    for one, other in zip(draws, draws[1:]):
        if unordered(text, around, one, other):
            line = text.count("\n", 0, other.start()) + 1
            yield f"{path}:{line}: {other.group(1)} and {one.group(1)} may be called in either order"


def is_declared(text, found):
    """Whether this is the head of a function, not a call."""
    return re.search(r"[\w*]\s*$", text[:found.start()]) and not re.search(r"\breturn\s*$", text[:found.start()])


def main():
    root = sys.argv[1]
    project.report("draws", [finding for path in project.sources(root, project.FOLDERS)
                             for finding in judge(root, path)])


if __name__ == "__main__":
    main()
