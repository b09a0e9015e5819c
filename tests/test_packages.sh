#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The installer of packages in a made-up system: dpkg-query knows what a file says, apt-get, sudo and
# id write down what they were asked. Nothing is installed.
set -u
installer=$(cd "$(dirname "$0")" && pwd)/install_packages.sh
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
mkdir "$room/bin" "$room/no-sudo"
passed=0 failed=0

fake() {
    { echo '#!/bin/sh' && cat; } >"$room/bin/$1"
    chmod +x "$room/bin/$1"
}
fake dpkg-query <<END
shift 3
for package; do grep -qx "\$package" "$room/installed" && echo "installed \$package"; done
END
fake apt-get <<END
echo "apt-get \$*" >>"$room/asked"
END
fake sudo <<END
echo "sudo" >>"$room/asked"
"\$@"
END
fake id <<END
cat "$room/user"
END
for tool in sh cat grep awk; do
    ln -s "$(command -v $tool)" "$room/bin/$tool"
done
cp -P "$room/bin/"* "$room/no-sudo/"
rm "$room/no-sudo/sudo"

everything() {
    sed -n "s/^\(build\|check\|bench\) \([a-z0-9+.-]*\) .*/\2/p" "$installer"
}
# system USER MISSING…: everything is installed but that.
system() {
    echo "$1" >"$room/user"
    shift
    everything >"$room/installed"
    for package; do
        grep -vxF "$package" "$room/installed" >"$room/less" && mv "$room/less" "$room/installed"
    done
    : >"$room/asked"
}
# install BIN ARGUMENT…: leaves $code, $said, $asked.
install() {
    path=$room/$1
    shift
    said=$(PATH="$path" SKIP_PACKAGES=0 "$installer" "$@" 2>&1)
    code=$?
    asked=$(cat "$room/asked")
}
# good NAME CONDITION…
good() {
    name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s: exit code %s, asked: %s\n%s\n' "$name" "$code" "$asked" "$said"
    fi
}
says() {
    for word; do
        case $said in *"$word"*) ;; *) return 1 ;; esac
    done
}

system 0
install bin build
good "when nothing is missing nothing is said or done" test "$code$said$asked" = 0

system 0 libsodium-dev gcc
install bin build
good "root installs what is missing and nothing else" test "$asked" = "apt-get update -qq
apt-get install --yes --no-install-recommends gcc libsodium-dev"
good "what and why is said first" says "libsodium-dev" "identities and digests" "gcc" "the compiler"

system 1000 libsodium-dev
install bin build
good "others ask sudo" test "$asked" = "sudo
apt-get update -qq
sudo
apt-get install --yes --no-install-recommends libsodium-dev"

system 1000 libsodium-dev
install no-sudo build
good "without sudo nothing is done" test "$code$asked" = 1
good "without sudo the command is shown" says "apt-get install" "libsodium-dev" "as root"

system 0 liburing-dev
install bin --ask build
good "asking installs nothing and fails" test "$code$asked" = 1
good "asking says what is missing and what to do" says "liburing-dev" "make deps"

system 0 cppcheck
install bin build
good "what only checks need is not missed by a build" test "$code$said$asked" = 0
install bin check
good "checks miss it" says "cppcheck"

system 0 liblmdb-dev
install bin check
good "what is only measured against is missed by no check" test "$code$said$asked" = 0
install bin bench
good "a bench misses it" says "liblmdb-dev" "to be measured against"

system 0 g++
install bin --ask check
good "a name with signs in it is matched as it stands" says "g++"

system 0 gcc
rm "$room/bin/dpkg-query"
install bin build
good "without dpkg the compiler has the word" test "$code$said$asked" = 0

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
