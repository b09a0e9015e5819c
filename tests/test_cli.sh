#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The command line against real nodes, on free loopback ports and in a temporary folder: every
# command, every exit code, and the list of bad inputs. Ends with "N passed, N failed".
#
#   tests/test_cli.sh       $LATHWORK names the program; build/debug/lathwork if it does not
set -u
cd "$(dirname "$0")/.." || exit 2
. tests/program_tools.sh
root=$(mktemp -d) || exit 2
node_pid=
passed=0
failed=0
unset LATHWORK_ADDR LATHWORK_TIMEOUT LATHWORK_DATA LATHWORK_LISTEN LATHWORK_MEMORY NO_COLOR
export LC_ALL=C.UTF-8 HOME=$root/home
mkdir "$HOME"
cd "$root" || exit 2
# libedit never frees the names of functions that were added to it.
echo "leak:wcsdup" >suppressions
export LSAN_OPTIONS="suppressions=$root/suppressions:print_suppressions=0"

leave() {
    [ "$BASHPID" = $$ ] || return # a child that was ended before it became another program
    [ -z "$node_pid" ] || kill -9 "$node_pid" 2>/dev/null
    jobs -p | xargs -r kill -9 2>/dev/null
    cd / && rm -rf "$root"
}
trap leave EXIT

# ---- tools ------------------------------------------------------------------------------------------

# says NAME TEXT: the answer of the last command, byte for byte.
says() {
    printf '%b' "$2" >wanted
    if cmp -s wanted out; then ok "$1" 1; else ok "$1" 0 "$(head -c 300 out)"; fi
}

is_json() {
    if python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$2" 2>/dev/null; then
        ok "$1 is JSON" 1
    else
        ok "$1 is JSON" 0 "$(head -c 300 "$2")"
    fi
}

# start_node DIR [FLAG…]: sets $node_pid, and $LATHWORK_ADDR to where it listens.
start_node() {
    local directory=$1
    shift
    : >node.out # or the address of the last node is read
    "$program" start --data "$directory" --listen 127.0.0.1:0 "$@" >node.out 2>>node.err &
    node_pid=$!
    disown
    for _ in $(seq 500); do
        LATHWORK_ADDR=$(sed -n 's/^listening on //p' node.out)
        [ -z "$LATHWORK_ADDR" ] || break
        kill -0 "$node_pid" 2>/dev/null || break
        sleep 0.01
    done
    export LATHWORK_ADDR
    [ -n "$LATHWORK_ADDR" ] || { echo "FAIL: the node did not start: $(tail -n 5 node.err)"; failed=$((failed + 1)); }
}

# stop_node SIGNAL: waits until it is gone.
stop_node() {
    kill "-$1" "$node_pid"
    for _ in $(seq 1000); do
        kill -0 "$node_pid" 2>/dev/null || break
        sleep 0.01
    done
    if kill -0 "$node_pid" 2>/dev/null; then
        ok "the node ends at $1" 0
        kill -9 "$node_pid"
    fi
    node_pid=
}

# ---- without a node ----------------------------------------------------------------------------------

help_and_usage() {
    expect "help" 0 -- lw help
    expect "help for a command" 0 -- lw help txn
    expect "--help" 0 -- lw put --help
    expect "help for nothing" 1 "no command" -- lw help nothing
    expect "no command" 2 "no command was given" -- lw
    expect "a wrong command" 2 'did you mean "scan"' -- lw scam
    expect "a wrong flag" 2 "no flag --frob" -- lw get k --frob
    expect "a missing value" 2 "needs a value" -- lw get k --addr
    expect "a wrong value" 2 "HOST:PORT" -- lw get k --addr nowhere
    expect "too few operands" 2 "put needs KEY VALUE" -- lw put k
    expect "a wrong environment" 2 "LATHWORK_ADDR" -- env LATHWORK_ADDR=x "$program" get k
    expect "version" 0 -- lw version
    grep -q '^lathwork [0-9]' out; ok "the version is said" $((!$?))
    expect "errors as JSON" 2 -- lw put k --json
    is_json "an error" err
    for command in help version config; do
        expect "$command --json" 0 -- lw $command --json
        is_json "$command" out
    done
    expect "config" 0 -- env LATHWORK_MEMORY=1G "$program" config --addr a:1
    grep -q "^addr	a:1	flag --addr$" out && grep -q "^memory	1G	environment LATHWORK_MEMORY$" out \
        && grep -q "^timeout	10s	default$" out
    ok "config says where each value comes from" $((!$?))
    lw help --completion bash >completion
    # shellcheck disable=SC1091
    (source ./completion; COMP_WORDS=(lathwork --json sc); COMP_CWORD=2; _lathwork; echo "${COMPREPLY[*]}"
     COMP_WORDS=(lathwork scan --re); COMP_CWORD=2; _lathwork; echo "${COMPREPLY[*]}"
     COMP_WORDS=(lathwork get --isolation sn); COMP_CWORD=3; _lathwork; echo "${COMPREPLY[*]}") >out 2>err
    says "completions complete" 'scan\n--reverse\nsnapshot\n'
    lw help --man >manual
    if command -v man >/dev/null; then
        man --warnings -l manual >/dev/null 2>err; [ ! -s err ]
        ok "the manual page is sound" $((!$?)) "$(head -n 3 err)"
    fi
}

unreachable() {
    local started=$SECONDS
    expect "no node there" 3 "Connection refused" -- lw get k --addr 127.0.0.1:1
    expect "no node for load" 3 "" -- lw load --addr 127.0.0.1:1 /dev/null
    [ $((SECONDS - started)) -le 5 ]; ok "a node that is not there shows at once" $((!$?))
    expect "no node, as JSON" 3 -- lw status --json --addr 127.0.0.1:1
    is_json "an unreachable node" err
    python3 - >server.out <<'PY' &
import socket, threading, time
silent, rude = socket.socket(), socket.socket()
for s in silent, rude:
    s.bind(("127.0.0.1", 0)); s.listen(16)
print(silent.getsockname()[1], rude.getsockname()[1], flush=True)
def answer():
    while True:
        c, _ = rude.accept()
        c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 4096); c.close()
threading.Thread(target=answer, daemon=True).start()
time.sleep(60)
PY
    local server=$!
    while [ ! -s server.out ]; do sleep 0.02; done
    read -r silent rude <server.out
    expect "a server that says nothing" 3 -- lw get k --timeout 500ms --addr 127.0.0.1:"$silent"
    "$program" get k --timeout 1s --addr 127.0.0.1:"$rude" >out 2>err
    code=$?
    [ $code = 6 ] || [ $code = 3 ]
    ok "a server that is no node" $((!$?)) "exit $code, $(cat err)"
    kill $server
}

# ---- data ---------------------------------------------------------------------------------------------

keys_and_values() {
    expect "put" 0 -- lw put a 1
    says "put says nothing" ''
    expect "get" 0 -- lw get a
    says "get gives exactly the value" '1'
    expect "get an absent key" 1 'not found: "z"' -- lw get z
    says "an absent key has no answer" ''
    expect "an empty value" 0 -- lw put empty ''
    expect "get an empty value" 0 -- lw get empty
    says "an empty value is a value" ''
    expect "put hex" 0 -- lw put --hex 00ff0a 0109
    expect "get hex" 0 -- lw get --hex 00ff0a
    says "hex comes out as hex" '0109\n'
    expect "get escaped" 0 -- lw get --escaped '\x00\xff\n'
    says "escaped comes out escaped" '\\x01\\t\n'
    expect "bad hex" 2 "hexadecimal" -- lw get --hex 0g
    expect "bad escape" 2 "no escape" -- lw get --escaped '\q'
    expect "get several" 1 'not found: "z"' -- lw get a z empty
    says "several keys are lines" 'a\t1\nempty\t\n'
    expect "a key like a flag" 0 -- lw put -- --json -x
    expect "get a key like a flag" 0 -- lw get -- --json
    says "its value" '-x'
    head -c 300000 /dev/urandom >random
    "$program" put binary - <random; ok "put from standard input" $((!$?))
    "$program" get binary >back; cmp -s random back; ok "binary values round-trip" $((!$?))
    expect "del" 0 -- lw del a z
    says "del says how many" '1\n'
    expect "del nothing" 1 -- lw del a
    expect "get after del" 1 -- lw get a
    for key in del/1 del/2 del/3 dem; do lw put "$key" v; done
    expect "del a range" 0 -- lw del --from del/1 --to del/3
    says "del says how many of it" '2\n'
    expect "del a prefix" 0 -- lw del --prefix del/ --json
    says "or as JSON" '{"deleted":1}\n'
    expect "what is beside it stays" 0 -- lw get dem
    expect "del both" 2 "not both" -- lw del dem --prefix d
    expect "del neither" 2 "none of them" -- lw del
    printf 'put den 1\ndel-range de df\nput deo 2\nscan de\n' >script
    expect "a range in a transaction" 0 -- lw txn script
    says "which sees its own" 'deo\t2\n'
    lw del deo >out
    expect "strict and snapshot" 0 -- lw get empty --isolation snapshot
    for line in "put j v" "get j z" "scan" "del j" "status"; do
        # shellcheck disable=SC2086
        "$program" $line --json >out 2>err
        is_json "$line" out
    done
}

atomics() {
    expect "add to nothing" 0 -- lw add n 5
    says "add says the number" '5\n'
    expect "add a negative number" 0 -- lw add n -7
    says "add says the sum" '-2\n'
    expect "it is eight bytes" 0 -- lw get --hex 6e
    says "little-endian" 'feffffffffffffff\n'
    expect "min" 0 -- lw min n -9
    says "min says the lesser" '-9\n'
    expect "max" 0 -- lw max n 9223372036854775807
    says "max says the greater" '9223372036854775807\n'
    expect "a sum beyond 64 bits" 2 "64 bits" -- lw add n 1
    expect "no number" 2 "no whole number" -- lw add n 1.5
    lw put word abc
    expect "add to a word" 2 "number" -- lw add word 1
    expect "append" 0 -- lw append word def
    says "append says the size" '6\n'
    printf 'ghi' | "$program" append word - >out 2>err; ok "append from standard input" $((!$?))
    expect "what was appended" 0 -- lw get word
    says "is behind the value" 'abcdefghi'
    expect "cas on nothing" 0 -- lw cas c --set 1
    expect "cas on something" 1 'not changed: "c" has a value' -- lw cas c --set 2
    expect "cas on another value" 1 'not changed: "c" has another value, or none' -- lw cas c --expect 2 --set 3
    expect "cas on the value" 0 -- lw cas c --expect 1 --set 3
    expect "what it set" 0 -- lw get c
    says "is there" '3'
    expect "cas that takes away" 0 -- lw cas c --expect 3
    expect "it is gone" 1 -- lw get c
    expect "cas without either" 2 "nothing to do" -- lw cas c
    expect "cas in hex" 0 -- lw cas --hex 63 --set 00ff
    printf 'add n -9223372036854775807\nmin m 4\nmax m 6\nappend word x\nget word\n' >script
    expect "atomic steps" 0 -- lw txn script
    says "are seen in their transaction" 'word\tabcdefghix\n'
    expect "what they made" 0 -- lw add n 0
    says "is a sum" '0\n'
    expect "and what they composed" 0 -- lw add m 0
    says "is the greater of the lesser" '6\n'
    printf 'put-stamped-key log/ /x one\nput t/s 1\n' | "$program" txn && printf 'put-stamped-key log/ /x two\n' | "$program" txn
    ok "put stamped keys" $((!$?))
    lw scan --prefix log/ >stamped
    [ "$(cut -f 2 stamped | tr '\n' ' ')" = "one two " ]; ok "they are in the order of their commits" $((!$?)) "$(cat stamped)"
    printf 'put-stamped-key log/ x\n' >script
    expect "a stamped key without a value" 2 "put-stamped-key PREFIX SUFFIX VALUE" -- lw txn script
    cut -f 1 stamped | while read -r key; do "$program" del --escaped "$key"; done >/dev/null
    lw del t/s >/dev/null
    expect "and gone again" 0 -- lw scan --prefix log/
    says "none is left" ''
    for line in "add j 1" "min j 1" "max j 1" "append k v" "cas k --expect v"; do
        # shellcheck disable=SC2086
        "$program" $line --json >out 2>err
        is_json "$line" out
    done
    says "as JSON" '{"swapped":true}\n'
    for _ in 1 2 3 4 5 6 7 8; do
        (for _ in 1 2 3 4 5; do "$program" add tally 1 >/dev/null; done) &
    done
    wait
    expect "the tally" 0 -- lw add tally 0
    says "no addition is lost" '40\n'
    lw del n word c m j k tally >/dev/null
}

# until WORDS COMMAND…: its answer holds the words, soon.
until_says() {
    local words=$1
    shift
    for _ in $(seq 500); do
        "$@" >out 2>err
        grep -q -- "$words" out && return 0
        sleep 0.02
    done
    return 1
}

locks() {
    expect "no locks" 0 -- lw locks
    says "none are listed" ''
    expect "no locks as JSON" 0 -- lw locks --json
    says "an empty list" '{"locks":[],"more":false}\n'
    mkfifo typed
    "$program" shell <typed >shell.out 2>shell.err &
    local shell_pid=$! transaction
    exec 9>typed
    printf 'begin pessimistic\nput x/a 1\nput x/b 1\n' >&9
    until_says '^x/b	pessimistic' lw locks; ok "locks are listed" $((!$?)) "$(cat out err)"
    printf 'begin pessimistic\nput x/a 2\ncommit\n' | "$program" shell >second.out 2>second.err &
    until_says '^x/a	waits' lw locks; ok "who waits is listed" $((!$?)) "$(cat out err)"
    [ "$(cut -f 1,2 out | tr '\t\n' ': ')" = "x/a:pessimistic x/a:waits x/b:pessimistic " ]
    ok "in the order of keys" $((!$?)) "$(cat out)"
    grep -q 'lathwork shell, process' out; ok "with the clients" $((!$?)) "$(cat out)"
    transaction=$(sed -n 's/^x\/b	pessimistic	\([0-9]*\)	.*/\1/p' out)
    expect "some locks" 0 "there are more" -- lw locks --limit 1
    [ "$(grep -c pessimistic out)" = 1 ]; ok "are as many as wanted" $((!$?)) "$(cat out)"
    expect "locks as JSON" 0 -- lw locks --json
    is_json "locks" out
    expect "kill" 0 -- lw txn kill "$transaction"
    says "it is killed" 'killed\n'
    until_says '^2$' lw get --escaped x/a; ok "who waited went on" $((!$?)) "$(cat second.err)"
    printf 'put x/c 1\n' >&9
    for _ in $(seq 500); do grep -q killed shell.err && break; sleep 0.02; done
    grep -q "was killed by client .lathwork txn, process" shell.err; ok "its client is told by whom" $((!$?)) "$(cat shell.err)"
    exec 9>&-
    wait "$shell_pid"
    rm typed
    expect "kill as JSON" 0 -- lw txn kill --json "$transaction"
    is_json "txn kill" out
    expect "nothing of it is there" 1 -- lw get x/b
    expect "kill of one that is unknown" 1 -- lw txn kill 77
    says "it is unknown" 'unknown\n'
    expect "kill of no transaction" 2 "is a number" -- lw txn kill everybody
    expect "no locks are left" 0 -- lw locks
    says "none is listed" ''
    lw del x/a >/dev/null
}

shards() {
    expect "one shard" 0 -- lw shards
    [ "$(cut -f 1-4 out)" = "1			1.1" ]; ok "it has every key" $((!$?)) "$(cat out)"
    lw put shard/a 1 >/dev/null; lw put shard/z 2 >/dev/null
    expect "split" 0 -- lw split shard/m
    says "nothing is said of it" ''
    expect "split at several keys" 0 -- lw split --hex 0001 ff
    expect "split again" 0 -- lw split --json shard/m
    says "it is done already" '{"keys":1}\n'
    expect "the shards" 0 -- lw shards
    [ "$(cut -f 2-4 out)" = "$(printf '\t\\x00\\x01\t3.1\n\\x00\\x01\tshard/m\t3.1\nshard/m\t\\xff\t3.1\n\\xff\t\t3.1')" ]
    ok "each key is in one of them" $((!$?)) "$(cat out)"
    [ "$(cut -f 5,6 out | grep -cE '^[0-9]+	[0-9]+$')" = 4 ]
    ok "what they hold and are asked for" $((!$?)) "$(cat out)"
    local left right
    left=$(cut -f 1 out | sed -n 3p)
    expect "shards as JSON" 0 -- lw shards --json
    is_json "shards" out
    expect "merge" 0 -- lw merge "$left"
    says "nothing is said of a merge" ''
    expect "the shards then" 0 -- lw shards
    [ "$(cut -f 2,3 out)" = "$(printf '\t\\x00\\x01\n\\x00\\x01\tshard/m\nshard/m\t')" ]
    ok "two have become one" $((!$?)) "$(cat out)"
    right=$(cut -f 1 out | sed -n 3p)
    expect "merge the last one" 2 "no right neighbour" -- lw merge "$right"
    expect "merge no number" 2 "no number" -- lw merge first
    expect "merge none there is" 2 "no shard 77" -- lw merge 77
    expect "split it again" 0 -- lw split --hex ff
    expect "split at no key" 2 "1 to 16384" -- lw split ""
    expect "split at too long a key" 2 "16384" -- lw split "$(head -c 16385 /dev/zero | tr '\0' k)"
    expect "get from both" 0 -- lw get shard/a shard/z
    says "what was there" 'shard/a\t1\nshard/z\t2\n'
    expect "a transaction over both" 0 -- lw del shard/a shard/z
    expect "status tells all shards" 0 -- lw status --json
    [ "$(grep -o '"range_version"' out | wc -l)" = 4 ]; ok "four of them" $((!$?)) "$(cat out)"
}

limits() {
    head -c 16384 /dev/zero | tr '\0' k >key
    expect "the longest key" 0 -- lw put "$(cat key)" v
    expect "get the longest key" 0 -- lw get "$(cat key)"
    expect "too long a key" 2 16384 -- lw put "$(cat key)k" v
    expect "too long a key to get" 2 16384 -- lw get "$(cat key)k"
    expect "an empty key" 2 "empty" -- lw put "" v
    head -c 16777216 /dev/urandom >value
    "$program" put big - <value; ok "the longest value" $((!$?))
    "$program" get big >back; cmp -s value back; ok "the longest value round-trips" $((!$?))
    (cat value; echo) | "$program" put big - >out 2>err; code=$?
    [ $code = 2 ] && grep -q 16777216 err; ok "too long a value" $((!$?)) "exit $code, $(cat err)"
    lw del big "$(cat key)" >/dev/null
    head -c 67108865 /dev/zero | tr '\0' '#' >script
    expect "too long a script" 2 67108864 -- lw txn script
    rm script
}

scans() {
    printf 'u/1\tx\nu/2\ty\nu/3\tz\nv\t\\xff\\n\n' | "$program" load >out 2>err; ok "load" $((!$?)) "$(cat err)"
    grep -q 'acknowledged 4 records' err; ok "load says how many" $((!$?))
    expect "scan a prefix" 0 -- lw scan --prefix u/
    says "its records" 'u/1\tx\nu/2\ty\nu/3\tz\n'
    expect "scan a range" 0 -- lw scan --from u/2 --to v --keys-only
    says "its keys" 'u/2\nu/3\n'
    expect "scan backwards" 0 -- lw scan --reverse --limit 2
    says "its last" 'v\t\\xff\\n\nu/3\tz\n'
    expect "scan nothing" 0 -- lw scan --prefix nothing
    says "nothing" ''
    expect "scan hex" 0 -- lw scan --hex --prefix 752f --limit 1
    says "hex" '752f31\t78\n'
    "$program" get --json u/1 >out
    at=$(python3 -c 'import json; print(json.load(open("out"))["read_timestamp"])')
    lw put u/1 changed
    expect "read the past" 0 -- lw get u/1 --at "$at"
    says "the past" 'x'
    expect "scan the past" 0 -- lw scan --prefix u/1 --at "$at"
    says "the past, scanned" 'u/1\tx\n'
    expect "a full pipe" 6 "No space left" -- sh -c "'$program' scan >/dev/full"
    expect "output that ends early" 0 -- bash -c "'$program' scan | head -n 1"
}

round_trip() {
    python3 - >records <<'PY'
import random
random.seed(7)
def escaped(data):
    return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in data)
for number in range(3000):
    key = b"rt/%05d/" % number + random.randbytes(random.randrange(0, 30))
    print(escaped(key) + "\t" + escaped(random.randbytes(random.randrange(0, 200))))
PY
    expect "load a file" 0 "acknowledged 3000 records" -- lw load records
    expect "load with progress" 0 "acknowledged 500" -- lw load --progress records
    expect "load as JSON" 0 -- lw load --json records
    is_json "load" out
    expect "dump to a file" 0 "dumped 3000" -- lw dump --prefix rt/ dumped
    [ ! -e dumped.partial ]; ok "no partial dump is left" $((!$?))
    expect "dump as JSON" 0 -- lw dump --json --prefix rt/ dumped
    is_json "dump" out
    lw dump --prefix rt/ >again 2>/dev/null; cmp -s dumped again; ok "dumps are the same" $((!$?))
    mkdir other && local first=$LATHWORK_ADDR first_pid=$node_pid
    start_node other/data
    expect "load a dump" 0 -- lw load dumped
    lw dump >again 2>/dev/null; cmp -s dumped again; ok "any bytes round-trip through load and dump" $((!$?))
    stop_node TERM
    node_pid=$first_pid LATHWORK_ADDR=$first
    printf 'good\t1\nbad line\nlater\t1\n' >bad
    expect "a wrong line" 2 "bad, line 2" -- lw load bad
    expect "what was before it is there" 0 -- lw get good
    expect "what is behind it is not" 1 -- lw get later
    head -c 200000 /dev/urandom >binary
    expect "a file that is no text" 2 "line" -- lw load binary
    expect "a file that is not there" 6 "No such file" -- lw load nothing
    expect "a folder that is not there" 6 "No such file" -- lw dump nowhere/file
    python3 -c 'print("k\t" + "v" * (4 * (16384 + 16777216) + 100000), end="")' >huge
    expect "a line without end" 2 "longer than any record" -- lw load huge
    rm -f huge
}

transactions() {
    printf 'put t/a 1\ninsert t/b "two words"\nget t/a\nget t/z\nscan t/\n' >script
    expect "txn" 0 -- lw txn script
    says "its answers" 't/a\t1\nt/z\nt/a\t1\nt/b\ttwo words\n'
    printf 'put t/a 2\nexpect t/b other\n' >script
    expect "a failed expectation" 1 "line 2, expect" -- lw txn script
    expect "get" 0 -- lw get t/a
    says "it changed nothing" '1'
    printf 'put t/a 2\ninsert t/b x\n' | "$program" txn >out 2>err; [ $? = 1 ]
    ok "insert over a value" $((!$?))
    printf 'expect t/a 1\nexpect-absent t/z\ndel t/a t/z\n# done\n\n' >script
    expect "txn as JSON" 0 -- lw txn --json script
    is_json "txn" out
    expect "it was carried out" 1 -- lw get t/a
    printf 'get a\nfrobnicate\n' >script
    expect "a wrong step" 2 "line 2" -- lw txn script
    expect "a script that is not there" 6 "No such file" -- lw txn nothing
    # Eight at a time add one to the same counter, each with a script made from what it read.
    lw put counter 0
    for _ in 1 2 3 4 5 6 7 8; do
        (for _ in 1 2 3 4 5; do
            while :; do
                value=$("$program" get counter)
                printf 'expect counter %s\nput counter %s\n' "$value" $((value + 1)) | "$program" txn >/dev/null 2>&1 && break
            done
        done) &
    done
    wait
    expect "the counter" 0 -- lw get counter
    says "no increment is lost" '40'
    # Run again after conflicts, a script answers once all the same.
    printf 'get counter\nput counter x\nget counter\n' >script
    rm -f answers.*
    for run in 1 2 3 4 5 6 7 8; do
        (for turn in $(seq 20); do "$program" txn script --timeout 30s >answers.$run.$turn 2>&1; done) &
    done
    wait
    lw status --json >out
    python3 -c 'import json; assert json.load(open("out"))["shards"][0]["conflicts"] > 0'
    ok "there were conflicts" $((!$?))
    [ "$(cat answers.* | wc -l)" = 320 ]; ok "each answered once" $((!$?)) "$(cat answers.* | wc -l) lines"
}

shells() {
    printf 'begin snapshot\nput s/a 1\nget s/a\ncommit\nget s/a\nhelp\nquit\nput s/b 1\n' | "$program" shell >out 2>err
    ok "shell" $((!$?)) "$(cat err)"
    head -n 2 out >short; printf 's/a\t1\ns/a\t1\n' | cmp -s - short; ok "its answers" $((!$?))
    grep -q '^committed at' err; ok "its commit" $((!$?))
    expect "nothing after quit" 1 -- lw get s/b
    printf 'begin\nput s/c 1\n' | "$program" shell >out 2>err
    expect "an open transaction is rolled back" 1 -- lw get s/c
    printf 'begin\nput s/d 1\nrollback\nexpect-absent s/d\n' | "$program" shell >out 2>err
    ok "rollback" $((!$?)) "$(cat err)"
    printf 'begin\nput s/d 1\nsavepoint p\nput s/d 2\nput s/x 1\nrollback-to p\ncommit\n' |
        "$program" shell >out 2>err
    ok "a savepoint" $((!$?)) "$(cat err)"
    printf 'expect s/d 1\nexpect-absent s/x\nsavepoint p\ndel s/d\nrollback-to p\n' |
        "$program" txn >out 2>err
    ok "is rolled back to" $((!$?)) "$(cat err)"
    # A transaction that read first is known by its snapshot, and decided at the first key it wrote.
    start=$(printf 'get s/none\nput s/status 1\n' | "$program" txn --json |
            sed -n 's/.*"read_timestamp": *\([0-9]*\).*/\1/p')
    expect "the outcome of a commit" 0 -- \
        lw txn status "$(printf '%016x-732f737461747573' "$start")"
    grep -q '^committed at [0-9]*$' out; ok "is that it happened" $((!$?)) "$(cat out)"
    expect "the outcome of none" 1 -- \
        lw txn status "$(printf '%016x-732f737461747573' "$((start - 1))")"
    says "is that it did not" 'aborted\n'
    expect "of no token at all" 2 "token" -- lw txn status s/status
    expect "a wrong savepoint" 2 "no savepoint" -- sh -c "echo rollback-to p | '$program' txn"
    expect "a wrong line ends a script" 2 "no step" -- sh -c "echo jump | '$program' shell"
    expect "commit of nothing" 2 "no transaction" -- sh -c "echo commit | '$program' shell"
    mkfifo lines
    "$program" shell <lines >out 2>err & local shell=$!
    exec 7>lines
    lw put s/e 0
    printf 'begin\nget s/e\n' >&7
    while ! grep -q s/e out; do sleep 0.02; done
    lw put s/e other
    printf 'put s/e mine\ncommit\n' >&7
    exec 7>&-
    wait $shell; code=$?
    [ $code = 4 ]; ok "a conflict has exit code 4" $((!$?)) "exit $code, $(cat err)"
    # On a terminal, with editing and history; what it prints there has no control characters.
    lw put --escaped s/t 'a\x1b[2Jb'
    timeout -k 5 60 python3 - "$program" >out 2>err <<'PY'
import os, pty, sys, time, select
os.environ["TERM"] = "xterm"
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "shell"])
seen = b""
def until(text, seconds=10):
    global seen
    end = time.time() + seconds
    while text not in seen:
        if time.time() > end:
            sys.exit("never saw %r in %r" % (text, seen))
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 4096)
    seen = seen[seen.index(text) + len(text):]
# Between the prompt and its first read the terminal is not raw yet, and may swallow the key.
def press(key):
    for _ in range(20):
        time.sleep(0.2)
        os.write(fd, key)
        if select.select([fd], [], [], 1)[0]:
            break
until(b"lathwork> ")
os.write(fd, b"beg\t\n"); until(b"(transaction)> ")
os.write(fd, b"put s/tty 1\n"); until(b"(transaction)> ")
os.write(fd, b"commit\n"); until(b"committed at"); until(b"lathwork> ")
os.write(fd, b"jump\n"); until(b"cause:"); until(b"lathwork> ")
os.write(fd, b"put s/t forgotten"); until(b"forgotten"); press(b"\x03"); until(b"lathwork> ")
os.write(fd, b"get s/t\n"); until(b"a\\x1b[2Jb"); until(b"lathwork> ")
os.write(fd, b"\x10\x10\x10\n"); until(b"no transaction is open"); until(b"lathwork> ")
press(b"\x04")
end = time.time() + 20
try:
    while select.select([fd], [], [], 10)[0] and os.read(fd, 4096) and time.time() < end:
        pass
except OSError:
    pass
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
PY
    ok "shell on a terminal" $((!$?)) "$(cat err)"
    expect "what was typed is there" 0 -- lw get s/tty
    history=$HOME/.local/state/lathwork/history
    grep -q 's/tty' "$history" && [ "$(stat -c %a "$history")" = 600 ]; ok "the history is kept" $((!$?))
}

# A proxy that loses every answer once it has seen the words "swallow me".
lost_answers() {
    python3 - "$LATHWORK_ADDR" >proxy.out <<'PY' &
import select, socket, sys, threading
host, port = sys.argv[1].rsplit(":", 1)
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen(16)
print(listener.getsockname()[1], flush=True)
swallow = threading.Event()
def serve(client):
    node = socket.create_connection((host, int(port)))
    while True:
        for side in select.select([client, node], [], [])[0]:
            data = side.recv(65536)
            if not data:
                client.close(); node.close(); return
            if side is client:
                if b"swallow me" in data: swallow.set()
                node.sendall(data)
            elif not swallow.is_set():
                client.sendall(data)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
PY
    local proxy=$!
    while [ ! -s proxy.out ]; do sleep 0.02; done
    expect "a lost answer" 5 "hint:  lathwork txn status " -- \
        lw put lost "swallow me" --timeout 1s --addr 127.0.0.1:"$(cat proxy.out)"
    local token; token=$(sed -n 's/^hint:  lathwork txn status //p' err)
    expect "which was carried out" 0 -- lw get lost
    expect "as its token tells" 0 -- lw txn status "$token"
    grep -q '^committed at [0-9]*$' out; ok "with the time" $((!$?)) "$(cat out)"
    kill $proxy
}

# ---- bad input on the port -----------------------------------------------------------------------------

garbage() {
    lw put before garbage
    python3 - "$LATHWORK_ADDR" >out 2>err <<'PY'
import os, random, socket, struct, sys
random.seed(11)
host, port = sys.argv[1].rsplit(":", 1)
def send(data, wait=True):
    with socket.create_connection((host, int(port)), timeout=5) as s:
        s.settimeout(5)
        try:
            s.sendall(data)
            if wait:
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536): pass
        except (ConnectionError, BrokenPipeError):
            pass
send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
for size in (0xffffffff, 0x7fffffff, 64 << 20, 0):
    send(struct.pack("<I", size) + b"x" * 100)
    send(struct.pack(">I", size) + b"x" * 100)
for _ in range(200):
    send(random.randbytes(random.randrange(1, 300)), wait=random.random() < 0.5)
send(random.randbytes(4 << 20))
PY
    ok "garbage does not hang the node" $((!$?)) "$(tail -n 3 err)"
    expect "the node goes on" 0 -- lw get before
    lw status --json >out
    python3 -c 'import json; s = json.load(open("out")); assert s["server"]["refused_connections"] > 0, s' 2>err
    ok "garbage is counted" $((!$?)) "$(tail -n 1 err)"
    size=$(awk '/VmRSS/ {print $2}' "/proc/$node_pid/status")
    echo "resident after garbage: $size KiB"
    grep -qE "^Max core file size +0 " "/proc/$node_pid/limits"
    ok "no core would hold its keys" $((!$?)) "$(grep core "/proc/$node_pid/limits")"
}

vanishing_client() {
    rm -f lines; mkfifo lines
    "$program" shell <lines >out 2>err & local shell=$!
    exec 7>lines
    printf 'begin pessimistic\nput vanish/a mine\nput vanish/b mine\nget vanish/a\n' >&7
    for _ in $(seq 500); do grep -q vanish out && break; sleep 0.02; done
    grep -q vanish out; ok "a transaction holds locks" $((!$?)) "$(cat err)"
    { kill -9 $shell; wait $shell; } 2>/dev/null
    exec 7>&-
    local started=$SECONDS
    expect "another goes on after it vanished" 0 -- lw put vanish/a other --timeout 15s
    [ $((SECONDS - started)) -le 8 ]; ok "soon" $((!$?)) "$((SECONDS - started)) s"
    expect "nothing of it is there" 1 -- lw get vanish/b
    expect "the value is the other's" 0 -- lw get vanish/a
    says "other" 'other'
}

# ---- folders and ports ----------------------------------------------------------------------------------

refusals() {
    expect "a port in use" 6 "ddress already in use" -- lw start --data elsewhere --listen "$LATHWORK_ADDR"
    expect "a locked folder" 6 "in use by another process" -- lw start --data data --listen 127.0.0.1:0
    expect "check of a locked folder" 6 "in use by another process" -- lw check data
    expect "and as JSON" 6 -- lw start --json --data data --listen 127.0.0.1:0
    is_json "a refusal" err
    echo text >file
    expect "a file in place of a folder" 6 "file" -- lw start --data file --listen 127.0.0.1:0
    expect "an address that is not ours" 6 "9.9.9.9" -- lw start --data other2 --listen 9.9.9.9:7871
    expect "the port goes on" 0 -- lw get before
    if [ "$(id -u)" = 0 ]; then
        mkdir closed && chmod 700 closed && chmod 755 "$root"
        install -m 755 "$program" ./copy
        expect "a folder that is not ours" 6 "ermission denied" -- \
            timeout 20 setpriv --reuid 65534 --regid 65534 --clear-groups ./copy start --data closed --listen 127.0.0.1:0
    else
        mkdir closed && chmod 500 closed
        expect "a folder that is not ours" 6 "ermission denied" -- lw start --data closed --listen 127.0.0.1:0
    fi
}

inspections() {
    expect "inspect a folder" 0 -- lw inspect data
    grep -q 'CATALOG: catalog' out && grep -q 'log segment' out; ok "it is listed" $((!$?))
    for file in data/CATALOG data/IDENTITY data/log/* data/sst/*; do
        [ -e "$file" ] || continue
        expect "inspect $file" 0 -- lw inspect "$file"
    done
    expect "inspect as JSON" 0 -- lw inspect --json data/CATALOG
    is_json "inspect" out
    expect "inspect something else" 2 "is no log segment" -- lw inspect "$program"
    expect "inspect nothing" 2 "No such file" -- lw inspect nothing
    expect "check" 0 "is sound" -- lw check data
    ! grep -q "left alone" out
    ok "check knows all that a node makes" $((!$?)) "$(cat out)"
    expect "check as JSON" 0 -- lw check --json data
    is_json "check" out
    expect "check nothing" 2 -- lw check nothing
}

# damage FILE OFFSET BYTES: a copy of the folder, with a file of it changed.
damage() {
    rm -rf damaged && cp -r data damaged
    printf '%b' "$3" | dd of="damaged/$1" bs=1 seek="$2" conv=notrunc status=none
}

damages() {
    damage IDENTITY 4 '\x09\x00\x00\x00'
    expect "an identity of a newer format" 6 "format 9" -- lw start --data damaged --listen 127.0.0.1:0
    damage IDENTITY 4 '\x01\x00\x00\x00'
    expect "an identity of an older format" 6 "format 1" -- lw start --data damaged --listen 127.0.0.1:0
    damage CATALOG 0 ''
    python3 - damaged/CATALOG <<'PY'
import struct, sys
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff
with open(sys.argv[1], "r+b") as file:
    head = bytearray(file.read(24))
    head[4:8] = struct.pack("<I", 9)
    file.seek(0)
    file.write(head + struct.pack("<I", crc32c(head)))
PY
    expect "a catalog of a newer format" 6 "format" -- lw start --data damaged --listen 127.0.0.1:0
    damage IDENTITY 12 '\x55\x55\x55'
    expect "a damaged identity" 7 "IDENTITY" -- lw start --data damaged --listen 127.0.0.1:0
    damage CATALOG 12 '\x55\x55\x55'
    expect "a damaged catalog" 7 "CATALOG" -- lw start --data damaged --listen 127.0.0.1:0
    grep -q '^hint:  lathwork check' err; ok "it says to check" $((!$?))
    expect "check finds it" 7 -- lw check damaged
    expect "check finds it, as JSON" 7 -- lw check damaged --json
    is_json "the faults" out
    segment=$(cd data && ls log/* | head -n 1)
    damage "$segment" 8300 '\x55\x55\x55\x55\x55'
    cp -r damaged untouched
    expect "check finds a damaged log" 7 -- lw check damaged
    grep -qF "$segment" out; ok "and names it" $((!$?))
    diff -r damaged untouched; ok "and changes nothing" $((!$?))
    expect "a damaged log" 7 "$segment" -- lw start --data damaged --listen 127.0.0.1:0
    table=$(cd data && ls sst/* 2>/dev/null | head -n 1)
    if [ -n "$table" ]; then
        damage "$table" 100 '\x55\x55\x55\x55\x55'
        expect "check finds a damaged table" 7 "" -- lw check damaged
        grep -q "$(basename "$table")" out; ok "and names it" $((!$?))
        expect "inspect finds it" 7 -- lw inspect "damaged/$table"
        truncate -s 100 "damaged/$table"
        expect "a cut table is known by where it lies" 7 -- lw inspect "damaged/$table"
    fi
}

# ---- starting and stopping --------------------------------------------------------------------------------

lives() {
    lw put life/1 kept
    stop_node KILL
    start_node data
    expect "what was acknowledged before kill -9" 0 -- lw get life/1
    says "is there" 'kept'
    lw put life/2 kept
    "$program" start --data quick --listen 127.0.0.1:0 >quick.out 2>quick.err & local quick=$!
    for _ in $(seq 500); do [ -s quick.out ] && break; sleep 0.01; done
    kill -INT $quick; wait $quick; code=$?
    [ $code = 0 ] && [ "$(wc -l <quick.out)" = 4 ]; ok "start says four lines, and stops at SIGINT" $((!$?)) "exit $code, $(cat quick.out quick.err)"
    : >quick.out
    "$program" start --data quick --listen 127.0.0.1:0 --json >quick.out 2>quick.err & quick=$!
    for _ in $(seq 500); do [ -s quick.out ] && break; sleep 0.01; done
    kill -TERM $quick; wait $quick; code=$?
    [ $code = 0 ]; ok "SIGTERM stops it" $((!$?)) "exit $code"
    is_json "start" quick.out
}

# Where io_uring is refused the node uses poll. There a library stands in for a disk that fails.
failing_disk() {
    cat >fail.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>
static int failing(void) { return access("failing", F_OK) == 0; }
ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    if (failing()) { errno = EIO; return -1; }
    return real(file, bytes, size, offset);
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t offset) { return pwrite(file, bytes, size, offset); }
ssize_t pwritev2(int file, const struct iovec *parts, int count, off_t offset, int flags) {
    ssize_t (*real)(int, const struct iovec *, int, off_t, int) = dlsym(RTLD_NEXT, "pwritev2");
    if (failing()) { errno = EIO; return -1; }
    return real(file, parts, count, offset, flags);
}
ssize_t pwritev64v2(int file, const struct iovec *parts, int count, off64_t offset, int flags) { return pwritev2(file, parts, count, offset, flags); }
C
    cat >poll.py <<'PY'
# Runs a program without io_uring: seccomp answers io_uring_setup with EPERM.
import ctypes, os, struct, sys
def code(op, jump_true, jump_false, value): return struct.pack("HBBI", op, jump_true, jump_false, value)
program = b"".join([code(0x20, 0, 0, 0), code(0x15, 0, 1, 425), code(0x06, 0, 0, 0x00050001), code(0x06, 0, 0, 0x7fff0000)])
buffer = ctypes.create_string_buffer(program)
libc = ctypes.CDLL(None, use_errno=True)
prog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, prog) == 0
if len(sys.argv) > 3: os.environ["LD_PRELOAD"] = sys.argv[2]
os.execv(sys.argv[1], [sys.argv[1], "start", "--data", "polled", "--listen", "127.0.0.1:0"])
PY
    local preload=./fail.so
    cc -shared -fPIC -o fail.so fail.c -ldl 2>err || { echo "no compiler: the failing disk is not tested"; return; }
    # A sanitizer's runtime must come before any other library.
    if grep -q __asan_init "$program"; then preload=; fi
    rm -f polled.out
    python3 poll.py "$program" $preload ${preload:+preloaded} >polled.out 2>polled.err & local polled=$!
    for _ in $(seq 500); do [ -s polled.out ] && break; sleep 0.01; done
    local address
    address=$(sed -n 's/^listening on //p' polled.out)
    grep -q 'io_uring is refused' polled.err; ok "without io_uring the node says so" $((!$?)) "$(cat polled.err)"
    expect "and serves" 0 -- lw put polled 1 --addr "$address"
    [ -n "$preload" ] || { kill $polled; wait $polled; return; }
    touch failing
    expect "a commit on a failed disk" 5 -- lw put polled 2 --timeout 1s --addr "$address"
    wait $polled; code=$?
    [ $code = 8 ] && grep -q '^error: the node stopped because its disk failed' polled.err && grep -q '^hint:' polled.err
    ok "a failed disk ends the node" $((!$?)) "exit $code, $(cat polled.err)"
    rm failing
    start_node polled
    expect "what was acknowledged is there" 0 -- lw get polled
    stop_node TERM
}

memory() {
    lw status --json >out
    python3 - 2>err <<'PY'
import json
memory = json.load(open("out"))["memory"]
parts = ["memtables", "blocks", "indexes", "filters", "buffers"]
assert memory["limit_bytes"] == 40 << 20, memory
assert memory["used_bytes"] == sum(memory[part + "_bytes"] for part in parts), memory
assert 0 < memory["used_bytes"] <= memory["used_most_bytes"] <= memory["limit_bytes"], memory
assert memory["writes_slowed_by"] == "nothing", memory
PY
    ok "status says where the memory is" $((!$?)) "$(tail -n 1 err)"
    lw status >out
    grep -q "^memory.writes_slowed_by	nothing" out; ok "status names what slows writers" $((!$?)) "$(head -c 600 out)"
    expect "too little memory is refused" 2 "4M or more" -- "$program" start --data little --memory 1M
}

benches() {
    expect "bench runs every workload" 0 -- lw bench --records 300 --clients 4 --duration 200ms --json
    python3 - 2>err <<'PY'
import json
told = [json.loads(line) for line in open("out")]
assert [one["workload"] for one in told] == list("ABCDEF"), told
for one in told:
    assert one["operations_per_second"] > 0, one
    assert one["reads"]["count"] > 0 and one["reads"]["p50_us"] <= one["reads"]["p99_us"], one
    assert (one["workload"] == "C") == ("writes" not in one), one
PY
    ok "bench tells rates and latencies" $((!$?)) "$(tail -n 1 err)"
    lw scan --prefix bench/ >out
    ok "bench takes its records away" $((!$(wc -c <out))) "$(head -c 300 out)"
    expect "bench runs one workload" 0 -- lw bench c --records 2 --clients 1 --duration 50ms
    for workload in append bank register; do
        expect "bench records $workload" 0 -- lw bench --workload "$workload" --history told --clients 8 --duration 300ms
        ok "bench --workload $workload gets on" $(($(grep -oE '^[0-9]+' out) > 50)) "$(cat out)"
        expect "what $workload was told is sound" 0 -- lw sim --check told
    done
    lw bench --workload bank --history told --clients 2 --duration 100ms >out
    sed -i '2,$s/"\([0-9]*\)":\([0-9]*\)}/"\1":1\2}/' told
    : >untold
    expect "a history of nothing" 0 -- lw sim --check untold
    ok "is not called sound" $(($(grep -c 'nothing to judge' out))) "$(cat out)"
    expect "a forged sum is told" 1 -- lw sim --check told
    lw scan --prefix bench/ >out
    ok "bench takes what it recorded away" $((!$(wc -c <out))) "$(head -c 300 out)"
    expect "bench --workload without a history" 2 "--history FILE" -- lw bench --workload bank
    expect "bench without such a workload" 2 "letters A to F" -- lw bench G
    expect "bench with one record" 2 "at least 2" -- lw bench --records 1
    expect "bench with too many clients" 2 "1024" -- lw bench --clients 1025
}

# simulations: what is found by them is for others to test.
simulations() {
    expect "sim of one scenario" 0 -- lw sim --scenario calm --clients 2 --once --json --hashes hashes
    python3 - <<'PY'
import json
told = json.load(open("out"))
assert told["runs"] == 1 and told["violations"] == 0 and told["failures"] == [], told
assert told["simulated_ms"] > 10000 and told["committed"] > 0, told
assert told["marks_reached"] <= told["marks_known"], told
assert open("hashes").read().startswith("calm 1 "), told
PY
    ok "sim --json tells what came of it" $((!$?)) "$(head -c 300 out)"
    expect "sim without faults" 0 -- lw sim --scenario crash --once --faults none
    ok "none strikes" $(($(grep -c '^faults      none$' out))) "$(cat out)"
    expect "sim with some faults" 0 "" -- lw sim --scenario crash --once --faults=-crash,-pause
    ok "those left out do not strike" $((!$(grep -cE '(faults|,) +(crash|pause) ' out))) "$(cat out)"
    expect "sim draws a page" 0 -- lw sim --scenario crash --once --trace-html page
    python3 - <<'PY'
import html.parser
import json
class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.data, self.last = [], "", None
    def handle_starttag(self, tag, attributes):
        self.last = dict(attributes).get("id")
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)
    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
    def handle_data(self, data):
        if self.open and self.open[-1] == "script" and self.last == "run":
            self.data += data
page, text = Page(), open("page", encoding="utf-8").read()
page.feed(text)
assert page.open == [], page.open
run = json.loads(page.data)
assert run["title"] == "crash, seed 1" and run["failures"] == [], run["title"]
assert run["txns"] and run["messages"] and run["events"] and run["spans"]
assert "http://" not in text and "https://" not in text and "src=" not in text
assert len(text) < 4000000, len(text)
PY
    ok "the page is well-formed, and asks nothing of a network" $((!$?))
    echo "trouble crash 1" >given
    expect "sim with given faults" 0 "" -- lw sim --scenario crash --once --faults-file given
    echo "trouble earthquake 1" >given
    expect "sim with faults that are none" 2 "line 1" -- lw sim --faults-file given
    expect "sim with a file that is not there" 6 "cannot read" -- lw sim --faults-file absent
    expect "sim without such a fault" 2 "sync_error, " -- lw sim --faults crash,earthquake
    expect "sim without such a scenario" 2 "calm, crash" -- lw sim --scenario earthquake
    sed -n 's/^cause: They are //p' out err >scenarios
    lw help sim >out
    for scenario in $(tr , ' ' <scenarios); do
        ok "help of sim names $scenario" "$(grep -cw -m 1 -e "[ :]$scenario" out)"
    done
    ok "there are many scenarios" $(($(wc -w <scenarios) > 10))
    expect "sim of consensus alone" 0 -- lw sim --scenario raft --runs 20 --nodes 5 --hashes hashes
    ok "tells how many elections there were" $(($(grep -cE '^  raft.elected +[0-9]' out))) "$(cat out)"
    ok "and the hash of each run" $(($(grep -cE '^raft [0-9]+ [0-9a-f]{16} passed .*raft.cut_always' hashes) == 20)) "$(cat hashes)"
    expect "sim with too many nodes" 2 "room for 7" -- lw sim --nodes 8
    expect "sim with too few nodes" 2 "shards takes 3 at least" -- lw sim --scenario shards --nodes 2
    expect "sim without such a bug" 2 "tests/planted_bugs.h" -- lw sim --scenario crash --bug nonsense
    expect "sim that does not find a bug" 0 "was not found" -- lw sim --scenario calm --once --bug log.ack_before_durable
    expect "sim that cannot draw" 6 "cannot write" -- lw sim --scenario crash --trace-html absent/page
    expect "sim with too many clients" 2 "room for 12" -- lw sim --clients 13
}

# past_and_expiry: on a node that keeps the past for five seconds.
past_and_expiry() {
    lw status --json >out
    python3 -c 'import json; assert json.load(open("out"))["retention"]["retention_ms"] == 5000' 2>err
    ok "status tells the retention" $((!$?)) "$(tail -n 1 err)"
    expect "put with a time to live" 0 -- lw put --ttl 2s fleeting here
    expect "it is there" 0 -- lw get fleeting
    sleep 2.1
    expect "its time is up" 1 "not found" -- lw get fleeting
    lw scan --prefix fleeting >out
    ok "a scan does not show it" $((!$(wc -c <out))) "$(head -c 300 out)"
    printf 'put fleeting again 300ms\n' | lw txn >out; ok "a script puts it again" $((!$?))
    expect "a time that is none" 2 "1ms" -- lw put --ttl never fleeting here
    lw put kept old
    lw get kept --json >out
    local then
    then=$(python3 -c 'import json; print(json.load(open("out"))["read_timestamp"])')
    lw put kept new
    expect "the past can be read" 0 -- lw get kept --at "$then" --timeout 100ms
    says "as it was" 'old'
    for _ in $(seq 200); do
        sleep 0.1
        lw get kept --at "$then" --timeout 100ms >/dev/null 2>&1 || break
    done
    expect "until the retention is over" 6 "lies below the safepoint" -- lw get kept --at "$then"
    expect "what is now stays" 0 -- lw get kept
    says "what is now" 'new'
}

help_and_usage
unreachable
start_node data --memory 40M
keys_and_values
atomics
locks
shards
scans
round_trip
transactions
shells
lost_answers
garbage
vanishing_client
limits
memory
benches
refusals
lives
stop_node TERM
start_node past --retention 5s
past_and_expiry
stop_node TERM
inspections
simulations
damages
failing_disk
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
