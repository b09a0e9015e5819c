#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A lattice of real processes from the command line, on loopback ports and in a temporary folder: up,
# joining, what nodes say of each other, what is left of it when one is killed, and every way in
# which joining is refused. Ends with "N passed, N failed".
#
#   tests/test_lattice.sh       $LATHWORK names the program; build/debug/lathwork if it does not
set -u
cd "$(dirname "$0")/.." || exit 2
. tests/program_tools.sh
root=$(mktemp -d) || exit 2
passed=0 failed=0
unset LATHWORK_ADDR LATHWORK_TIMEOUT LATHWORK_DATA LATHWORK_LISTEN LATHWORK_MEMORY LATHWORK_JOIN
export LC_ALL=C.UTF-8
here=$PWD/tests
case ${LATHWORK:-} in *asan*) sanitized=1 ;; *) sanitized= ;; esac
cd "$root" || exit 2
# Away from what else tests use; nodes take a hundred ports, and their brokers those a thousand above.
port=$((20000 + $$ % 80 * 100))
up_pid=

leave() {
    [ "$BASHPID" = $$ ] || return
    [ -z "$up_pid" ] || kill -9 "$up_pid" 2>/dev/null
    jobs -p | xargs -r kill -9 2>/dev/null
    sleep 0.2
    cd / && rm -rf "$root"
}
trap leave EXIT

# json NAME EXPRESSION: about the JSON in out, which is called j.
json() {
    if python3 -c 'import json, sys; j = json.load(open("out")); sys.exit(0 if eval(sys.argv[1]) else 1)' "$2" 2>json.err; then
        ok "$1" 1
    else
        ok "$1" 0 "$(head -c 400 out) $(tail -n 1 json.err)"
    fi
}

is_healthy() { lw status --json --addr "127.0.0.1:$port" | grep -q '"health":"healthy","can_lose":1'; }
is_degraded() { lw status --json --addr "127.0.0.1:$port" | grep -q '"health":"degraded"'; }
bus_is_up() { lw events --addr "127.0.0.1:$port" | grep -q 'heard'; }
brokers() { pgrep -P "$(pgrep -d, -P "$up_pid")" -x nats-server | wc -l; }

in_a_terminal() { python3 -c 'import pty, sys; pty.spawn(sys.argv[1:])' "$program" "$@" </dev/null; }

begin() {
    "$program" up -n 3 --data lattice --listen "127.0.0.1:$port" --memory 16M >up.out 2>up.err &
    up_pid=$!
    if ! await 20 grep -q 'nodes serve' up.out || ! await 20 is_healthy; then
        ok "$1" 0 "$(tail -n 5 up.err)"
        return
    fi
    ok "$1" 1
}

end() {
    kill "-$1" "$up_pid"
    wait "$up_pid"
    local code=$?
    up_pid=
    ok "up ends at $1" $((code == 0)) "exit $code"
    sleep 0.1
    ok "and no process is left" $((! $(pgrep -f "listen 127.0.0.1:$port" | wc -l)))
    lw check lattice/n2 >out 2>err
    [ $? = 0 ] && ! grep -q "left alone" out err
    ok "what it leaves is sound, and all of it known" $((!$?)) "$(cat out err)"
}

# ---- stories ------------------------------------------------------------------------------------------

three_nodes() {
    export LATHWORK_ADDR=127.0.0.1:$port
    begin "three nodes come up, healthy"
    ok "and each of its log a time" $((! $(grep 'level=' up.err | grep -cvE '^n[123] \| time=20[0-9-]+T[0-9:.]+Z level=')))
    ok "each line of a node has its name" $((! $(grep -cv '^n[123] | ' up.err)))
    expect "a value" 0 -- lw put greeting hello
    for index in 0 1 2; do
        expect "from node $index" 0 -- lw get greeting --addr "127.0.0.1:$((port + index))"
        ok "it is the one" $(($(grep -cx hello out) == 1)) "$(cat out)"
    done
    expect "nodes" 0 -- lw nodes
    ok "three lines, as people count" $(($(cut -f 1 out | tr '\n' ' ' | grep -cx 'n1 n2 n3 ') == 1)) "$(cat out)"
    in_a_terminal status >out
    ok "a status for people: how it is, a line for each node" \
        $(($(wc -l <out) == 6 && $(head -n 1 out | grep -c 'HEALTHY, can lose 1 node'))) "$(cat out)"
    expect "nodes as JSON" 0 -- lw nodes --json
    json "all are up" 'len(j["nodes"]) == 3 and all(n["up"] and n["state"] == "up" for n in j["nodes"])'
    json "each has its name" 'sorted((n["address"], n["name"]) for n in j["nodes"]) == [("127.0.0.1:%d" % ('$port' + i), "n%d" % (i + 1)) for i in range(3)]'
    json "one is asked" '[n["address"] for n in j["nodes"] if n["self"]] == ["127.0.0.1:'$port'"]'
    expect "shards as JSON" 0 -- lw shards --json
    json "three voters" '[r["role"] for r in j[0]["replicas"]] == ["voter"] * 3 and j[0]["address"]'
    expect "ping" 0 -- lw ping
    expect "plan" 0 -- lw plan --json
    json "nothing is to move" 'all(row["step"] == "nothing" for row in j["plan"])'
    await 10 bus_is_up
    ok "the bus is up" $((!$?)) "$(lw events)"
    ok "each node has a broker" $(($(brokers) == 3)) "$(brokers)"
    ok "a token is its owner's alone" $(($(stat -c %a lattice/n1/join-token) == 600))
    expect "config" 0 -- lw config
}

leaders_move() {
    local target
    lw nodes --json >out
    target=$(python3 -c 'import json; print([n["node"] for n in json.load(open("out"))["nodes"] if n["leaders"] == 0][0])')
    expect "transfer" 0 -- lw transfer 1 "$target"
    expect "shards then" 0 -- lw shards --json
    json "it leads" 'j[0]["leader"] == "'"$target"'"'
    expect "to nobody" 2 "no member" -- lw transfer 1 zz
    expect "which says who there is" 2 "n2 (127.0.0.1:$((port + 1)))" -- lw transfer 1 n
    expect "to one by its name" 0 -- lw transfer 1 n2
    expect "shards by name" 0 -- lw shards
    ok "it leads" $(($(cut -f 7,8 out | grep -cx "n2	127.0.0.1:$((port + 1))") == 1)) "$(cat out)"
    expect "by part of an address, which is none" 2 "no member" -- lw ping 127.0.0.1
    expect "a member answers by its name" 0 -- lw ping n3
    expect "what happened, by name" 0 -- lw events
    ok "it names members" $(($(cut -f 2,3 out | grep -c "add	n[23]") == 2)) "$(cat out)"
    expect "of no shard" 2 "no number" -- lw transfer first "$target"
    expect "of none there is" 2 "no shard 77" -- lw transfer 77 "$target"
    expect "a move to who holds it" 0 "holds shard 1 already" -- lw move 1 "$target"
    expect "what was done by hand is told, whoever is asked" 0 -- lw events --addr "127.0.0.1:$((port + 2))"
    ok "by whom, too" $(($(grep -c 'transfer	n2	1	n2 leads it now, as client "lathwork transfer' out) >= 1)) "$(cat out)"
    ok "who is there is told in words" $(($(grep -cE '	(joined|changed)	n[123]		it is up, at 127.0.0.1:' out) >= 2)) "$(cat out)"
    ok "the bus is said to start once" $(($(grep -c 'the bus is starting' out) == 1)) "$(cat out)"
    expect "as JSON" 0 -- lw events --json
    ok "with who tells it" $(($(grep -c '"event":"transfer".*"told_by":"n[123]"' out) >= 1)) "$(cat out)"
}

shards_merge() {
    expect "put below and above" 0 -- lw put merge/a 1
    expect "put above" 0 -- lw put merge/z 2
    expect "split" 0 -- lw split merge/m
    expect "two shards" 0 -- lw shards --json
    json "they are two" 'len(j) == 2'
    expect "a list" 0 -- lw shards
    ok "tells who holds them" $(($(cut -f 9 out | tr ',' '\n' | sort -u | grep -c '^n[123]$') == 3)) "$(cat out)"
    expect "merge" 0 "shard 1 has taken in shard" -- lw merge 1
    expect "events" 0 -- lw events --addr "127.0.0.1:$((port + 1))"
    ok "of the split and the merge" $(($(grep -cE 'split	n[123]	1	it ends at "merge/m" now|merged	n[123]	1	it took in shard' out) == 2)) "$(cat out)"
    expect "one shard" 0 -- lw shards --json
    json "it is one" 'len(j) == 1 and j[0]["id"] == 1'
    expect "what was there" 0 -- lw get merge/a merge/z
    expect "merge the last one" 2 "no right neighbour" -- lw merge 1
}

one_dies() {
    local victim
    victim=$(pgrep -f "listen 127.0.0.1:$((port + 2))")
    kill -9 "$victim"
    await 10 is_degraded
    ok "a node that was killed is missed" $((!$?)) "$(lw status | head -n 4)"
    await 5 grep -q '^n3 | ended (signal 9)' up.err
    ok "and up says so" $((!$?)) "$(tail -n 3 up.err)"
    ok "its broker is gone with it" $(($(brokers) == 2))
    expect "it cannot be told to leave" 6 "n3 (127.0.0.1:$((port + 2))) is not reached" -- lw leave "127.0.0.1:$((port + 2))"
    expect "nor to drain" 6 "lathwork leave --force n3" -- lw drain n3
    expect "nor asked whether it is there" 3 "cannot be reached" -- lw ping n3
    expect "writes go on" 0 -- lw put greeting again
    expect "reads too" 0 -- lw get greeting
    ok "what was written" $(($(grep -cx again out) == 1)) "$(cat out)"
    lw token --data lattice/n1 >lost-token
    expect "a token is revoked" 0 "n3: not reached, and told when back" -- lw token --revoke lost-token
    expect "twice" 0 -- lw token --revoke "$(cat lost-token)" --json
    json "two know" 'j["members"] == 3 and j["members_that_know"] == 2'
    expect "what is no token is not revoked" 2 "no token" -- lw token --revoke up.out
    expect "nor a file that is not there" 2 "absent" -- lw token --revoke absent
}

all_again() {
    end TERM
    begin "the same command starts them again"
    expect "what was written is there" 0 -- lw get greeting
    ok "all of it" $(($(grep -cx again out) == 1)) "$(cat out)"
    n3_knows() { lw token --list --addr "127.0.0.1:$((port + 2))" | grep -q revoked; }
    await 15 n3_knows
    ok "who was away hears which token was revoked" $((!$?))
    for index in 0 1 2; do
        expect "it lets nobody in at node $index" 6 "was revoked: make a new one" -- lw start --data d9 --bus none \
            --listen "127.0.0.1:$((port + 9))" --join "127.0.0.1:$((port + index))" --token-file lost-token
    done
    expect "tokens" 0 -- lw token --list --json
    json "its own, and the revoked one" 'sorted(t["revoked"] for t in j) == [False, True] and all(t["expires_ms"] for t in j)'
    expect "one by its id" 0 "lets nobody in" -- lw token --revoke "$(python3 -c 'import json; print([t["id"] for t in json.load(open("out")) if not t["revoked"]][0])')"
    expect "the one in its folder" 6 "was revoked" -- lw start --data d9 --bus none \
        --listen "127.0.0.1:$((port + 9))" --join "127.0.0.1:$((port + 2))" --token-file lattice/n1/join-token
}

# A transaction that has locks on two nodes is listed, and killed, by a third.
locks_over_nodes() {
    local second transaction shard other
    expect "two shards" 0 -- lw split m
    lw shards --json >out
    shard=$(python3 -c 'import json; print([s["id"] for s in json.load(open("out")) if s["start"] == "m"][0])')
    second=$(python3 -c 'import json; s = json.load(open("out")); a = [x for x in s if x["start"] == "m"][0]; print([r["node"] for r in a["replicas"] if r["node"] != s[0]["leader"]][0])')
    other=$(python3 -c 'import json; s = json.load(open("out")); a = [x for x in s if x["start"] == "m"][0]; print([r["node"] for r in a["replicas"] if r["node"] not in (s[0]["leader"], "'"$second"'")][0])')
    expect "led by two nodes" 0 -- lw transfer "$shard" "$second"
    lw nodes --json >out
    other=$(python3 -c 'import json; print([n["address"] for n in json.load(open("out"))["nodes"] if n["node"] == "'"$other"'"][0])')
    mkfifo typed
    "$program" shell <typed >shell.out 2>shell.err &
    local shell_pid=$!
    exec 9>typed
    printf 'begin pessimistic\nput a 1\nput z 1\n' >&9
    both_locked() { lw locks --addr "$other" >locks.out && [ "$(cut -f 1,2 locks.out | tr '\t\n' ': ')" = "a:pessimistic z:pessimistic " ]; }
    await 10 both_locked
    ok "the locks of both are listed" $((!$?)) "$(cat locks.out shell.err)"
    transaction=$(sed -n 's/^z	pessimistic	\([0-9]*\)	.*/\1/p' locks.out)
    expect "kill" 0 -- lw txn kill "$transaction" --addr "$other"
    printf 'put zz 1\n' >&9
    await 10 grep -q "was killed by client" shell.err
    ok "its client is told by whom" $((!$?)) "$(cat shell.err)"
    exec 9>&-
    wait "$shell_pid"
    rm typed
    expect "no locks are left" 0 -- lw locks
    ok "none" $(($(wc -c <out) == 0)) "$(cat out)"
}

# The lattice's key is changed under way: everything goes on, and old tokens are worth nothing.
key_changes() {
    local epoch
    lw token --data lattice/n2 >old-token
    expect "keys" 0 -- lw key --json
    json "all have the first" 'not j["changing"] and [n["epochs"] for n in j["nodes"]] == [[1]] * 3'
    expect "the key is changed" 0 -- lw key rotate --json
    epoch=$(sed 's/[^0-9]//g' out)
    key_is() { lw key --json --addr "127.0.0.1:$port" >keys && python3 -c 'import json, sys; j = json.load(open("keys")); sys.exit(0 if not j["changing"] and all(n["epochs"] == [int(sys.argv[1])] for n in j["nodes"]) else 1)' "$1"; }
    expect "a write meanwhile" 0 -- lw put greeting "under way"
    await 20 key_is "$epoch"
    ok "all have the new one, and no other" $((!$?)) "$(cat keys)"
    is_healthy
    ok "and are healthy" $((!$?)) "$(lw status | head -n 4)"
    expect "an old token is worth nothing" 6 "the token is of key epoch 1" -- lw start --data d10 --bus none \
        --listen "127.0.0.1:$((port + 9))" --join "127.0.0.1:$port" --token-file old-token
    heard_again() { lw nodes --json --addr "127.0.0.1:$((port + 1))" >heard && python3 -c 'import json, sys; sys.exit(0 if all(n["self"] or n["state"] == "gone" or (n["heard_ms"] is not None and n["heard_ms"] < 1500) for n in json.load(open("heard"))["nodes"]) else 1)'; }
    await 20 heard_again
    ok "the bus is there again, under the new key" $((!$?)) "$(cat heard) $(lw events | tail -n 8)"
    expect "what it is not" 2 "rotate" -- lw key turn
}

keys_from() { # ADDRESS COUNT
    for index in $(seq "$2"); do
        [ "$(lw get "key$index" --addr "$1")" = "value$index" ] || return 1
    done
}
is_rebuilt() { # OLD NEW: every shard has three voters, one of them the new node
    lw shards --json --addr "127.0.0.1:$port" >shards.json && python3 - "$1" "$2" <<'PY'
import json, sys
old, new = sys.argv[1:]
shards = json.load(open("shards.json"))
nodes = [[r["node"] for r in s["replicas"] if r["role"] == "voter"] for s in shards]
sys.exit(0 if all(len(n) == 3 and new in n and old not in n for n in nodes) else 1)
PY
}
node_at() { # ADDRESS
    lw nodes --json --addr "127.0.0.1:$port" >nodes.json
    python3 -c 'import json, sys; print([n["node"] for n in json.load(open("nodes.json"))["nodes"] if n["address"] == sys.argv[1]][0])' "$1"
}

# What a node has is damaged, then lost: another takes its place, and everything is there.
folder_lost() {
    local listen=127.0.0.1:$((port + 8)) lost=127.0.0.1:$((port + 2)) old new
    for index in $(seq 40); do lw put "key$index" "value$index"; done
    expect "the lattice is split" 0 -- lw split key3
    old=$(node_at "$lost")
    kill -9 "$(pgrep -f "listen $lost")"
    await 10 is_degraded
    local segment
    segment=$(ls lattice/n3/log/* | head -n 1)
    printf '\x55\x55\x55\x55\x55' | dd of="$segment" bs=1 seek=8300 conv=notrunc status=none
    expect "a node with a damaged log does not start" 7 "lathwork leave --force $old" -- lw start --data lattice/n3 --listen "$lost" --bus none
    rm -rf lattice/n3
    lw token --data lattice/n1 >token
    "$program" start --data fresh --listen "$listen" --join "127.0.0.1:$port" --token-file token --bus none --memory 16M >fresh.out 2>fresh.err &
    fresh_pid=$!
    await 20 grep -q "listening on $listen" fresh.out
    ok "it joins as a new node" $((!$?)) "$(tail -n 3 fresh.err)"
    new=$(node_at "$listen")
    ok "with another identity" $(($([ "$new" != "$old" ] && echo 1 || echo 0)))
    expect "who is not there cannot leave by itself" 6 "--force" -- lw leave "$old"
    expect "the old one is taken out" 0 -- lw leave --force "$old"
    await 40 is_rebuilt "$old" "$new"
    ok "every shard has three replicas again" $((!$?)) "$(cat shards.json) $(lw plan; lw nodes)"
    await 10 is_healthy
    ok "the lattice is healthy" $((!$?)) "$(lw status | head -n 4)"
    kill -9 "$(pgrep -f "listen 127.0.0.1:$((port + 1))")"
    keys_from "$listen" 40
    ok "everything is there" $((!$?))
    kill -TERM $fresh_pid
    wait $fresh_pid
}

# A node that is killed for good: after --dead-after what it held is on others, with nobody asked. What
# it still has when it comes back counts for nothing.
dead_for_good() {
    local base=$((port + 60)) old victim home=$LATHWORK_ADDR
    export LATHWORK_ADDR=127.0.0.1:$base
    "$program" up -n 4 --data mourning --listen "127.0.0.1:$base" --memory 16M --dead-after 5s >four.out 2>four.err &
    local four=$!
    await 30 grep -q 'nodes serve' four.out
    ok "four nodes come up" $((!$?)) "$(tail -n 5 four.err)"
    all_have_three() { # [WITHOUT]: voters of every shard
        lw shards --json >shards.json && python3 - "${1:-}" <<'PY'
import json, sys
voters = [[r["node"] for r in s["replicas"] if r["role"] == "voter"] for s in json.load(open("shards.json"))]
sys.exit(0 if all(len(v) == 3 and sys.argv[1] not in v for v in voters) else 1)
PY
    }
    for index in $(seq 40); do lw put "key$index" "value$index"; done
    expect "they have two shards" 0 -- lw split key3
    await 30 all_have_three
    ok "each of three voters" $((!$?)) "$(cat shards.json)"
    lw nodes --json >nodes.json
    read -r old victim < <(python3 - "$LATHWORK_ADDR" <<'PY'
import json, sys
voters = [r["node"] for r in json.load(open("shards.json"))[0]["replicas"]]
for node in json.load(open("nodes.json"))["nodes"]:
    if node["node"] in voters and node["address"] != sys.argv[1]:
        print(node["node"], node["address"])
        break
PY
    )
    kill -9 "$(pgrep -f "start.*--listen $victim")"
    await 60 all_have_three "$old"
    ok "what the dead one held is on others" $((!$?)) "$(cat shards.json) $(lw plan; lw nodes)"
    keys_from "$LATHWORK_ADDR" 40
    ok "all of it" $((!$?))
    lw put key1 later
    "$program" start --data "mourning/n$((${victim##*:} - base + 1))" --listen "$victim" --memory 16M --dead-after 5s >back.out 2>back.err &
    local back=$!
    await 20 grep -q "listening on $victim" back.out
    ok "it comes back" $((!$?)) "$(tail -n 3 back.err)"
    of_no_more() { # it holds what it is a member of, and nothing else
        all_have_three && lw status --json --addr "$victim" >held.json && python3 - "$old" <<'PY'
import json, sys
held = set(s["id"] for s in json.load(open("held.json"))["shards"])
of = set(s["id"] for s in json.load(open("shards.json")) if sys.argv[1] in [r["node"] for r in s["replicas"]])
sys.exit(0 if held <= of else 1)
PY
    }
    await 40 of_no_more
    ok "and holds what it is a member of" $((!$?)) "$(cat shards.json) $(head -c 2000 held.json)"
    four_healthy() { lw status --json | grep -q '"health":"healthy","can_lose":1'; }
    await 20 four_healthy
    ok "all is healthy" $((!$?)) "$(lw status | head -n 5)"
    expect "it answers what is true now" 0 -- lw get key1 --addr "$victim"
    ok "the later value" $(($(grep -cx later out) == 1)) "$(cat out)"
    kill -TERM $back $four
    wait $back $four
    export LATHWORK_ADDR=$home
}

# A fourth node, by hand.
join_refused() {
    local listen=127.0.0.1:$((port + 9)) member=127.0.0.1:$port
    lw token --data lattice/n1 >token
    expect "join without a token" 2 "token" -- lw start --data d4 --listen "$listen" --join "$member"
    echo nonsense >bad
    expect "with nonsense for one" 2 "token" -- lw start --data d4 --listen "$listen" --join "$member" --token-file bad
    expect "without its file" 6 "absent" -- lw start --data d4 --listen "$listen" --join "$member" --token-file absent
    [ ! -e d4 ]
    ok "and leave no folder behind" $((!$?)) "$(ls d4 2>/dev/null)"
    expect "with itself for a member" 2 "names this node itself" -- lw start --data d4 --listen "$listen" --join "$listen" --token-file token
    lw token --data lattice/n1 --expires 1ms >late
    sleep 0.1
    expect "with one that has expired" 6 "expired" -- lw start --data d4 --listen "$listen" --join "$member" --token-file late
    "$program" start --data stranger --listen 127.0.0.1:0 >stranger.out 2>&1 &
    local stranger=$!
    await 10 grep -q 'to add a node' stranger.out
    expect "which cannot be revoked here" 6 "another lattice" -- lw token --revoke stranger/join-token
    expect "with one of another lattice" 6 -- lw start --data d4 --listen "$listen" --join "$member" --token-file stranger/join-token
    kill -TERM $stranger
    wait $stranger
    expect "a folder of another lattice" 6 "another lattice" -- lw start --data stranger --listen "$listen" --join "$member" --token-file token
    expect "an address that is everywhere" 2 "the others reach" -- lw start --data d5 --listen 0.0.0.0:0 --join "$member" --token-file token
    "$program" start --data open --listen 0.0.0.0:0 --bus none >open.out 2>&1 &
    stranger=$!
    await 10 grep -q 'to add a node' open.out
    expect "a member that is everywhere" 6 "listens at 0.0.0.0" -- lw start --data d6 --listen "$listen" \
        --join "127.0.0.1:$(sed -n 's/^listening on .*://p' open.out)" --token-file open/join-token
    kill -TERM $stranger
    wait $stranger
    other_protocols "$member"
    expect "a token for ever" 2 "1000h" -- lw token --data lattice/n1 --expires 1001h
    expect "more nodes than a machine is for" 2 "at most 64" -- lw up -n 65 --data d7
    expect "an even number of copies" 2 "--replication" -- lw start --data d7 --listen "$listen" --replication 2
    expect "a name that is none" 2 "--name" -- lw start --data d7 --listen "$listen" --name "n 4"
    expect "a name that another has" 6 "is called n2 already" -- lw start --data d8 --listen "$listen" --join "$member" --token-file token --bus none --name n2
    expect "a token of no folder" 2 -- lw token --data nowhere
    expect "a bus that is none" 2 "child, none" -- lw start --data d5 --listen "$listen" --bus carrier-pigeon
    expect "a bus that is nowhere" 2 "HOST:PORT of a NATS server" -- lw start --data d5 --listen "$listen" --bus nats://127.0.0.1:99999
}

one_joins_and_leaves() {
    local listen=127.0.0.1:$((port + 9))
    "$program" start --data d4 --listen "$listen" --join "127.0.0.1:$((port + 1))" --token-file token --zone attic --bus none >d4.out 2>d4.err &
    local fourth=$!
    await 20 grep -q "listening on $listen" d4.out
    ok "a fourth node joins" $((!$?)) "$(tail -n 3 d4.err)"
    lw nodes --json >out
    json "it is called what comes next" '[n["name"] for n in j["nodes"] if n["address"] == "'$listen'"] == ["n4"]'
    json "in its zone" '[n["zone"] for n in j["nodes"] if n["address"] == "'$listen'"] == ["attic"]'
    cp -r d4 copy
    expect "a shard moves to it" 0 "n4 holds shard 1 now, in the place of n" -- lw move 1 n4 --timeout 30s
    expect "which is told" 0 -- lw events
    ok "step by step" $(($(grep -cE '(add|replace)	n4	1	.*as client "lathwork move' out) == 2)) "$(cat out)"
    expect "its folder, copied, is no other node's" 6 "a data folder was copied" -- lw start --data copy --listen "127.0.0.1:$((port + 10))" --bus none
    ok "and no disk is blamed" $((! $(grep -c disk err))) "$(tail -n 3 err)"
    expect "it drains" 0 "n4 ($listen) empties" -- lw drain n4
    ok "which costs no copies" $((! $(grep -c note: err))) "$(cat err)"
    expect "it fills again" 0 "fills" -- lw drain --undo "$listen"
    expect "it leaves" 0 "leaves" -- lw leave n4
    await 20 sh -c "! kill -0 $fourth 2>/dev/null"
    ok "and ends" $((!$?)) "$(tail -n 3 d4.err)"
    wait $fourth
    ok "as it was told to: that is no error" $((!$?)) "$(tail -n 3 d4.err)"
    ok "it says so" "$(cat d4.out d4.err | grep -c '^this node has left')" "$(tail -n 3 d4.err)"
    expect "its folder is of no more use" 6 -- lw start --data d4 --listen "$listen"
    lw nodes >out
    ok "three are left" $(($(wc -l <out) == 3)) "$(cat out)"
}

# A shard of some size is moved by hand to where it does not belong: it comes there, which takes a
# snapshot, and it is said that it goes back, which it does.
moves_by_hand() {
    local base=$((port + 80)) pid home=$LATHWORK_ADDR
    export LATHWORK_ADDR=127.0.0.1:$base
    "$program" up -n 4 --data four --listen "127.0.0.1:$base" --memory 16M >four.out 2>four.err &
    pid=$!
    voters() { lw shards --json >four.json && python3 -c 'import json; print(*sorted(r["node"] for r in json.load(open("four.json"))[0]["replicas"] if r["role"] == "voter"))'; }
    wanted() { lw plan --json >plan.json && python3 -c 'import json; print(*sorted(json.load(open("plan.json"))["plan"][0]["wanted"]))'; }
    settled() { wanted="$(wanted)" && [ -n "$wanted" ] && [ "$(voters)" = "$wanted" ]; }
    all_are_known() { [ "$(lw nodes | grep -cE '	(self|up [0-9]+ m?s)	')" = 4 ]; }
    await 40 grep -q 'nodes serve' four.out
    await 40 all_are_known # else it is settled where a fourth is not known
    await 40 settled
    ok "a shard comes to three of four nodes" $((!$?)) "$(lw plan; lw shards)"
    for index in $(seq 24); do head -c 1000000 /dev/urandom | base64 -w 0 | lw put "large$index" - || break; done
    fourth=$(lw nodes --json | python3 -c 'import json, sys; w = "'"$wanted"'".split(); print([n["name"] for n in json.load(sys.stdin)["nodes"] if n["node"] not in w][0])')
    expect "it is moved where it does not belong" 0 "$fourth holds shard 1 now" -- lw move 1 "$fourth" --timeout 50s
    ok "and it is said that it does not stay" "$(grep -c '^note: it does not stay there.*it belongs to n' err)" "$(cat err)"
    ok "it holds the shard" $(($(lw shards | cut -f 9 | tr ',' '\n' | grep -cx "$fourth") == 1)) "$(lw shards; lw events | tail -n 5)"
    await 60 settled
    ok "then it goes back" $((!$?)) "$(lw plan; lw shards)"
    expect "who gives it up is a member" 2 "no member is called" -- lw move 1 "$fourth" --from n9
    expect "a number that is none" 2 "is no number of a shard" -- lw move -1 n1
    expect "one that no number can be" 2 "is no number of a shard" -- lw move 18446744073709551617 n1
    kill -TERM $pid
    wait $pid
    export LATHWORK_ADDR=$home
}

# What is left of a node that left, where up looks after it.
up_after_leave() {
    local base=$((port + 70)) pid home=$LATHWORK_ADDR
    export LATHWORK_ADDR=127.0.0.1:$base
    "$program" up -n 3 --data fewer --listen "127.0.0.1:$base" --bus none --memory 16M >fewer.out 2>fewer.err &
    pid=$!
    three_are_up() { lw status --json | grep -q '"health":"healthy","can_lose":1'; }
    await 30 three_are_up
    expect "a third node leaves" 0 "note: 2 nodes stay" -- lw leave n3
    await 20 grep -q '^n3 | is no member any more.*rm -r fewer/n3' fewer.err
    ok "and up says what to do about it" $((!$?)) "$(tail -n 3 fewer.err)"
    kill -TERM $pid
    wait $pid
    "$program" up -n 3 --data fewer --listen "127.0.0.1:$base" --bus none --memory 16M >fewer.out 2>fewer.err &
    pid=$!
    await 20 grep -q '^2 of 3 nodes serve' fewer.out
    ok "again, the others serve" $((!$?)) "$(tail -n 3 fewer.err)"
    kill -TERM $pid
    wait $pid
    ok "and that is no failure" $((!$?)) "$(tail -n 3 fewer.err)"
    rm -rf fewer/n3
    "$program" up -n 3 --data fewer --listen "127.0.0.1:$base" --bus none --memory 16M >fewer.out 2>fewer.err &
    pid=$!
    await 30 three_are_up
    ok "a new node takes its place" $((!$?)) "$(tail -n 3 fewer.err)"
    expect "an address that is taken" 6 "in use" -- lw start --data d11 --listen "127.0.0.1:$base"
    [ ! -e d11 ]
    ok "leaves no folder behind" $((!$?)) "$(ls d11 2>/dev/null)"
    kill -TERM $pid
    wait $pid

    # A disk is lost: the same command says what to do first, and changes nothing.
    rm -rf fewer/n3
    "$program" up -n 3 --data fewer --listen "127.0.0.1:$base" --bus none --memory 16M >fewer.out 2>fewer.err &
    pid=$!
    await 20 grep -q '^2 of 3 nodes serve' fewer.out
    ok "a node whose disk was lost is not taken for the one before" \
        "$(grep -c '^n3 | cause: .*is called n3 already.*lathwork leave --force n3' fewer.err)" "$(tail -n 4 fewer.err)"
    ok "which is no word of a token" "$(grep -c "^n3 | hint:  lathwork nodes --addr 127.0.0.1:$base" fewer.err)" "$(tail -n 4 fewer.err)"
    expect "the members" 0 -- lw nodes --json
    json "are those of before" 'sorted((n["name"], n["up"]) for n in j["nodes"] if n["state"] != "gone") == [("n1", True), ("n2", True), ("n3", False)]'
    expect "it is taken out" 0 "n3 (127.0.0.1:$((base + 2))) is out" -- lw leave --force n3
    kill -TERM $pid
    wait $pid
    "$program" up -n 3 --data fewer --listen "127.0.0.1:$base" --bus none --memory 16M >fewer.out 2>fewer.err &
    pid=$!
    await 30 three_are_up
    ok "and joins as a new one" $((!$?)) "$(tail -n 3 fewer.err)"
    kill -TERM $pid
    wait $pid

    # As if it had lost power between being taken in and knowing by whom.
    rm fewer/n3/LATTICE
    expect "one that knows nobody does not go on alone" 6 "once more with --join" -- lw start --data fewer/n3 --listen "127.0.0.1:$((base + 2))"
    export LATHWORK_ADDR=$home
}

# Whoever waits for a member says so, at once.
nobody_there_yet() {
    local member=127.0.0.1:$((port + 30))
    "$program" start --data early --listen "127.0.0.1:$((port + 31))" --join "$member" --token-file token >early.out 2>early.err &
    local early=$!
    await 5 grep -q 'nobody takes the node in yet.*join="'"$member"'".*refused' early.err
    ok "a node whose member is not there says that it waits" $((!$?)) "$(tail -n 3 early.err)"
    kill -9 $early
    wait $early 2>/dev/null
}

# A name is given once, and stays: in the folder of a node that is alone, too.
a_node_of_a_given_name() {
    local listen=127.0.0.1:$((port + 33)) pid round
    for round in --name=db.east ""; do
        rm -f named.out # else the last round's is found
        # shellcheck disable=SC2086
        "$program" start --data named --listen "$listen" --bus none $round >named.out 2>named.err &
        pid=$!
        await 10 grep -q 'listening' named.out
        lw nodes --json --addr "$listen" >out
        json "it is called what it was given ($round)" '[n["name"] for n in j["nodes"]] == ["db.east"]'
        expect "and its account says so" 0 -- lw status --json --addr "$listen"
        json "too" 'j["name"] == "db.east"'
        kill -TERM $pid
        wait $pid
    done
}

# A node that nobody hears is taken for lost, but lives: it ends once it hears of that.
taken_for_lost() {
    local first=127.0.0.1:$((port + 35)) second=127.0.0.1:$((port + 36)) pids=()
    "$program" start --data silent1 --listen "$first" --bus none --memory 16M >one.out 2>one.err &
    pids[0]=$!
    await 10 grep -q 'listening' one.out
    lw token --data silent1 >token
    "$program" start --data silent2 --name quiet --listen "$second" --bus none --memory 16M --join "$first" --token-file token >two.out 2>two.err &
    pids[1]=$!
    await 20 grep -q 'listening' two.out
    expect "who is there cannot be taken out by force" 6 "is there" -- lw leave --force quiet --addr "$first"
    kill -STOP "${pids[1]}"
    await 10 sh -c "'$program' leave --force quiet --addr $first"
    ok "who is not heard can" $((!$?)) "$(lw nodes --addr "$first")"
    kill -CONT "${pids[1]}"
    wait "${pids[1]}"
    local code=$?
    ok "it ends, as it hears so" $((code == 6)) "exit $code $(tail -n 3 two.err)"
    ok "and says so" "$(grep -c 'cause:.*out of its lattice for good' two.err)" "$(tail -n 3 two.err)"
    kill -TERM "${pids[0]}"
    wait "${pids[0]}"
}

# All of them at other addresses at once, as containers come back; they find each other by --join.
all_elsewhere() {
    local old=$((port + 40)) new=$((port + 50))
    "$program" up -n 3 --data moved --listen "127.0.0.1:$old" --bus none --memory 16M >moved.out 2>moved.err &
    local pid=$!
    await 20 grep -q 'nodes serve' moved.out
    three_copies() { lw status --json --addr "127.0.0.1:$1" | grep -q '"health":"healthy","can_lose":1'; }
    await 20 three_copies "$old"
    expect "a value, before" 0 -- lw put where "at $old" --addr "127.0.0.1:$old"
    kill -TERM $pid
    wait $pid
    "$program" up -n 3 --data moved --listen "127.0.0.1:$new" --bus none --memory 16M >moved.out 2>moved.err &
    pid=$!
    await 20 three_copies "$new"
    ok "all nodes came back elsewhere, and found each other" $((!$?)) "$(lw nodes --addr "127.0.0.1:$new") $(tail -n 3 moved.err)"
    expect "what was written is there" 0 -- lw get where --addr "127.0.0.1:$((new + 2))"
    ok "the one" $(($(grep -cx "at $old" out) == 1)) "$(cat out)"
    expect "the members" 0 -- lw nodes --json --addr "127.0.0.1:$((new + 1))"
    json "are all there" 'sorted(n["address"] for n in j["nodes"] if n["up"]) == ["127.0.0.1:%d" % ('$new' + i) for i in range(3)]'
    kill -TERM $pid
    wait $pid
}

# An upgrade: one node after the other stops and starts, and clients are told nothing of it.
one_after_the_other() {
    local base=$((port + 86)) pid number bench putter first home=$LATHWORK_ADDR
    local all=127.0.0.1:$base,127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2))
    export LATHWORK_ADDR=$all
    "$program" up -n 3 --data rolled --listen "127.0.0.1:$base" --bus none --memory 16M >rolled.out 2>rolled.err &
    pid=$!
    three_again() { lw status --json | grep -q '"health":"healthy","can_lose":1'; }
    await 30 three_again
    ok "three nodes are to be upgraded" $((!$?)) "$(tail -n 3 rolled.err)"
    lw bench --workload register --history rolled.jsonl --clients 4 --duration 12s >rolled.bench 2>&1 &
    bench=$!
    : >puts
    while kill -0 $bench 2>/dev/null; do lw put upgrade "$(wc -c <puts)" >>puts.err 2>&1 || printf x >>failed; printf . >>puts; done &
    putter=$!
    sleep 1
    local again=()
    for number in 1 2 3; do
        first=$(pgrep -P $pid -f "data rolled/n$number ")
        kill -TERM "$first"
        await 10 sh -c "! kill -0 $first 2>/dev/null"
        "$program" start --data "rolled/n$number" --listen "127.0.0.1:$((base + number - 1))" --bus none --memory 16M >"rolled$number.out" 2>&1 &
        again+=($!)
        await 10 grep -q 'listening' "rolled$number.out"
        await 20 three_again
        ok "node $number is back" $((!$?)) "$(lw nodes; tail -n 3 "rolled$number.out")"
    done
    wait $bench $putter
    ok "no put was told an error" $(($(wc -c <puts) > 20 && $([ -e failed ] && echo 0 || echo 1))) "$(wc -c <puts) $(head -n 6 puts.err)"
    ok "and nothing is in doubt" "$(grep -c ' 0 in doubt' rolled.bench)" "$(cat rolled.bench)"
    expect "and all answers are right" 0 -- lw sim --check rolled.jsonl
    kill -TERM "${again[@]}"
    wait "${again[@]}" $pid
    export LATHWORK_ADDR=$home
}

# One clock is two days ahead, one three behind, and they jump: all goes on, and it is told.
wrong_clocks() {
    local base=$((port + 90)) number home=$LATHWORK_ADDR bench
    if ! cc -D_GNU_SOURCE -shared -fPIC -o wrong_clock.so "$here/wrong_clock.c" -ldl 2>cc.err || [ -n "$sanitized" ]; then
        echo "skipped: clocks cannot be turned with a preloaded library here"
        return
    fi
    export LATHWORK_ADDR=127.0.0.1:$base
    local pids=() ahead=(0 172800 -259200)
    for number in 0 1 2; do
        echo "${ahead[$number]}" >"clock$number"
        local join=(--join "127.0.0.1:$base" --token-file clocks0/join-token)
        [ $number != 0 ] || join=()
        WRONG_CLOCK=$PWD/clock$number LD_PRELOAD=$PWD/wrong_clock.so "$program" start --data "clocks$number" \
            --listen "127.0.0.1:$((base + number))" --memory 16M "${join[@]}" >"clocks$number.out" 2>"clocks$number.err" &
        pids+=($!)
        await 20 grep -q 'listening' "clocks$number.out"
    done
    two_are_wrong() { [ "$(lw nodes | grep -cE 'its wall clock is (2.0 days ahead of|3.0 days behind) most others')" = 2 ]; }
    await 30 two_are_wrong
    ok "whose clock is wrong is told" $((!$?)) "$(lw nodes; tail -n 2 clocks1.err)"
    await 20 is_whole
    expect "status" 0 -- lw status --json
    json "has it, and all is healthy" 'j["health"] == "healthy" and j["clocks_wrong"] == 2'
    lw bench --workload append --history clocks.jsonl --clients 4 --duration 10s >clocks.bench 2>&1 &
    bench=$!
    for number in 1 2 0; do
        lw transfer 1 "127.0.0.1:$((base + number))" >/dev/null 2>&1
        sleep 1
        echo $((31536000 * (number - 1) - 86400)) >"clock$number" # a year, one way or the other
        sleep 1
    done
    wait $bench
    ok "clients notice nothing" "$(grep -c ' 0 in doubt' clocks.bench)" "$(cat clocks.bench)"
    expect "and histories are right" 0 -- lw sim --check clocks.jsonl
    for number in 0 1 2; do
        kill -0 "${pids[$number]}"
        ok "node $number runs" $((!$?)) "$(tail -n 3 "clocks$number.err")"
    done
    kill -TERM "${pids[@]}"
    wait "${pids[@]}"
    export LATHWORK_ADDR=$home
}
is_whole() { lw status --json | grep -q '"health":"healthy","can_lose":1'; }

# What another version, another program or chance sends to a node's port is refused in words.
other_protocols() {
    local member=$1
    python3 - "$member" >protocols.out <<'PY'
import os, socket, struct, sys
host, port = sys.argv[1].split(":")
def ask(said):
    with socket.create_connection((host, int(port)), 3) as one:
        one.settimeout(3)
        one.sendall(said)
        return one.recv(300).decode(errors="replace")
body = bytes([9, 9, 1, 0]) + struct.pack("<I", 1) + os.urandom(16)
print(ask(b"LW01" + struct.pack("<H", len(body)) + body))
print(ask(b"GET / HTTP/1.1\r\n\r\n"))
PY
    ok "a node of another version is told which one to take" \
        "$(grep -c 'one node speaks protocol 9 to 9, the other 1 to 1: bring both to nearer versions' protocols.out)" "$(tr -d '\0' <protocols.out)"
    ok "and another program what it talks to" "$(grep -c "does not speak Lathwork's protocol" protocols.out)" "$(tr -d '\0' <protocols.out)"
    # The other way round: a member of a later version, at which a node knocks.
    python3 - $((port + 98)) <<'PY' &
import socket, struct, sys
words = b"one node speaks protocol 1 to 1, the other 9 to 9: bring both to nearer versions of Lathwork"
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as later:
    later.settimeout(20)
    one, _ = later.accept()
    one.recv(500)
    one.sendall(struct.pack("<H", len(words)) + b"\1" + words)
    one.recv(1)
PY
    local later=$!
    await 5 sh -c "ss -ltn | grep -q :$((port + 98))" || sleep 1
    expect "who joins a later version is told so" 6 "the other 9 to 9" -- lw start --data later --bus none \
        --listen "127.0.0.1:$((port + 97))" --join "127.0.0.1:$((port + 98))" --token-file token
    kill $later 2>/dev/null
    wait $later 2>/dev/null
}

no_nats_server() {
    # As where none is installed: its place in PATH is taken by one that is too old.
    mkdir -p fake
    printf '#!/bin/sh\necho "nats-server: v2.1.0"\n' >fake/nats-server
    chmod +x fake/nats-server
    PATH=$root/fake:$PATH "$program" up -n 2 --data old --listen "127.0.0.1:$((port + 20))" >old.out 2>old.err &
    local pid=$!
    await 20 grep -q 'nodes serve' old.out
    ok "nodes serve without a bus" $((!$?)) "$(tail -n 3 old.err)"
    await 10 grep -q 'nats-server is too old' old.err
    ok "and say why there is none" $((!$?)) "$(tail -n 3 old.err)"
    expect "values are kept all the same" 0 -- lw put a b --addr "127.0.0.1:$((port + 20))"
    # One of two has all of the data: there are too few nodes for more than one copy.
    kill -9 "$(pgrep -f "listen 127.0.0.1:$((port + 20))" -P $pid)"
    export LATHWORK_ADDR=127.0.0.1:$((port + 21))
    await 10 sh -c "'$program' nodes | grep -q down"
    expect "the other one says" 0 -- lw status --json
    json "that the shard is lost" 'j["health"] == "unavailable" and j["shards_lost"] == 1'
    expect "and a write, why it was not done" 3 "not on this node" -- lw put a c --timeout 1s
    kill -TERM $pid
    wait $pid
}

three_nodes
leaders_move
shards_merge
one_dies
all_again
join_refused
one_joins_and_leaves
locks_over_nodes
key_changes
folder_lost
end INT
dead_for_good
moves_by_hand
up_after_leave
nobody_there_yet
a_node_of_a_given_name
taken_for_lost
all_elsewhere
one_after_the_other
wrong_clocks
no_nats_server
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
