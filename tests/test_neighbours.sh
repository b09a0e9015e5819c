#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Small neighbours on different nodes of a real lattice come together and merge, and status and plan
# tell of it. Ends with "N passed, N failed".
#
#   tests/test_neighbours.sh    $LATHWORK names the program; build/debug/lathwork if it does not
set -u
cd "$(dirname "$0")/.." || exit 2
. tests/program_tools.sh
root=$(mktemp -d) || exit 2
passed=0 failed=0
unset LATHWORK_TIMEOUT LATHWORK_DATA LATHWORK_LISTEN LATHWORK_MEMORY LATHWORK_JOIN
export LC_ALL=C.UTF-8
cd "$root" || exit 2
# Away from what else tests use; nodes take ten ports, and their brokers those a thousand above.
port=$((30000 + $$ % 100 * 10))
export LATHWORK_ADDR=127.0.0.1:$port
pids=()

leave() {
    [ "$BASHPID" = $$ ] || return
    { [ ${#pids[@]} -eq 0 ] || kill -9 "${pids[@]}"; wait; } 2>/dev/null
    sleep 0.2
    cd / && rm -rf "$root"
}
trap leave EXIT

# await_json SECONDS EXPRESSION COMMAND…: until the expression about the JSON that it prints, j, holds.
await_json() {
    local tries=$(($1 * 5)) holds=$2
    shift 2
    until lw "$@" --json >out 2>err &&
        python3 -c 'import json, sys; j = json.load(open("out")); sys.exit(0 if eval(sys.argv[1]) else 1)' "$holds" 2>/dev/null; do
        [ $((tries--)) -gt 0 ] || return 1
        sleep 0.2
    done
}

start() { # INDEX FLAG…
    local at=$1
    shift
    "$program" start --data "d$at" --listen "127.0.0.1:$((port + at))" --memory 16M --merge-after "$merge_after" "$@" >"$at.out" 2>"$at.err" &
    pids[at]=$!
}

five_nodes() {
    merge_after=1h
    start 0
    await_json 20 'j["health"] == "healthy"' status
    for index in 1 2 3 4; do
        start $index --join "$LATHWORK_ADDR" --token-file d0/join-token
    done
    await_json 30 'j["members"] == 5 and j["can_lose"] == 1 and len(j["nodes"]) == 5' status
    ok "five nodes" $((!$?)) "$(head -c 400 out)"
    for index in 1 2 3 4 5 6 7 8 9; do
        lw put "k$index" "v$index" || ok "put" 0
    done
    expect "a shard for each key" 0 -- lw split k1 k2 k3 k4 k5 k6 k7 k8 k9
    await_json 60 'len({tuple(sorted(r["node"] for r in s["replicas"] if r["role"] == "voter")) for s in j}) > 2 and all(len(s["replicas"]) == 3 for s in j)' shards
    ok "they are on different nodes" $((!$?)) "$(head -c 600 out)"
    expect "plan" 0 -- lw plan --json
    await_json 20 'sorted(r["shard"] for r in j["plan"]) == sorted({r["shard"] for r in j["plan"]}) and len(j["plan"]) == 10' plan
    ok "each shard has a plan, whoever leads it" $((!$?)) "$(head -c 600 out)"
}

# With another time to wait they are started again, one after the other.
they_come_together() {
    merge_after=4s
    for index in 0 1 2 3 4; do
        kill -TERM "${pids[index]}"
        wait "${pids[index]}"
        start $index
        await_json 30 'j["health"] == "healthy" and j["can_lose"] == 1' status || ok "node $index is back" 0 "$(head -c 300 out)"
    done
    await_json 240 'len(j) == 1 and len(j[0]["replicas"]) == 3' shards
    ok "one shard is left" $((!$?)) "$(lw shards; lw plan)"
    expect "all keys" 0 -- lw scan --prefix k
    ok "are there" $(($(wc -l <out) == 9)) "$(cat out)"
    for index in 0 1 2 3 4; do
        lw events --addr "127.0.0.1:$((port + index))"
    done >events.out
    ok "events say what was done" "$(grep -q '	merged	' events.out && echo 1)" "$(cat events.out)"
    expect "status" 0 -- lw status --json
    python3 -c '
import json
j = json.load(open("out"))
assert j["shards_all"] == 1 and j["clocks_wrong"] == 0 and j["moving"] == []
assert {"shards_merging", "replicas_repairing", "snapshots_under_way"} <= set(j)
assert sum(n["leaders"] for n in j["nodes"]) >= 1
followers = [s.get("followers") for s in j["shards"]]
assert all(s["condition"] == "whole" for s in j["shards"])
' 2>err
    ok "status tells of all that" $((!$?)) "$(tail -n 1 err; head -c 600 out)"
}

five_nodes
they_come_together
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
