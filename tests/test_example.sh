#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The worked example, as a C programmer would use it: compiled against the header and the library, run
# against a node, alone and many at once. Money is neither made nor lost.
set -u
build=$(dirname "${LATHWORK:-build/debug/lathwork}")
folder=$(mktemp -d)
node=
passed=0 failed=0
trap '[ -z "$node" ] || kill "$node"; rm -rf "$folder"' EXIT

expect() { # WHAT EXPECTED FOUND
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL: %s: expected "%s", found "%s"\n' "$1" "$2" "$3"
    fi
}

sanitize=
case $build in *asan*) sanitize="-fsanitize=address,undefined" ;; esac
# shellcheck disable=SC2086
${CC:-gcc} -std=c99 -Wall -Wextra -Werror $sanitize -I. -Iclient client/examples/transfer.c \
    "$build/liblathwork.a" -lpthread -o "$folder/transfer"
expect "the example compiles" 0 $?

"$build/lathwork" start --data "$folder/data" --listen 127.0.0.1:0 >"$folder/out" 2>"$folder/err" &
node=$!
for _ in $(seq 100); do
    LATHWORK_ADDR=$(sed -n 's/^listening on //p' "$folder/out")
    [ -n "$LATHWORK_ADDR" ] && break
    sleep 0.1
done
export LATHWORK_ADDR

expect "a transfer" "alice 75, bob 125" "$(timeout 20 "$folder/transfer" alice bob 25)"
expect "another one back" "bob 120, alice 80" "$(timeout 20 "$folder/transfer" bob alice 5)"
expect "more than there is" "alice has only 80" "$(timeout 20 "$folder/transfer" alice bob 81)"

# Eight at once over four accounts, ten transfers each.
workers=""
for worker in 0 1 2 3 4 5 6 7; do
    (
        for round in 0 1 2 3 4 5 6 7 8 9; do
            timeout 20 "$folder/transfer" "p$(((worker + round) % 4))" "p$(((worker + round + 1) % 4))" 3
        done
    ) >"$folder/worker$worker" 2>&1 &
    workers="$workers $!"
done
# shellcheck disable=SC2086
wait $workers
expect "all eighty were answered" 80 "$(cat "$folder"/worker* | grep -cE '^p[0-3] [0-9]+, p[0-3] [0-9]+$|has only')"
sum=$("$build/lathwork" scan --prefix account/p | awk -F '\t' '{ sum += $2 } END { print sum }')
expect "the sum of the four accounts" 400 "$sum"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
