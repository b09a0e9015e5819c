#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `make check` runs once gcc has compiled everything without a warning: formatting, clang's
# warnings, headers that stand alone, static analysis, and our own linters. Every check runs even if
# one before it found something. FAST=1 leaves out clang-tidy, which takes most of the time.
#
#   check.sh build/check     the folder with the objects to be judged
set -u
build=$1
cd "$(dirname "$0")/../.." || exit 2

folders="base storage txn lattice client node sim"
sources=$(for folder in $folders; do ls "$folder"/*.c; done)
headers=$(for folder in $folders tests; do ls "$folder"/*.h; done)
# The engines that `make bench` compares ours with need not be installed.
absent=$(for engine in rocksdb:rocksdb/c.h leveldb:leveldb/c.h lmdb:lmdb.h; do
    echo "#include <${engine#*:}>" | gcc -fsyntax-only -x c - 2>/dev/null || echo "tests/bench_${engine%%:*}.c"
done)
tests=$(for file in tests/*.c; do case $absent in *"$file"*) ;; *) echo "$file" ;; esac done)
flags="-std=gnu17 -D_GNU_SOURCE -DLW_SIMULATION -I. -I$build"
warnings="-Werror -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes -Wvla -Wswitch-enum"

# Gives the words of the input to a command, some at a time, two commands at once.
spread() {
    count=$1
    shift
    tr ' ' '\n' | xargs -P 2 -n "$count" "$@"
}

formatting() {
    echo "$sources" "$headers" tests/*.c client/examples/*.c storage/examples/*.c sim/examples/*.c | spread 64 clang-format --dry-run --Werror
}
clang_warnings() {
    # shellcheck disable=SC2086
    echo "$sources" "$tests" | spread 8 clang -fsyntax-only $flags $warnings
}
headers_stand_alone() {
    # shellcheck disable=SC2086
    echo "$headers" | spread 16 sh -c '
        for header; do gcc -fsyntax-only -x c '"$flags"' -Wall -Wextra -Werror "$header" || exit 255; done' sh
}
public_headers() {
    public_header "$build/lathwork.h" && public_header storage/lathwork_storage.h &&
        public_header "$build/lathwork_sim.h"
}
# Included, as users do: a header that is compiled itself may not hold functions that it does not use.
public_header() {
    for standard in c99 c17 c++11 c++20; do
        case $standard in
        c++*) language=c++ compilers="g++ clang++" ;;
        *) language=c compilers="gcc clang" ;;
        esac
        for compiler in $compilers; do
            echo "#include \"$1\"" | $compiler -fsyntax-only -x $language -std=$standard -I. \
                -pedantic-errors -Wall -Wextra -Werror - || return 1
        done
    done
}
tidy() {
    [ "${FAST:-0}" = 0 ] || return 0
    # shellcheck disable=SC2086
    echo "$sources" | spread 4 sh -c 'clang-tidy --quiet "$@" -- '"$flags"' 2>/dev/null' sh
}
# Suppressed are mistakes of cppcheck's: it cannot read a compound literal behind a "?", takes a fiber's
# wait, linked into a queue while the fiber waits, for a pointer that outlives it, does not believe the
# assertion before commit.c's either-or of two arrays, and takes the text in LW_ASSERT(false && "…")
# for a condition.
analysis() {
    mkdir -p "$build/cppcheck"
    # shellcheck disable=SC2086
    cppcheck -q -j 2 --cppcheck-build-dir="$build/cppcheck" --std=c11 --language=c -D_GNU_SOURCE \
        -DLW_SIMULATION -D__GNUC__ -I. --enable=warning,performance,portability --inline-suppr \
        --suppress=internalAstError --suppress=autoVariables \
        --suppress=nullPointer:client/commit.c --suppress=incorrectStringBooleanError --suppress=missingIncludeSystem \
        --error-exitcode=1 $folders
}
layers() {
    python3 tests/lint/layers.py . "$build"
}
world() {
    python3 tests/lint/world.py . "$build"
}
yields() {
    python3 tests/lint/yields.py .
}
draws() {
    python3 tests/lint/draws.py .
}
named() {
    python3 tests/lint/named.py .
}

failed=""
for check in formatting clang_warnings headers_stand_alone public_headers layers world yields draws named analysis tidy; do
    begin=$(date +%s)
    if $check; then
        echo "ok    $check ($(($(date +%s) - begin)) s)"
    else
        echo "FAIL  $check"
        failed="$failed $check"
    fi
done
if [ -n "$failed" ]; then
    echo "checks failed:$failed"
    exit 1
fi
