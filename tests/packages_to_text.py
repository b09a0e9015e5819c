#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns Debian package lists into the text form that `lathwork load` reads (docs/TEXT_FORM.md).

    apt-cache dumpavail | tests/packages_to_text.py > records.txt
    tests/packages_to_text.py /var/lib/dpkg/status > records.txt

A record per stanza, in the order of the input: the key is the name of the package, the value the
stanza. A name that comes again, with another version, has the key NAME=VERSION.
"""
import re
import sys

SPECIAL = {0x09: b"\\t", 0x0A: b"\\n", 0x5C: b"\\\\"}
UNSAFE = re.compile(rb"[\x00-\x1f\x5c\x7f]")


def escaped(data):
    return UNSAFE.sub(lambda found: SPECIAL.get(found[0][0], b"\\x%02x" % found[0][0]), data)


def field(stanza, name):
    found = re.search(rb"^" + name + rb": *(.*?)\s*$", stanza, re.MULTILINE)
    return found[1] if found else b""


def records(source):
    """Yields the key and the value of every stanza."""
    seen = set()
    for stanza in re.split(rb"\n(?:[ \t]*\n)+", source.strip(b"\n")):
        key = field(stanza, b"Package")
        if not key:
            continue
        if key in seen:
            key += b"=" + field(stanza, b"Version")
        if key not in seen:
            seen.add(key)
            yield key, stanza


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    if len(sys.argv) == 2:
        with open(sys.argv[1], "rb") as file:
            source = file.read()
    else:
        source = sys.stdin.buffer.read()
    for key, value in records(source):
        sys.stdout.buffer.write(escaped(key) + b"\t" + escaped(value) + b"\n")


if __name__ == "__main__":
    main()
