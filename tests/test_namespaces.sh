#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A lattice over a network that is not loopback: two network namespaces with a wire between them, one
# node on this side, two beyond. A client's machine that falls silent is noticed in time; what goes
# over the wire is sealed, nonsense does no harm, the wire is cut and mended, and a NATS server that is
# there already serves as the bus. Where the machine does not let us make namespaces, nothing is
# tested, and it says so. Ends with "N passed, N failed".
#
#   tests/test_namespaces.sh    $LATHWORK names the program; build/debug/lathwork if it does not
set -u
cd "$(dirname "$0")/.." || exit 2
if [ "${1:-}" != --inside ]; then
    if ! unshare -rn ip link add here type veth peer name there 2>/dev/null; then
        echo "skipped: this machine lets us make no network namespace (unshare -rn, ip)"
        echo "0 passed, 0 failed"
        exit 0
    fi
    exec unshare -rn --kill-child "$0" --inside
fi
. tests/program_tools.sh
root=$(mktemp -d) || exit 2
passed=0 failed=0
unset LATHWORK_TIMEOUT LATHWORK_DATA LATHWORK_LISTEN LATHWORK_MEMORY LATHWORK_JOIN
export LC_ALL=C.UTF-8 LATHWORK_ADDR=10.77.0.1:7871
cd "$root" || exit 2
pids=()

leave() {
    [ "$BASHPID" = $$ ] || return
    { kill -9 "${pids[@]}"; wait; } 2>/dev/null
    cd / && rm -rf "$root"
}
trap leave EXIT

beyond() { nsenter -t "$other" -n "$@"; }
is_healthy() { lw status --json | grep -q '"health":"healthy","can_lose":1'; }
tells() { lw events "${@:2}" | grep -q "$1"; }

lay_the_wire() {
    unshare -n --kill-child sleep 600 &
    other=$!
    pids+=("$other")
    await 5 sh -c "[ \$(readlink /proc/$other/ns/net) != \$(readlink /proc/$$/ns/net) ]"
    ip link add here type veth peer name there && ip link set there netns "$other"
    ip addr add 10.77.0.1/24 dev here && ip link set here up && ip link set lo up
    beyond ip addr add 10.77.0.2/24 dev there && beyond ip addr add 10.77.0.3/24 dev there
    beyond ip link set there up && beyond ip link set lo up
    ok "two namespaces and a wire" $((!$?))
}

start() { # NUMBER FLAGS…
    local number=$1 in=()
    shift
    [ "$number" = 1 ] || in=(nsenter -t "$other" -n) # which becomes the node
    "${in[@]}" "$program" start --data "d$number" --listen "10.77.0.$number:7871" --memory 16M "$@" \
        >"n$number.out" 2>"n$number.err" &
    node_pids[number]=$!
    pids+=($!)
}
end_all() {
    kill "${node_pids[@]}"
    wait "${node_pids[@]}"
    ok "all nodes end when they are told to" $((!$?))
}

three_nodes() {
    node_pids=()
    start 1 "$@"
    await 20 grep -q 'listening' n1.out
    start 2 --join 10.77.0.1:7871 --token-file d1/join-token "$@"
    start 3 --join 10.77.0.1:7871 --token-file d1/join-token "$@"
    await 30 is_healthy
    ok "three nodes are a lattice ($*)" $((!$?)) "$(lw nodes) $(tail -n 3 n2.err)"
}

# What people put is on the wire to both other nodes, and nobody reads it there.
wire_is_sealed() {
    timeout 20 python3 - >sniffed <<'PY' &
import socket, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
wire.bind(("here", 0))
wire.settimeout(0.1)
seen, clear, end = 0, 0, time.monotonic() + 3
while time.monotonic() < end:
    try:
        packet = wire.recv(65536)
    except TimeoutError:
        continue
    seen += len(packet)
    clear += b"open sesame" in packet or b"10.77.0.3:7871" in packet
print(seen, clear)
PY
    local sniffer=$!
    sleep 0.5
    for index in $(seq 10); do lw put "secret$index" "open sesame, open sesame, $index"; done
    wait "$sniffer"
    local seen clear
    read -r seen clear <sniffed
    ok "the wire has the data and the news, and nothing of them in clear" \
        $((seen > 5000 && clear == 0)) "$(cat sniffed)"
    expect "it arrives" 0 -- beyond "$program" get secret7 --addr 10.77.0.3:7871
}

# Whoever reaches the ports of nodes and brokers says what it likes.
nonsense_does_no_harm() {
    beyond timeout 20 python3 - <<'PY'
import os, socket
for port in (7871, 8871):
    for turn in range(20):
        said = [os.urandom(3000), b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 4096, b"", b"CONNECT {}\r\nPING\r\n"]
        with socket.create_connection(("10.77.0.1", port), 2) as one:
            one.settimeout(0.05)
            try:
                one.sendall(said[turn % len(said)])
                one.recv(100)
            except OSError:
                pass
PY
    expect "after nonsense on links and the bus, a value" 0 -- lw put after nonsense
    is_healthy
    ok "and all is as before" $((!$?)) "$(lw status | head -n 8)"
    kill -0 "${node_pids[1]}"
    ok "the node runs" $((!$?)) "$(tail -n 3 n1.err)"
}

# This side has one node of three, that side a majority.
wire_is_cut() {
    ip link set here down
    await 15 tells unlinked
    ok "a link that is cut is told" $((!$?)) "$(lw events | tail -n 5)"
    writes_beyond() { beyond "$program" put while cut --addr 10.77.0.2:7871,10.77.0.3:7871 --timeout 3s; }
    await 15 writes_beyond
    ok "the majority goes on" $((!$?)) "$(lw nodes)"
    expect "alone it says what is missing" 3 -- lw put alone here --timeout 1s
    expect "and how bad it is" 0 -- lw status --json
    ok "unavailable" "$(grep -c '"health":"unavailable"' out)" "$(head -c 300 out)"
    ip link set here up
    await 30 is_healthy
    ok "once it is mended all is well" $((!$?)) "$(lw status | head -n 8) $(lw nodes)"
    expect "what was written meanwhile" 0 -- lw get while
    ok "is here" "$(grep -cx cut out)" "$(cat out)"
}

bus_of_others() {
    nats-server -a 10.77.0.1 -p 4222 >nats.out 2>&1 &
    local broker=$!
    pids+=("$broker")
    end_all
    three_nodes --bus nats://10.77.0.1:4222
    await 15 tells 'the bus is up' --addr 10.77.0.1:7871
    ok "a NATS server that is there serves as the bus" $((!$?)) "$(lw events | grep bus)"
    kill -9 "$broker"
    wait "$broker" 2>/dev/null
    await 15 tells 'the bus is degraded: no connection'
    ok "its end is told" $((!$?)) "$(lw events | grep bus)"
    expect "and writes go on" 0 -- lw put without "a bus"
    nats-server -a 10.77.0.1 -p 4222 >nats.out 2>&1 &
    pids+=($!)
    up_again() { [ "$(lw events | grep -c 'the bus is up')" -ge 2 ]; }
    await 30 up_again
    ok "it is found again" $((!$?)) "$(lw events | grep bus)"
    end_all
}

# A machine that falls silent, with a lock and a reply on its way to it, or none; one whose client
# stands still. The reply is another's lock, which is let go of once the wire is cut.
talk() { # DESCRIPTOR PREFIX…: a shell that begins a transaction, and takes what is written to it
    local fifo="talk$1"
    mkfifo "$fifo"
    "${@:2}" "$program" shell --addr 10.77.0.1:7870 --timeout 100s <"$fifo" >/dev/null 2>&1 &
    talker=$!
    pids+=("$talker")
    eval "exec $1>$fifo"
    rm "$fifo"
    echo "begin pessimistic" >&"$1"
}
end_talk() { { kill -9 "$talker"; wait "$talker"; } 2>/dev/null; }
has_lock() { lw locks --addr 10.77.0.1:7870 | grep -qw "$1"; }
has_none() { ! has_lock "$1"; }
silence_is_noticed() { # NAME COMMAND…, carried out once the wire is cut
    echo "put mine 1" >&5
    await 5 has_lock mine
    ok "$1: it has a lock" $((!$?))
    [ $# = 1 ] || { echo "put other 2" >&5 && sleep 0.3; }
    local begun
    begun=$(date +%s%3N)
    beyond ip link set there down
    [ $# = 1 ] || { sleep 0.1 && "${@:2}"; }
    await 15 has_none mine
    ok "$1: its locks are gone, $(($(date +%s%3N) - begun)) ms later" \
        $(($? == 0 && $(date +%s%3N) - begun < 6500))
    beyond ip link set there up
}
let_go() { echo commit >&6; }
client_loses_its_machine() {
    "$program" start --data lone --listen 10.77.0.1:7870 --bus none --memory 16M >lone.out 2>&1 &
    local lone=$!
    pids+=("$lone")
    await 20 grep -q 'listening' lone.out
    talk 5 nsenter -t "$other" -n
    silence_is_noticed "a machine at rest"
    end_talk
    talk 6
    echo "put other 1" >&6
    await 5 has_lock other
    talk 5 nsenter -t "$other" -n
    silence_is_noticed "one that a reply is on its way to" let_go
    end_talk
    talk 5 nsenter -t "$other" -n
    echo "put still 1" >&5
    await 5 has_lock still
    kill -STOP "$talker"
    sleep 7
    has_lock still
    ok "a client that stands still has not fallen silent" $((!$?))
    exec 5>&- 6>&-
    end_talk
    kill "$lone"
    wait "$lone"
    ok "the lone node ends" $((!$?))
}

lay_the_wire
client_loses_its_machine
three_nodes
wire_is_sealed
nonsense_does_no_harm
wire_is_cut
bus_of_others
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
