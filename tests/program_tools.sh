# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What tests/test_*.sh that act as users share: sourced by them, at the top of the project. $program is
# what they try; they count in $passed and $failed, and stand in a folder of their own.

program=$(readlink -f "${LATHWORK:-build/debug/lathwork}")
[ -x "$program" ] || { echo "no program at $program: make VARIANT=debug"; exit 2; }

lw() { timeout -k 5 60 "$program" "$@"; }

ok() {
    if [ "$2" = 1 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: $1${3:+: $3}"
    fi
}

# expect NAME CODE [WORDS] -- COMMAND…: the exit code, and words on standard error; an error must
# have its three parts. Answers are in $root/out, talk in $root/err.
expect() {
    local name=$1 code=$2 words="" got good=1
    shift 2
    [ "$1" = -- ] || { words=$1; shift; }
    shift
    "$@" >out 2>err
    got=$?
    [ $got -eq "$code" ] || good=0
    [ -z "$words" ] || grep -qF -- "$words" err || good=0
    if grep -q '^error:' err; then
        grep -q '^cause: .' err && grep -q '^hint:  .' err || good=0
    fi
    ok "$name" $good "exit $got for $code, \"$(head -c 300 out | tr '\n\0' '| ')\" \"$(head -c 600 err | tr '\n\0' '| ')\""
}

# await SECONDS COMMAND…: until it succeeds.
await() {
    local tries=$(($1 * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((tries--)) -gt 0 ] || return 1
        sleep 0.05
    done
}
