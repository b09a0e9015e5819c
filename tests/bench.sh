#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a node costs: size of the program, start, memory, commit latency, the store by itself, speed of
# simulation. Figures are printed, not judged.
#   bench.sh build/release
set -eu
build=$1
folder=$(mktemp -d "${BENCH_DIR:-$PWD/build}/bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
strip -o "$folder/lathwork" "$build/lathwork"
echo "stripped program                      $(stat -c %s "$folder/lathwork" | awk '{printf "%8.2f MB", $1 / 1048576}')"
mkdir "$folder/node" "$folder/store"
timeout 300 "$build/tests/bench_node" "$folder/lathwork" "$folder/node"
timeout 300 "$build/tests/bench_store" "$folder/store"
timeout 300 "$build/lathwork" sim --scenario crash --runs 20 --once | sed -n 's/^simulated /simulated                            /p'
