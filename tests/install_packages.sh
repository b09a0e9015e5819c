#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The Debian packages that Lathwork is built and checked with: this is the one list of them.
#   install_packages.sh build          installs what building and testing need and is missing,
#                                      after saying what and why
#   install_packages.sh check          and what `make check` and `make fuzz` need besides
#   install_packages.sh torture        and what `make torture` makes its lattices of
#   install_packages.sh bench          and what `make bench` compares our storage engine with
#   install_packages.sh --ask build    only says what is missing; exit code 1 if anything is
# Where there is no dpkg the list cannot be held against anything, and the compiler has the word;
# SKIP_PACKAGES=1 asks for that too.
set -eu

list() {
    cat <<'LIST'
build gcc                 the compiler
build libc6-dev           the C library's headers
build libmsgpack-dev      messages on the wire
build libsodium-dev       identities and digests
build liburing-dev        a node's disk and network
build libisal-dev         checksums
build libxxhash-dev       hashes in filters
build liblz4-dev          compression of tables
build libzstd-dev         denser compression of tables
build libedit-dev         line editing in the shell
build libnats-dev         the bus between nodes
build nats-server         the broker of the bus, which a node starts by itself
build libcmocka-dev       unit tests
build python3             tests that act as users and as strangers
build pkg-config          the test of the installed library
build iproute2            a lattice in namespaces of its own
check g++                 the public header as C++
check clang               the other compiler, and fuzzing
check libclang-rt-14-dev  the fuzzer and its sanitizers
check clang-format        formatting
check clang-tidy          static analysis
check cppcheck            static analysis
torture e2fsprogs         disks for each node
torture procps            brokers by their node
bench librocksdb-dev      RocksDB, to be measured against
bench libleveldb-dev      LevelDB, to be measured against
bench liblmdb-dev         LMDB, to be measured against
bench redis-server        Redis, to be measured against
bench etcd-server         etcd, to be measured against
bench postgresql          PostgreSQL, to be measured against
bench curl                asks etcd who leads
LIST
}

ask=false
if [ "$1" = --ask ]; then
    ask=true
    shift
fi
if [ "${SKIP_PACKAGES:-0}" = 1 ] || ! command -v dpkg-query >/dev/null; then
    exit 0
fi

wanted=$(list | awk -v set="$1" '$1 == "build" || $1 == set { print $2 }')
# shellcheck disable=SC2086 # a list of words
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null || true)
missing=""
for package in $wanted; do
    if ! printf '%s\n' "$installed" | grep -qxF "installed $package"; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo "
fi
command="${as_root}apt-get install --yes --no-install-recommends$missing"
{
    echo "Lathwork needs Debian packages that are missing:"
    for package in $missing; do
        list | awk -v package="$package" '$2 == package { sub(/^[a-z]+ /, "  "); print }'
    done
} >&2
if [ "$ask" = true ]; then
    echo "Run 'make deps', or: $command" >&2
    echo "(SKIP_PACKAGES=1 goes on without them.)" >&2
    exit 1
fi
echo "Installing them: $command" >&2
if [ -n "$as_root" ] && ! command -v sudo >/dev/null; then
    echo "There is no sudo here: run that command as root, then try again." >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# A fresh system has no lists of packages, and old lists name files that are gone.
${as_root}apt-get update -qq
$command >/dev/null
