#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs every test of a build folder, two programs at a time, each with a limit, and ends with the line
# "N passed, N failed". Tests are cmocka programs, replays of fuzzing corpora, and scripts that print such
# a line of their own. A program that crashes or does not end counts as at least one failure.
#   run.sh build/VARIANT [NAME ...]     NAME: only tests whose name contains it
set -u
build=$1
shift
export LATHWORK="$PWD/$build/lathwork" LATHWORK_BUILD="$PWD/$build"
logs=$build/tests/logs
mkdir -p "$logs"
rm -f "$logs"/*

# One test program: its output to a log, its counts to another file.
run_one() {
    test=$1 build=$2 logs=$3
    name=$(basename "$test")
    log=$logs/$name.log
    case $test in
    *replay_*) timeout 300 "$test" "tests/corpus/${name#replay_}" >"$log" 2>&1 ;;
    *.sh | *.py) timeout 900 "$test" >"$log" 2>&1 ;;
    *) timeout 300 "$test" >"$log" 2>&1 ;;
    esac
    code=$?
    case $test in
    *.sh | *.py | *replay_*)
        read -r passed failed < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p' "$log" | tail -1)
        ;;
    *)
        passed=$(grep -cE '^\[ +OK \]' "$log")
        failed=$(grep -cE '^\[ +FAILED +\] [a-z_0-9]+$' "$log")
        failed=$((failed / 2)) # each is named where it fails and in the summary
        ;;
    esac
    passed=${passed:-0} failed=${failed:-0}
    if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then
        echo "$name ended with exit code $code" >>"$log"
        failed=1
    fi
    if [ $((passed + failed)) -eq 0 ]; then
        echo "$name ran no test" >>"$log"
        failed=1
    fi
    echo "$passed $failed" >"$logs/$name.counts"
    if [ "$failed" -ne 0 ]; then
        echo "--- $name: $failed failed"
        tail -n 40 "$log"
    else
        echo "ok  $name: $passed"
    fi
}
export -f run_one

tests=()
for test in "$build"/tests/test_* "$build"/tests/replay_* tests/test_*.sh tests/test_*.py tests/lint/test_*.py; do
    [ -f "$test" ] && [ -x "$test" ] || continue
    case $test in *.o | *.d) continue ;; esac
    wanted=1
    for name in "$@"; do
        wanted=0
        case $test in *"$name"*) wanted=1 && break ;; esac
    done
    [ "$wanted" = 1 ] && tests+=("$test")
done
printf '%s\n' "${tests[@]}" | xargs -P 2 -I{} bash -c 'run_one "$@"' _ {} "$build" "$logs"

passed=0 failed=0
for counts in "$logs"/*.counts; do
    read -r more bad <"$counts"
    passed=$((passed + more)) failed=$((failed + bad))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
