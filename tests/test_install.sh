#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `make install` leaves behind, held to its promises: the files there are, a library that needs
# nothing but libc and shows nothing but lathwork.h, a header that needs nothing of ours, a small
# program, a manual page and completions that can be read.
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
lib/liblathwork.a
lib/liblathwork.so
lib/liblathwork.so.0
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
flags() {
    PKG_CONFIG_PATH=$usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
        PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 pkg-config "$@" lathwork
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

# ---- the program
size=$(stat -c %s "$usr/bin/lathwork")
good "the program is smaller than 1 MiB ($size bytes)" test "$size" -lt 1048576
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
