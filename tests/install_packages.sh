#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that are missing, after saying which and what for.
#   install_packages.sh build    what building and testing needs
#   install_packages.sh check    what `make check` and `make fuzz` need besides
set -eu

list() {
    cat <<'LIST'
build gcc              the compiler
build libc6-dev        the C library's headers
build libmsgpack-dev   messages on the wire
build libsodium-dev    identities and digests
build liburing-dev     a node's disk and network
build libisal-dev      checksums
build libxxhash-dev    hashes in filters
build liblz4-dev       compression of tables
build libedit-dev      line editing in the shell
build libcmocka-dev    unit tests
build python3          tests that act as users and as strangers
check g++              the public header as C++
check clang            the other compiler, and fuzzing
check clang-format     formatting
check clang-tidy       static analysis
check cppcheck         static analysis
LIST
}

missing=""
while read -r set package reason; do
    [ "$set" = build ] || [ "$1" = "$set" ] || continue
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
        [ -n "$missing" ] || echo "Missing Debian packages:" >&2
        printf '  %-16s %s\n' "$package" "$reason" >&2
        missing="$missing $package"
    fi
done <<LIST
$(list)
LIST
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi
echo "Installing them: $as_root apt-get install --no-install-recommends$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
    $as_root apt-get update -qq
    $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
