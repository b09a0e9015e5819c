#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of a build folder, two at a time, each under a time limit and with a log of its
# own, and ends with the line "N passed, N failed".
#
#   tests/run.sh build/VARIANT [NAME…]     NAME: only tests whose name contains it
#
# Tests are
#   test_*.c           cmocka programs: each of their tests counts
#   fuzz_*.c           fuzz targets, replayed over their committed corpora
#   test_*.sh, .py     scripts: as their last line "N passed, N failed" says, or one each; a line
#                      "skipped: WHY" stands for what the machine does not let them try
# and live in this folder and in lint/. A program that crashes, hangs, or was not built has failed
# once at least; what it did not get to has failed too. TEST_SECONDS is the limit, JOBS how many run
# at a time. Scripts find the build folder in $LATHWORK_BUILD and the program in $LATHWORK.
set -u

# How many tests a program has passed, failed and skipped, from its log and its exit code. cmocka
# announces how many it will run; failures are what is missing from that, so that a crash counts.
count_program() {
    awk -v code="$2" '
        /\[==========\] Running [0-9]+ test/ { sub(/.*Running /, ""); total += $1 }
        /\[       OK \]/ { passed++ }
        /\[  SKIPPED \] [0-9]+ test/ { sub(/.*\[  SKIPPED \] /, ""); skipped += $1 }
        END {
            failed = total - passed - skipped
            if (failed < 0) { failed = 0 }
            if (failed == 0 && (code != 0 || total == 0)) { failed = 1 }
            print passed + 0, failed, skipped + 0
        }' "$1"
}
count_script() {
    awk -v code="$2" '
        /^[0-9]+ passed, [0-9]+ failed$/ { passed = $1; failed = $3; counted = 1 }
        /^skipped: ./ { skipped++ }
        END {
            if (!counted) { passed = code == 0; failed = code != 0 }
            if (failed == 0 && (code != 0 || passed + skipped == 0)) { failed = 1 }
            print passed + 0, failed + 0, skipped + 0
        }' "$1"
}

# Leaves NAME.log and NAME.counts in the log folder, and prints one line.
run_one() {
    build=$1 source=$2
    name=$(basename "$source" .c)
    logs=$build/tests/logs
    log=$logs/$name.log
    limit=${TEST_SECONDS:-300}
    case $name in
    fuzz_*) timeout -k 5 "$limit" "$build/tests/replay_${name#fuzz_}" "tests/corpus/${name#fuzz_}" ;;
    *.sh | *.py) timeout -k 5 $((limit * 3)) "./$source" ;;
    *) timeout -k 5 "$limit" "$build/tests/$name" ;;
    esac >"$log" 2>&1 </dev/null
    code=$?
    [ "$code" -eq 0 ] || echo "$name ended with exit code $code (124, 137: out of time)" >>"$log"
    case $name in
    fuzz_* | *.sh | *.py) counts=$(count_script "$log" "$code") ;;
    *) counts=$(count_program "$log" "$code") ;;
    esac
    echo "$counts" >"$logs/$name.counts"
    case $counts in
    "0 0 "*) echo "skip  $name" ;;
    *" 0 "*) echo "ok    $name: ${counts%% *}" ;;
    *)
        set -- $counts
        echo "FAIL  $name: $1 passed, $2 failed; the end of $log:"
        tail -n 60 "$log" | sed 's/^/    /'
        ;;
    esac
}

if [ "$1" = --one ]; then
    run_one "$2" "$3"
    exit 0
fi

build=${1%/}
shift
cd "$(dirname "$0")/.." || exit 2
logs=$build/tests/logs
rm -rf "$logs"
mkdir -p "$logs"
export LATHWORK="$PWD/$build/lathwork" LATHWORK_BUILD="$PWD/$build"
# What a make above says about jobs and variants is not meant for a make that a test starts.
unset MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES VARIANT
case $build in
# After a caught SIGSEGV the program would go on, and hide what the sanitizer has to say.
*asan*) export CMOCKA_TEST_ABORT=1 ;;
esac

for source in tests/test_*.c tests/fuzz_*.c tests/test_*.sh tests/test_*.py tests/lint/test_*.py; do
    [ -f "$source" ] || continue
    [ $# -gt 0 ] || echo "$source"
    for name in "$@"; do
        case $source in *"$name"*) echo "$source" && break ;; esac
    done
done | xargs -r -P "${JOBS:-2}" -n 1 tests/run.sh --one "$build"

skips=$(
    grep -hE '\[  SKIPPED \] [a-z]' "$logs"/*.log 2>/dev/null | sort -u
    grep -H '^skipped: .' "$logs"/*.sh.log "$logs"/*.py.log 2>/dev/null | sed 's|.*/||; s|\.log:skipped:|:|'
)
[ -z "$skips" ] || printf 'skipped:\n%s\n' "$skips"
cat "$logs"/*.counts 2>/dev/null | awk '
    { passed += $1; failed += $2; skipped += $3 }
    END { print passed + 0 " passed, " failed + 0 " failed"; exit failed > 0 || passed + skipped == 0 }'
