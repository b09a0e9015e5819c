#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A real node on a real disk that is full: a small tmpfs in a mount namespace of its own. Where the
# machine does not let us make one, nothing is tested, and it says so. Ends with "N passed, N failed".
#
#   tests/test_full_disk.sh     $LATHWORK names the program; build/debug/lathwork if it does not
set -u
cd "$(dirname "$0")/.." || exit 2
if [ "${1:-}" != --inside ]; then
    if ! unshare -rm mount -t tmpfs -o size=1m none /mnt 2>/dev/null; then
        echo "skipped: this machine lets us make no mount namespace (unshare -rm)"
        echo "0 passed, 0 failed"
        exit 0
    fi
    exec unshare -rm "$0" --inside
fi
. tests/program_tools.sh
root=$(mktemp -d) || exit 2
disk=$root/disk
node_pid=
member_pids=()
passed=0
failed=0
unset LATHWORK_ADDR LATHWORK_TIMEOUT LATHWORK_DATA LATHWORK_LISTEN LATHWORK_MEMORY
export LC_ALL=C.UTF-8 HOME=$root
mkdir "$disk" && mount -t tmpfs -o size=24m none "$disk" && cd "$root" || exit 2

leave() {
    [ "$BASHPID" = $$ ] || return
    [ -z "$node_pid" ] || kill -9 "$node_pid" 2>/dev/null
    [ ${#member_pids[@]} -eq 0 ] || kill -9 "${member_pids[@]}" 2>/dev/null
    cd / && umount -l "$disk" && rm -rf "$root"
}
trap leave EXIT

# answers NAME CODE WORDS COMMAND…: the words are on either output.
answers() {
    local name=$1 code=$2 words=$3 got good=1
    shift 3
    "$@" >out 2>err
    got=$?
    [ $got -eq "$code" ] || good=0
    [ -z "$words" ] || cat out err | grep -qF -- "$words" || good=0
    ok "$name" $good "exit $got for $code, \"$(head -c 600 out err | tr '\n\0' '| ')\""
}
start() {
    "$program" start --data "$disk/data" --listen 127.0.0.1:0 >node.log 2>&1 &
    node_pid=$!
    for _ in $(seq 100); do
        address=$(sed -n 's/.*127\.0\.0\.1:\([0-9][0-9]*\).*/127.0.0.1:\1/p' node.log | head -n 1)
        [ -n "$address" ] && lw status --addr "$address" >/dev/null 2>&1 && break
        kill -0 "$node_pid" 2>/dev/null || break
        sleep 0.1
    done
    export LATHWORK_ADDR=$address
}

start
ok "a node starts on a small disk" "$(kill -0 "$node_pid" 2>/dev/null && echo 1)" "$(tail -n 5 node.log)"
answers "there is room at first" 0 room lw status
head -c 200000 /dev/urandom | base64 -w 0 >value
answers "a first value" 0 "" lw put kept "this one is kept"
count=0
while [ $count -lt 400 ] && lw put "key$count" - <value >/dev/null 2>err; do
    count=$((count + 1))
done
ok "the disk takes some values and is full in the end" "$([ $count -gt 5 ] && [ $count -lt 400 ] && echo 1)" "$count"
answers "a refused put says what to do" 6 "lathwork del" lw put more value
answers "status says it" 0 full lw status
answers "reads go on" 0 "this one is kept" lw get kept
ok "also of what is large" "$(lw get key5 >out && cmp -s <(head -c 200000 value) <(head -c 200000 out) && echo 1)"
for index in 0 1 2 3; do
    answers "deletes go on" 0 "" lw del "key$index"
done
answers "and are seen" 1 "" lw get key0

kill -9 "$node_pid" && wait "$node_pid" 2>/dev/null
start
ok "a node starts on a full disk" "$(kill -0 "$node_pid" 2>/dev/null && echo 1)" "$(tail -n 5 node.log)"
answers "nothing is lost" 0 "this one is kept" lw get kept
answers "what was deleted stays so" 1 "" lw get key3
answers "deletes go on after it" 0 "" lw del key4

mount -o remount,size=64m "$disk"
for _ in $(seq 100); do
    lw put again "there is room" >/dev/null 2>&1 && break
    sleep 0.2
done
answers "with more room writes go on by themselves" 0 "there is room" lw get again
answers "status says so" 0 room lw status
kill -TERM "$node_pid"
if wait "$node_pid"; then ok "the node ends as it should" 1; else ok "the node ends as it should" 0; fi
node_pid=
answers "the folder is sound" 0 "" lw check "$disk/data"

# One of three has a small disk: what it holds counts no more, and status says so.
port=$((28000 + $$ % 200 * 10))
export LATHWORK_ADDR=127.0.0.1:$port
mount -o remount,size=40m "$disk"
rm -rf "$disk/data"
member() { # NUMBER FOLDER FLAGS…
    local number=$1 folder=$2
    shift 2
    "$program" start --data "$folder" --listen "127.0.0.1:$((port + number - 1))" --memory 16M --bus none "$@" >"m$number.log" 2>&1 &
    member_pids+=($!)
    for _ in $(seq 200); do
        grep -q 'listening on' "m$number.log" && return
        sleep 0.1
    done
}
health_is() { lw status --json 2>/dev/null | grep -q "$1"; }
member_pids=()
member 1 "$root/m1"
member 2 "$root/m2" --join "$LATHWORK_ADDR" --token-file "$root/m1/join-token"
member 3 "$disk/m3" --join "$LATHWORK_ADDR" --token-file "$root/m1/join-token"
await 30 health_is '"health":"healthy","can_lose":1'
ok "three members, one with a small disk" $((!$?)) "$(lw nodes 2>&1; tail -n 3 m3.log)"
lw transfer 1 n1
for count in $(seq 300); do
    lw put "key$count" - <value >/dev/null 2>err || break
done
ok "writes go on where two have room" $((count == 300)) "$count: $(cat err)"
await 30 health_is '"health":"degraded","can_lose":0'
ok "one with a full disk is no longer counted" $((!$?)) "$(lw status --json | head -c 300) $(tail -n 3 m3.log)"
answers "and named" 0 'n3 (127.0.0.1:' lw status
lw nodes >out
ok "with what ails it" "$(grep -Eqc '^n3.*(disk is full|far behind)$' out && echo 1)" "$(cat out)"
mount -o remount,size=400m "$disk"
await 30 health_is '"health":"healthy","can_lose":1'
ok "with more room it counts again" $((!$?)) "$(lw nodes) $(lw status --json | head -c 300) $(tail -n 3 m3.log)"
kill -TERM "${member_pids[@]}"
wait "${member_pids[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
