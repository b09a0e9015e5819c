#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Is isolation true on a real node? Clients work while their node is ended by SIGKILL and started
# again and again, and while they are killed themselves in the middle of what they do; what each of
# them was told is recorded and judged. Ends with "N passed, N failed".
#
#   tests/test_histories.sh       $LATHWORK names the program; build/debug/lathwork if it does not
#   HISTORY_ROUNDS=3              at snapshot isolation, strict, and both, in turn
#   HISTORY_SECONDS=4             of each
#   HISTORY_SEED=…                what the clients do; when the node dies follows from it too
#   HISTORY_START=…               more flags of the node
#   HISTORY_KEEP=FOLDER           where histories of rounds that fail are kept
set -u
cd "$(dirname "$0")/.." || exit 2
program=$(readlink -f "${LATHWORK:-build/debug/lathwork}")
recorder=$(dirname "$program")/tests/record_history
if [ ! -x "$program" ] || [ ! -x "$recorder" ]; then
    echo "no $program and $recorder: make VARIANT=debug tests"
    exit 2
fi
rounds=${HISTORY_ROUNDS:-3}
seconds=${HISTORY_SECONDS:-4}
seed=${HISTORY_SEED:-$(date +%s)}
root=$(mktemp -d) || exit 2
node="" recording=""
passed=0 failed=0 deaths=0 splits=0
RANDOM=$((seed % 32768))

leave() {
    [ "$BASHPID" = $$ ] || return
    [ -z "$node" ] || kill -9 "$node" 2>/dev/null
    [ -z "$recording" ] || kill -9 "$recording" 2>/dev/null
    cd / && rm -rf "$root"
}
trap leave EXIT

ok() { # NAME GOOD [DETAIL]
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: $1 (HISTORY_SEED=$seed)${3:+: $3}"
    fi
}

# Below those that connections are given: while the node is down nobody else is to take it.
port=$((30000 + $$ % 2000))

# start_node ADDRESS: sets $node, and $address to where it listens.
start_node() {
    : >"$root/out"
    # shellcheck disable=SC2086
    "$program" start --data "$root/data" --listen "$1" ${HISTORY_START:-} >"$root/out" 2>>"$root/err" &
    node=$!
    disown
    for _ in $(seq 1000); do
        address=$(sed -n 's/^listening on //p' "$root/out")
        [ -z "$address" ] || return 0
        kill -0 "$node" 2>/dev/null || break
        sleep 0.01
    done
    ok "the node comes up" 1 "$(tail -n 3 "$root/err")"
    return 1
}

# Ends the node at once, and waits until it is gone.
kill_node() {
    kill -9 "$node"
    while kill -0 "$node" 2>/dev/null; do sleep 0.002; done
    deaths=$((deaths + 1))
}

# Lists and rows are in shards of their own; then shards begin among them, here and there.
split_at() { # KEY
    timeout 10 "$program" split --addr "$address" --timeout 5s "$1" >>"$root/splits" 2>&1 &&
        splits=$((splits + 1))
}

play_round() { # NUMBER ISOLATION
    rm -rf "$root/data"
    : >"$root/err"
    start_node "127.0.0.1:$port" || return
    split_at row/
    "$recorder" "$address" "$root/history" "$seconds" 8 "$2" $((seed + $1)) 60 >"$root/told" 2>&1 &
    recording=$!
    disown
    local end=$((SECONDS + seconds)) at=$address
    while [ $SECONDS -lt $end ]; do
        sleep "0.$((RANDOM % 90 + 10))"
        [ $((RANDOM % 4)) -ne 0 ] || sleep 1
        [ $((RANDOM % 3)) -ne 0 ] || split_at "$(printf '%s/%08d' "${kinds[RANDOM % 2]}" $((RANDOM % 400)))"
        kill_node
        start_node "$at" || return
    done
    # It is there from now on: what the clients are at comes to its end.
    while kill -0 "$recording" 2>/dev/null; do sleep 0.05; done
    recording=
    grep -q '^[0-9]* transactions, ' "$root/told"
    ok "round $1, $2: the history is recorded" $? "$(cat "$root/told")"
    "$program" sim --check "$root/history" >"$root/verdict" 2>"$root/anomalies"
    local code=$?
    ok "round $1, $2: the history is sound" $code "$(head -c 3000 "$root/anomalies")"
    [ $code -eq 0 ] || [ -z "${HISTORY_KEEP:-}" ] || cp "$root/history" "$HISTORY_KEEP/history-$seed-$1"
    # Not a test of the program if it decided nothing.
    [ "$(grep -oE '[0-9]+ acknowledged' "$root/verdict" | grep -oE '[0-9]+')" -gt $((seconds * 3)) ]
    ok "round $1, $2: the clients got on" $? "$(head -n 1 "$root/verdict")"
    kill -TERM "$node"
    while kill -0 "$node" 2>/dev/null; do sleep 0.01; done
    node=
    "$program" check "$root/data" >"$root/checked" 2>&1
    ok "round $1, $2: the folder is whole" $? "$(head -c 500 "$root/checked")"
    echo "round $1, $2: $(cat "$root/told"); $(head -n 1 "$root/verdict")"
}

# A stale read, which must be told, and the same as a transaction that began sooner.
cat >"$root/stale" <<'END'
# as docs/SIMULATION.md has it
{"txn": 1, "process": 1, "invoke_ns": 1, "complete_ns": 2, "status": "ok", "ops": [["append","x",7]]}
{"txn": 2, "process": 2, "invoke_ns": 3, "complete_ns": 9, "status": "ok", "ops": [["r","x",[]]]}
{"txn": 3, "process": 3, "invoke_ns": 5, "complete_ns": 6, "status": "ok", "ops": [["r","x",[7]]], "final": true}
END
sed 's/"invoke_ns": 3/"invoke_ns": 1/' "$root/stale" >"$root/fresh"
"$program" sim --check "$root/fresh" >/dev/null 2>&1
ok "a sound history is told" $?
"$program" sim --check "$root/stale" >/dev/null 2>"$root/anomalies"
[ $? = 1 ] && grep -q "^cycle G-single in real time: T" "$root/anomalies"
ok "an anomaly is told" $? "$(cat "$root/anomalies")"
"$program" sim --check "$0" >/dev/null 2>"$root/anomalies"
[ $? = 2 ] && grep -q "line [0-9]* of the history" "$root/anomalies"
ok "a file that is no history is told" $? "$(cat "$root/anomalies")"

isolations=(strict snapshot both)
kinds=(list row)
for round in $(seq "$rounds"); do
    play_round "$round" "${isolations[$(((round - 1) % 3))]}"
done
echo "the node was killed $deaths times, and split a shard $splits times"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
