#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a node costs: size of the program, start, memory, commit latency, speed of simulation; then
# the storage engine against others.
#   bench.sh build/release [--quick] [--json FILE] …    (the options of bench_engines)
set -eu
build=$1
shift
folder=$(mktemp -d "${BENCH_DIR:-$PWD/build}/bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
strip -o "$folder/lathwork" "$build/lathwork"
echo "stripped program                      $(stat -c %s "$folder/lathwork" | awk '{printf "%8.2f MB", $1 / 1048576}')"
mkdir "$folder/node" "$folder/store"
timeout 300 "$build/tests/bench_node" "$folder/lathwork" "$folder/node"
timeout 300 "$build/lathwork" sim --scenario crash --runs 20 --once | sed -n 's/^simulated /simulated                            /p'
timeout 5400 "$build/tests/bench_engines" "$folder/store" "$@"
