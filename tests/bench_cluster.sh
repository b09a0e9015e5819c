#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Three members on this machine for `make bench-cluster`, all children of this process, until it is
# ended: bench_cluster.sh lathwork|etcd PROGRAM DIRECTORY PORT. Says "leader PORT" once all three are
# in, every key is on three disks, and it is known which of them leads.
set -u
system=$1 program=$2 directory=$3 port=$4
mkdir -p "$directory" || exit 2
members=()
trap 'kill "${members[@]}" 2>/dev/null; wait; exit 0' INT TERM

start_etcd() {
    local cluster="" index
    for index in 0 1 2; do
        cluster+="${cluster:+,}m$index=http://127.0.0.1:$((port + 2 * index + 1))"
    done
    for index in 0 1 2; do
        local client=http://127.0.0.1:$((port + 2 * index)) peer=http://127.0.0.1:$((port + 2 * index + 1))
        etcd --name "m$index" --data-dir "$directory/$index" --listen-client-urls "$client" \
            --advertise-client-urls "$client" --listen-peer-urls "$peer" \
            --initial-advertise-peer-urls "$peer" --initial-cluster "$cluster" >"$directory/$index.log" 2>&1 &
        members+=($!)
    done
}

# The client's port of the member that says it leads.
etcd_leader() {
    local index status
    for index in 0 1 2; do
        status=$(curl -s -m 1 -X POST -d '{}' "http://127.0.0.1:$((port + 2 * index))/v3/maintenance/status")
        local self leader
        self=$(grep -oE '"member_id":"[0-9]+"' <<<"$status" | grep -oE '[0-9]+')
        leader=$(grep -oE '"leader":"[0-9]+"' <<<"$status" | grep -oE '[0-9]+')
        [ -z "$self" ] || [ "$self" != "$leader" ] || { echo $((port + 2 * index)); return 0; }
    done
    return 1
}

start_lathwork() {
    local index join=()
    for index in 0 1 2; do
        "$program" start --data "$directory/$index" --listen "127.0.0.1:$((port + index))" --memory 128M --shard-rate 1000000000 \
            "${join[@]}" >"$directory/$index.log" 2>&1 &
        members+=($!)
        local tries=0
        until grep -q '^listening on' "$directory/$index.log" || [ $((tries++)) -gt 500 ]; do sleep 0.01; done
        join=(--join "127.0.0.1:$port" --token-file "$directory/0/join-token")
    done
}

# Of the shard that holds everything, once it has three voters.
lathwork_leader() {
    "$program" shards --addr "127.0.0.1:$port" --json 2>/dev/null |
        python3 -c '
import json, sys
shards = [json.loads(line) for line in sys.stdin if line.strip()]
shards = shards[0] if len(shards) == 1 and isinstance(shards[0], list) else shards
assert len(shards) == 1 and len([r for r in shards[0]["replicas"] if r["role"] == "voter"]) == 3
print(shards[0]["address"].rsplit(":", 1)[1])' 2>/dev/null
}

"start_$system"
for _ in $(seq 600); do
    if leader=$("${system}_leader"); then
        echo "leader $leader"
        wait
        exit 0
    fi
    sleep 0.1
done
echo "no leader within a minute"
exit 1
