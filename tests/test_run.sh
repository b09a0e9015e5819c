#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The runner of the tests against programs that pass, fail, crash, hang, or are not there. Each story
# is a small copy of this project: tests/ with empty sources, and programs made of echo.
set -u
here=$(cd "$(dirname "$0")" && pwd)
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
passed=0 failed=0

# story NAME: begins one with an empty project.
story() {
    name=$1
    rm -rf "$room/project"
    mkdir -p "$room/project/tests" "$room/project/build/debug/tests"
    cp "$here/run.sh" "$room/project/tests/"
}
# program NAME: a test program of the project, whose script comes from standard input.
program() {
    : >"$room/project/tests/$1.c"
    { echo '#!/bin/sh' && cat; } >"$room/project/build/debug/tests/$1"
    chmod +x "$room/project/build/debug/tests/$1"
}
script() {
    { echo '#!/bin/sh' && cat; } >"$room/project/tests/$1"
    chmod +x "$room/project/tests/$1"
}
# ends_with LINE CODE [NAME…]: runs the project's tests.
ends_with() {
    line=$1 wanted=$2
    shift 2
    output=$(TEST_SECONDS=1 "$room/project/tests/run.sh" build/debug "$@" 2>&1)
    code=$?
    if [ "$(echo "$output" | tail -n 1)" = "$line" ] && [ "$code" = "$wanted" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$name: wanted '$line' and exit code $wanted, got exit code $code and:"
        echo "$output" | sed 's/^/    /'
    fi
}

story every_test_of_every_program_counts
program test_a <<'END'
printf '[==========] Running 2 test(s).\n[ RUN      ] x\n[       OK ] x\n[ RUN      ] y\n[       OK ] y\n'
printf '[==========] 2 test(s) run.\n[  PASSED  ] 2 test(s).\n'
END
program test_b <<'END'
printf '[==========] Running 1 test(s).\n[       OK ] z\n[  PASSED  ] 1 test(s).\n'
END
ends_with "3 passed, 0 failed" 0
ends_with "1 passed, 0 failed" 0 test_b

story a_failed_test_counts_once_though_it_is_named_twice
program test_a <<'END'
printf '[==========] Running 2 test(s).\n[       OK ] x\n[  FAILED  ] y\n[  PASSED  ] 1 test(s).\n' >&2
printf '[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] y\n\n 1 FAILED TEST(S)\n' >&2
exit 1
END
ends_with "1 passed, 1 failed" 1

story what_a_crash_leaves_out_has_failed
program test_a <<'END'
printf '[==========] Running 5 test(s).\n[       OK ] x\n[ RUN      ] y\n'
kill -SEGV $$
END
ends_with "1 passed, 4 failed" 1

story a_crash_after_the_last_test_counts
program test_a <<'END'
printf '[==========] Running 1 test(s).\n[       OK ] x\n[  PASSED  ] 1 test(s).\n'
exit 23
END
ends_with "1 passed, 1 failed" 1

story a_program_that_hangs_is_stopped
program test_a <<'END'
printf '[==========] Running 1 test(s).\n[ RUN      ] x\n'
exec sleep 60
END
ends_with "0 passed, 1 failed" 1

story a_skipped_test_has_neither_passed_nor_failed
program test_a <<'END'
printf '[==========] Running 2 test(s).\n[       OK ] x\n[  SKIPPED ] y\n[  PASSED  ] 1 test(s).\n'
printf '[  SKIPPED ] 1 test(s), listed below:\n[  SKIPPED ] y\n'
END
ends_with "1 passed, 0 failed" 0

story a_program_without_tests_has_failed
program test_a <<'END'
exit 0
END
ends_with "0 passed, 1 failed" 1

story a_program_that_was_not_built_has_failed
: >"$room/project/tests/test_a.c"
ends_with "0 passed, 1 failed" 1

story scripts_count_as_they_say_or_once
script test_a.sh <<'END'
echo "4 passed, 0 failed"
END
script test_b.py <<'END'
exit 0
END
ends_with "5 passed, 0 failed" 0

story a_script_that_ends_badly_has_failed_whatever_it_says
script test_a.sh <<'END'
echo "4 passed, 0 failed"
exit 1
END
ends_with "4 passed, 1 failed" 1

story a_script_that_the_machine_does_not_let_run_is_skipped_and_says_why
script test_a.sh <<'END'
echo "skipped: no namespaces here"
echo "0 passed, 0 failed"
END
script test_b.sh <<'END'
echo "skipped: no clock to turn"
echo "2 passed, 0 failed"
END
ends_with "2 passed, 0 failed" 0
for words in "skip  test_a.sh" "test_a.sh: no namespaces here" "test_b.sh: no clock to turn"; do
    if echo "$output" | grep -qxF "$words"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$name: no line '$words' in:" && echo "$output" | sed 's/^/    /'
    fi
done
ends_with "0 passed, 0 failed" 0 test_a

story a_corpus_is_replayed
mkdir -p "$room/project/tests/corpus/a"
program fuzz_a </dev/null
program replay_a <<'END'
[ "$1" = tests/corpus/a ] && echo "3 passed, 0 failed"
END
ends_with "3 passed, 0 failed" 0

story no_test_at_all_is_a_failure
ends_with "0 passed, 0 failed" 1

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
