#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Switches each planted bug on in turn, in the scenario that tests/planted_bugs.h names for it, and
# prints how many seeds the simulator needs to catch it, in the end the median: how we know that the
# simulator looks. A seed that fails without the bug, too, is not counted as having caught it.
#
#   tests/sim_bugs.sh PROGRAM [BUG...]    all bugs of the code if none is named
#   SIM_BUG_SEED=1                        first seed
#   SIM_BUG_RUNS=2000                     seeds, after which a bug counts as not caught
#   SIM_BUG_SECONDS=300                   real seconds, the same
#   SIM_BUG_JOBS=2                        bugs that are hunted at a time
#
# What was found out about a program stays in build/sim-bugs, so that a run that was interrupted goes
# on where it was. Fails if a bug was not caught.
set -u
cd "$(dirname "$0")/.." || exit 1
if [ "${1:-}" != --hunt ]; then
    program=$1
    shift
    SIM_BUG_FOLDER=build/sim-bugs/$(sha256sum "$program" | cut -c 1-12)
    export SIM_BUG_FOLDER
    mkdir -p "$SIM_BUG_FOLDER"
    # The core of consensus lists its own (lattice/raft.h).
    [ $# -gt 0 ] || mapfile -t list < <({
        grep -rhoE 'LW_BUG\([^,]*, *"[a-z_.]+"' base storage txn lattice node client
        grep -oE 'X\([A-Z_]+, "raft\.[a-z_]+"' lattice/raft.h
    } | sed 's/.*"\(.*\)"/\1/' | sort -u)
    [ $# -eq 0 ] || list=("$@")
    printf '%s\n' "${list[@]}" | xargs -P "${SIM_BUG_JOBS:-2}" -n 1 "$0" --hunt "$program"
    caught=$(for bug in "${list[@]}"; do cat "$SIM_BUG_FOLDER/$bug"; done |
        awk '$3 > 0 {print $3}' | sort -n)
    count=$(printf '%s' "$caught" | grep -c .)
    printf '%d of %d planted bugs are caught, in the median by %d seeds\n' "$count" "${#list[@]}" \
        "$(printf '%s\n' "$caught" | sed -n "$(((count + 1) / 2))p")"
    [ "$count" -eq "${#list[@]}" ]
    exit
fi

# One bug: a line of its name, the scenario, the seeds (0: not caught) and the words of the failure.
program=$2
bug=$3
result=$SIM_BUG_FOLDER/$bug
first=${SIM_BUG_SEED:-1}
end=$((first + ${SIM_BUG_RUNS:-2000}))
until=$(($(date +%s) + ${SIM_BUG_SECONDS:-300}))
scenario=$(grep -F "X(\"$bug\"," tests/planted_bugs.h | cut -d '"' -f 4)
scenario=${scenario:-lattice-storm}
if [ ! -s "$result" ]; then
    report=$(mktemp)
    trap 'rm -f "$report"' EXIT
    seed=$first
    line="$bug $scenario 0 not caught by $((end - first)) seeds"
    while [ "$seed" -lt "$end" ]; do
        left=$((until - $(date +%s)))
        [ "$left" -gt 0 ] || { line="$bug $scenario 0 not caught in time" && break; }
        # In a shell of its own, which keeps to itself that the program was aborted.
        status=$( (timeout "$left" "$program" sim --once --no-shrink --scenario "$scenario" --seed "$seed" \
            --runs $((end - seed)) --bug "$bug" > "$report" 2>&1; echo $?) 2> /dev/null)
        [ "$status" -ne 0 ] || break
        [ "$status" -ne 124 ] || continue
        found=$(grep -aoE 'seed[= ][0-9]+' "$report" | tail -n 1 | grep -oE '[0-9]+')
        # It died without a word: then one seed after the other, until it does again.
        while [ -z "$found" ] && [ "$seed" -lt "$end" ] && [ "$(date +%s)" -lt "$until" ]; do
            (timeout 60 "$program" sim --once --no-shrink --scenario "$scenario" --seed "$seed" \
                --bug "$bug" > /dev/null 2>&1) 2> /dev/null && seed=$((seed + 1)) || found=$seed
        done
        [ -n "$found" ] || { line="$bug $scenario 0 died of it" && break; }
        if timeout 60 "$program" sim --once --no-shrink --scenario "$scenario" --seed "$found" > /dev/null 2>&1
        then
            words=$(grep -a -m1 -A1 -E '^scenario |assert' \
                "$report" | grep -av '^scenario' | head -n 1 | cut -c 1-110)
            line="$bug $scenario $((found - first + 1)) ${words:-dies}"
            break
        fi
        seed=$((found + 1))
    done
    printf '%s\n' "$line" > "$result"
fi
awk '{printf "%-36s %-14s %5s ", $1, $2, ($3 > 0 ? $3 : "-"); $1 = $2 = $3 = ""; print substr($0, 4)}' \
    "$result"
