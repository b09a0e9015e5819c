#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Switches each planted bug on in turn, and prints after how many seeds the simulator caught it: how
# we know that the simulator looks. A seed stands for one run of every scenario.
#
#   tests/sim_bugs.sh PROGRAM [BUG...]    all bugs of the code if none is named
#   SIM_BUG_SEED=1                        first seed
#   SIM_BUG_RUNS=500                      seeds, after which a bug counts as not caught
#   SIM_BUG_SECONDS=300                   real seconds, the same
set -u
program=$1
shift
seed=${SIM_BUG_SEED:-1}
runs=${SIM_BUG_RUNS:-500}
seconds=${SIM_BUG_SECONDS:-300}
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || mapfile -t list < <(grep -rhoE 'LW_BUG\([^,]*, *"[a-z_.]+"' base storage txn lattice \
    node client | sed 's/.*"\(.*\)"/\1/' | sort -u)
[ $# -eq 0 ] || list=("$@")
report=$(mktemp)
trap 'rm -f "$report"' EXIT

# In which scenario a seed fails, and with what: the first line of the report that says so.
explain() {
    local scenario
    for scenario in $("$program" help sim | grep -oE 'lattice-calm|lattice-rot|lattice|calm|crash|disk|rot' | sort -u); do
        if ! timeout 60 "$program" sim --once --no-shrink --scenario "$scenario" --seed "$2" --bug "$1" \
            > "$report" 2>&1; then
            echo "$scenario: $(grep -m1 -A1 -E '^scenario |assert' "$report" | grep -v ^scenario |
                head -n 1 | cut -c 1-100)"
            return
        fi
    done
}

missed=0
for bug in "${list[@]}"; do
    # In a shell of its own, which keeps to itself that the program was aborted.
    status=$( (timeout "$seconds" "$program" sim --once --no-shrink --seed "$seed" --runs "$runs" \
        --bug "$bug" > "$report" 2>&1; echo $?) 2> /dev/null)
    found=$(grep -oE 'seed[= ][0-9]+' "$report" | tail -n 1 | grep -oE '[0-9]+')
    if [ "$status" -ne 0 ] && [ "$status" -ne 124 ] && [ -n "$found" ]; then
        printf '%-32s %4d  %s\n' "$bug" $((found - seed + 1)) "$(explain "$bug" "$found")"
    else
        printf '%-32s    -  not caught\n' "$bug"
        missed=$((missed + 1))
    fi
done
[ $missed -eq 0 ]
