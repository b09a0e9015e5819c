#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `make install` leaves behind, held to its promises: the files there are, a client library that
# needs nothing but libc and shows nothing but lathwork.h, a storage library that knows no network and
# shows nothing but lathwork_storage.h, headers that need nothing of ours, a small program, a manual
# page and completions that can be read.
set -u
cd "$(dirname "$0")/.." || exit 2
root=$PWD/build/install
rm -rf "$root"
passed=0 failed=0

good() { # NAME COMMAND…
    name=$1
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s\n%s\n' "$name" "$output" | sed 's/^/    /'
    fi
}
same() { # FILE FILE
    diff -u "$1" "$2"
}
# The shared objects a file asks for, beside the loader, which every one with thread-local state names.
needed() { # FILE
    readelf --dynamic --wide "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v "^ld-linux" | sort
}
holds() { # TEXT FILE
    grep -q -e "$1" "$2"
}
lacks() { # TEXT FILE
    ! holds "$1" "$2"
}

if ! output=$(make -s install VARIANT=release DESTDIR="$root" PREFIX=/usr 2>&1); then
    echo "$output"
    echo "0 passed, 1 failed"
    exit 1
fi
usr=$root/usr
library=$usr/lib/liblathwork.so

cat >"$root/expected" <<'END'
bin/lathwork
include/lathwork.h
include/lathwork_sim.h
include/lathwork_storage.h
lib/liblathwork-sim.a
lib/liblathwork-sim.so
lib/liblathwork-sim.so.0
lib/liblathwork-storage.a
lib/liblathwork-storage.so
lib/liblathwork-storage.so.0
lib/liblathwork.a
lib/liblathwork.so
lib/liblathwork.so.0
lib/pkgconfig/lathwork-sim.pc
lib/pkgconfig/lathwork-storage.pc
lib/pkgconfig/lathwork.pc
share/bash-completion/completions/lathwork
share/man/man1/lathwork.1
END
(cd "$usr" && find . ! -type d | sed 's/^\.\///' | LC_ALL=C sort) >"$root/found"
good "just these files are installed" same "$root/expected" "$root/found"

# ---- the library
echo "libc.so.6" >"$root/expected"
needed "$library" >"$root/found"
good "the library needs libc and nothing else" same "$root/expected" "$root/found"
readelf --dynamic --wide "$library" >"$root/found"
good "the library is known by its major version" holds 'SONAME.*\[liblathwork\.so\.0\]' "$root/found"

sed 's/\/\*.*//' client/lathwork.h | tr '\n' ' ' | grep -o 'LW_PUBLIC [^;(]*(' |
    sed 's/.*\b\(lw_[a-z_]*\)(/\1/' | LC_ALL=C sort >"$root/expected"
good "the header declares functions" test -s "$root/expected"
nm --dynamic --defined-only "$library" | awk '{ print $3 }' | LC_ALL=C sort >"$root/found"
good "the shared library shows lathwork.h and nothing else" same "$root/expected" "$root/found"
nm --extern-only --defined-only "$usr/lib/liblathwork.a" | awk 'NF == 3 { print $3 }' |
    LC_ALL=C sort >"$root/found"
good "the archive shows lathwork.h and nothing else" same "$root/expected" "$root/found"

# ---- a program of a user's, outside of our folders
asks=lathwork
flags() {
    PKG_CONFIG_PATH=$usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
        PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 pkg-config "$@" $asks
}
build() { # NAME LIBRARIES…: the words of pkg-config are meant to be split
    program=$root/$1
    shift
    # shellcheck disable=SC2046
    (cd "$root" && ${CC:-gcc} -std=c99 -Wall -Wextra -Werror $(flags --cflags) "$here/transfer.c" \
        "$@" -o "$program")
}
here=$PWD/client/examples
version=$(sed -n 's/^#define LW_VERSION *"\(.*\)"/\1/p' client/lathwork.h)
flags --modversion >"$root/found"
good "pkg-config knows the version" holds "^$version\$" "$root/found"
# shellcheck disable=SC2046
good "the example builds against the shared library" build shared $(flags --libs)
good "the example builds against the archive" build static "$usr/lib/liblathwork.a"
echo "libc.so.6" >"$root/expected"
needed "$root/static" >"$root/found"
good "linked to the archive it needs libc only" same "$root/expected" "$root/found"
for kind in shared static; do
    LD_LIBRARY_PATH=$usr/lib LATHWORK_ADDR=127.0.0.1:1 timeout 60 "$root/$kind" alice bob 1 >"$root/found" 2>&1
    code=$?
    # Nobody listens there: it must say so, and neither crash nor hang.
    good "the example runs ($kind: exit code $code)" test "$code" -gt 0 -a "$code" -lt 124
done

# ---- the storage library
library=$usr/lib/liblathwork-storage.so
sed -e '/^#/d' -e 's/\/\*.*//' storage/lathwork_storage.h | tr '\n' ' ' | grep -o 'LW_STORAGE_PUBLIC [^;(]*(' |
    sed 's/.*\b\(lw_storage_[a-z_]*\)(/\1/' | LC_ALL=C sort >"$root/expected"
good "the storage header declares functions" test -s "$root/expected"
nm --dynamic --defined-only "$library" | awk '{ print $3 }' | LC_ALL=C sort >"$root/found"
good "the shared storage library shows its header and nothing else" same "$root/expected" "$root/found"
nm --extern-only --defined-only "$usr/lib/liblathwork-storage.a" | awk 'NF == 3 { print $3 }' |
    LC_ALL=C sort >"$root/found"
good "the storage archive shows its header and nothing else" same "$root/expected" "$root/found"
printf '%s\n' libc.so.6 libisal.so.2 liblz4.so.1 liburing.so.2 libzstd.so.1 >"$root/expected"
needed "$library" >"$root/found"
good "the storage library needs its libraries and nothing else" same "$root/expected" "$root/found"
nm --undefined-only "$usr/lib/liblathwork-storage.a" | awk 'NF == 2 { print $2 }' >"$root/found"
grep -E '^(socket|connect|bind|listen|accept4?|send|recv|getaddrinfo|gai_|getsock|setsock|nats|msgpack|crypto_|sodium)' \
    "$root/found" >"$root/network"
good "the storage archive asks for nothing of the network" test ! -s "$root/network"
good "what it asks for was listed" holds '^pwritev2$' "$root/found"
readelf --dynamic --wide "$library" >"$root/found"
good "the storage library is known by its major version" holds 'SONAME.*\[liblathwork-storage\.so\.0\]' "$root/found"

asks=lathwork-storage
flags --modversion >"$root/found"
good "pkg-config knows the version of the storage library" holds "^$version\$" "$root/found"
good "its header says the same one" holds "LW_STORAGE_VERSION \"$version\"" storage/lathwork_storage.h
embed() { # NAME COMPILER LANGUAGE LIBRARIES…
    program=$root/$1 compiler=$2 language=$3
    shift 3
    # shellcheck disable=SC2046
    (cd "$root" && $compiler -x "${language%%:*}" -std="${language#*:}" -Wall -Wextra -Werror -pedantic \
        $(flags --cflags) "$examples/embed.c" -x none "$@" -o "$program")
}
examples=$PWD/storage/examples
archive="$usr/lib/liblathwork-storage.a -luring -lisal -llz4 -lzstd -lpthread"
# shellcheck disable=SC2046
good "the storage example builds as C, shared" embed count-c ${CC:-gcc} c:c99 $(flags --libs)
# shellcheck disable=SC2046
good "the storage example builds as C++, shared" embed count-c++ ${CXX:-g++} c++:c++11 $(flags --libs)
# shellcheck disable=SC2086
good "the storage example builds as C, static" embed count-c-static ${CC:-gcc} c:c99 $archive
# shellcheck disable=SC2086
good "the storage example builds as C++, static" embed count-c++-static ${CXX:-g++} c++:c++11 $archive
flags --static --libs >"$root/found"
good "pkg-config knows what a static program needs" holds '-luring -lisal -llz4 -lzstd -lpthread' "$root/found"
printf '%s\n' "4 be" "4 not" "4 or" "4 to" >"$root/expected"
for kind in count-c count-c++ count-c-static count-c++-static; do
    LD_LIBRARY_PATH=$usr/lib timeout 60 "$root/$kind" "$root/words" to be or not >"$root/found" 2>&1
done
good "four programs count the same words" same "$root/expected" "$root/found"

# ---- the library for simulations
library=$usr/lib/liblathwork-sim.so
sed -e '/^#/d' -e 's/\/\*.*//' client/lathwork.h sim/lathwork_sim.h | tr '\n' ' ' | grep -o 'LW_PUBLIC [^;(]*(' |
    sed 's/.*\b\(lw_[a-z_]*\)(/\1/' | LC_ALL=C sort >"$root/expected"
nm --dynamic --defined-only "$library" | awk '{ print $3 }' | LC_ALL=C sort >"$root/found"
good "the shared simulation library shows the two headers and nothing else" same "$root/expected" "$root/found"
nm --extern-only --defined-only "$usr/lib/liblathwork-sim.a" | awk 'NF == 3 { print $3 }' |
    LC_ALL=C sort >"$root/found"
good "the simulation archive shows the two headers and nothing else" same "$root/expected" "$root/found"
printf '%s\n' libc.so.6 libisal.so.2 liblz4.so.1 libsodium.so.23 libzstd.so.1 >"$root/expected"
needed "$library" >"$root/found"
good "the simulation library needs its libraries and nothing else" same "$root/expected" "$root/found"
nm --undefined-only "$usr/lib/liblathwork-sim.a" | awk 'NF == 2 { print $2 }' >"$root/found"
grep -E '^(socket|connect|bind|listen|accept4?|send|recv|getaddrinfo|open|pread|pwrite|fsync|nats|pthread)' \
    "$root/found" >"$root/outside"
good "the simulation archive knows no socket, no file and no thread" test ! -s "$root/outside"
readelf --dynamic --wide "$library" >"$root/found"
good "the simulation library is known by its major version" holds 'SONAME.*\[liblathwork-sim\.so\.0\]' "$root/found"

asks=lathwork-sim
flags --modversion >"$root/found"
good "pkg-config knows the version of the simulation library" holds "^$version\$" "$root/found"
examples=$PWD/sim/examples
simulate() { # NAME SOURCE COMPILER LANGUAGE LIBRARIES…
    program=$root/$1 source=$2 compiler=$3 language=$4
    shift 4
    # shellcheck disable=SC2046
    (cd "$root" && $compiler -x "${language%%:*}" -std="${language#*:}" -Wall -Wextra -Werror -pedantic \
        $(flags --cflags) "$source" -x none "$@" -o "$program")
}
# shellcheck disable=SC2046
{
    good "the rota builds as C, shared" simulate rota "$examples/rota.c" ${CC:-gcc} c:c99 $(flags --libs)
    good "the rota builds as C, static" simulate rota-static "$examples/rota.c" ${CC:-gcc} c:c99 \
        "$usr/lib/liblathwork-sim.a" $(flags --static --libs-only-l | sed 's/-llathwork-sim//')
    good "payments build as C, shared" simulate payments "$examples/payments.c" ${CC:-gcc} c:c99 $(flags --libs)
    good "a program of all mistakes builds" simulate mistakes "$here/../../tests/sim_mistakes.c" ${CC:-gcc} c:c99 \
        $(flags --libs)
}
tries() { # EXIT-CODE PROGRAM FLAGS…: what it says is in $root/found
    expected=$1 program=$2
    shift 2
    LD_LIBRARY_PATH=$usr/lib timeout 200 "$root/$program" "$@" >"$root/found" 2>&1
    code=$?
    [ "$code" = "$expected" ] || { echo "exit code $code"; cat "$root/found"; return 1; }
}
good "the write skew is found at snapshot isolation, within ten seeds" \
    tries 1 rota --scenario lattice --runs 10 --no-shrink isolation=snapshot
good "it is told what broke" holds '^nobody is on call: ward [0-3] (' "$root/found"
good "it is told what led there" holds 'client.*wants off, sees 2 on call' "$root/found"
again=$(sed -n 's/^again with: [^ ]* //p' "$root/found" | head -n 1)
# shellcheck disable=SC2086
good "the command that repeats it does ($again)" tries 1 rota-static $again
good "there is none at strict serializability" tries 0 rota --scenario lattice --runs "${SIM_USER_RUNS:-20}" --once \
    isolation=strict
good "an order is paid twice where doubt is taken for failure" tries 1 payments --runs 5 --no-shrink doubt=repeat
good "it is told so" holds '^not each order is paid once: .* payments made' "$root/found"
good "an order is paid once by who asks" tries 0 payments --runs 5 doubt=ask
good "the mark of the example was counted" holds '^  payments.doubt  *[1-9]' "$root/found"
good "help names the program and its settings" tries 0 rota --help
good "and its flags" holds 'scenario NAME' "$root/found"
good "as they are meant there" holds 'How many clients are at work: 12 at most' "$root/found"
good "settings have names" tries 2 rota snapshot
good "lw_open in a callback reaches the simulated nodes" tries 0 mistakes --scenario lattice what=open
good "lw_open outside of one says so" tries 3 mistakes outside
good "it does" holds 'only the callbacks of a workload open' "$root/found"
good "who computes for ever is ended" tries 1 mistakes --scenario calm what=spin
good "in words" holds 'scenario calm, seed 1: client [0-9] has computed for 5 s' "$root/found"
good "and that nothing of it is counted" holds '^it was cut short' "$root/found"
good "whose client never comes through fails" tries 1 mistakes --scenario calm --no-shrink what=give-up
good "and hears what it returned" holds 'the callback of client [0-9] returned LW_INTERNAL last' "$root/found"
good "a history of what was said is written" tries 0 mistakes --scenario calm --history "$root/said" what=open
good "as JSON lines" holds '^{"seed":1,"time_us":[0-9]*,"who":"client [0-9]","note":"opened"}$' "$root/said"

# ---- the program
size=$(stat -c %s "$usr/bin/lathwork")
good "the program is smaller than 3 MB ($size bytes)" test "$size" -lt 3000000
good "it has no rare paths" lacks 'group\.trusts_no_lease' "$usr/bin/lathwork"
good "it has no coverage marks" lacks 'log\.tail_cut' "$usr/bin/lathwork"
"$usr/bin/lathwork" version >"$root/found" 2>&1
good "the installed program runs" holds "$version" "$root/found"
good "the manual page has a name" holds '^\.TH' "$usr/share/man/man1/lathwork.1"
good "the completion is shell" sh -c "command -v bash >/dev/null && bash -n '$usr/share/bash-completion/completions/lathwork'"
good "the completion completes lathwork" holds '^complete .*lathwork' "$usr/share/bash-completion/completions/lathwork"

make -s uninstall VARIANT=release DESTDIR="$root" PREFIX=/usr >/dev/null
find "$usr" ! -type d >"$root/found"
good "uninstalling leaves no file" test ! -s "$root/found"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
