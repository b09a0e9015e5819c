#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The linters against small projects with one mistake each, and their twins without it."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
FOLDERS = ["base", "storage", "txn", "lattice", "client", "node", "sim"]


class Project:
    """A folder of sources, given as {path: text}, that the linters can be let loose on."""

    def __init__(self, files):
        self.holder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.holder.name)
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)

    def compile(self):
        for folder in FOLDERS:
            (self.root / "build" / folder).mkdir(parents=True, exist_ok=True)
            for source in (self.root / folder).glob("*.c"):
                subprocess.run(["gcc", "-O1", "-fPIC", "-w", "-I", self.root, "-c", source, "-o",
                                self.root / "build" / folder / (source.stem + ".o")], check=True)

    def lint(self, name, *build):
        """(exit code, what it printed but for the last line)"""
        done = subprocess.run([sys.executable, HERE / f"{name}.py", self.root, *build],
                              capture_output=True, text=True, check=False)
        self.error = done.stderr
        return done.returncode, "\n".join(done.stdout.splitlines()[:-1])


class LintCase(unittest.TestCase):
    linter = ""
    build = ()

    def judge(self, files):
        project = Project(files)
        self.addCleanup(project.holder.cleanup)
        if self.build:
            project.compile()
        code, text = project.lint(self.linter, *self.build)
        self.assertIn(code, (0, 1), project.error)
        self.assertEqual(project.error, "")
        return code, text

    def assert_good(self, files):
        self.assertEqual(self.judge(files), (0, ""))

    def assert_found(self, files, *parts):
        code, text = self.judge(files)
        self.assertEqual(code, 1)
        self.assertEqual(len(text.splitlines()), 1, text)
        for part in parts:
            self.assertIn(part, text)


class Layers(LintCase):
    linter = "layers"

    def test_a_folder_includes_what_it_may(self):
        self.assert_good({"base/a.h": "", "storage/b.c": '#include "base/a.h"\n',
                          "txn/c.h": '#include "storage/b.h"\n', "storage/b.h": ""})

    def test_base_includes_nothing_of_ours(self):
        self.assert_found({"storage/b.h": "", "base/a.c": '\n#include "storage/b.h"\n'},
                          "base/a.c:2", "must not include storage/")

    def test_client_includes_no_storage(self):
        self.assert_found({"storage/b.h": "", "client/a.h": '  #  include "storage/b.h"\n'}, "client/a.h:1")

    def test_nobody_includes_the_simulator_but_main(self):
        self.assert_found({"sim/s.h": "", "node/main.c": '#include "sim/s.h"\n',
                           "node/node.c": '#include "sim/s.h"\n'}, "node/node.c:1")

    def test_nobody_includes_tests(self):
        self.assert_found({"tests/unit.h": "", "sim/s.c": '#include "tests/unit.h"\n'}, "sim/s.c:1")

    def test_an_include_names_its_folder(self):
        self.assert_found({"base/a.h": "", "base/a.c": '#include "a.h"\n'}, "names no folder")

    def test_an_include_exists(self):
        self.assert_found({"base/a.c": '#include "base/gone.h"\n'}, "does not exist")

    def test_a_library_has_one_file(self):
        self.assert_found({"base/a.c": "#include <lz4.h>\n", "storage/b.c": "#include <lz4hc.h>\n"},
                          "LZ4", "base/a.c", "storage/b.c")

    def test_a_file_may_include_two_headers_of_its_library(self):
        self.assert_good({"base/a.c": "#include <lz4.h>\n#include <lz4hc.h>\n",
                          "tests/test_a.c": "#include <lz4.h>\n"})

    def test_base_is_small(self):
        files = {f"base/f{number}.h": "" for number in range(20)}
        self.assert_good(files)
        self.assert_found({**files, "base/one_more.c": ""}, "base/ has 21 files")


class LayersOfObjects(LintCase):
    linter = "layers"
    build = ("build",)

    def test_calling_down_is_good(self):
        self.assert_good({"base/a.c": "void lw_a(void) {}", "storage/b.c": "void lw_a(void); void lw_b(void) { lw_a(); }"})

    def test_calling_up_through_a_declaration_of_ones_own_is_found(self):
        self.assert_found({"storage/b.c": "void lw_b(void) {}",
                           "base/a.c": "void lw_b(void); void lw_a(void) { lw_b(); }"},
                          "base/a.c", "must not reach into storage/", "lw_b")


class World(LintCase):
    linter = "world"
    build = ("build",)

    def test_pure_code_is_good(self):
        self.assert_good({"txn/a.c": "#include <string.h>\nint lw_a(const char *t, int n) { return (int)strlen(t) + n; }\n"
                                     "static const char *const names[] = {\"a\", \"b\"};\n"
                                     "const char *lw_name(int n) { return names[n]; }\n"})

    def test_a_clock_is_found(self):
        self.assert_found({"node/a.c": "#include <time.h>\nlong lw_a(void) { return time(0); }"},
                          "node/a.c", "needs time")

    def test_chance_is_found(self):
        self.assert_found({"storage/a.c": "#include <stdlib.h>\nint lw_a(void) { return rand(); }"}, "needs rand")

    def test_a_system_call_is_found(self):
        self.assert_found({"storage/a.c": "#include <unistd.h>\nint lw_a(int f) { return fsync(f); }"}, "needs fsync")

    def test_a_thread_is_found(self):
        self.assert_found({"client/a.c": "#include <pthread.h>\nint lw_a(pthread_t *t, void *(*f)(void *)) "
                                         "{ return pthread_create(t, 0, f, 0); }"}, "needs pthread_create")

    def test_a_heap_beside_ours_is_found(self):
        self.assert_found({"txn/a.c": "#include <stdlib.h>\nvoid *lw_a(void) { return malloc(7); }"}, "needs malloc")

    def test_the_doors_are_open(self):
        self.assert_good({"base/env_posix.c": "#include <unistd.h>\nint lw_a(int f) { return fsync(f); }",
                          "base/bytes.c": "#include <stdlib.h>\nvoid *lw_b(void) { return malloc(7); }",
                          "client/command_data.c": "#include <stdio.h>\nvoid lw_c(void) { puts(\"x\"); }"})

    def test_a_door_is_open_for_its_own_purpose_only(self):
        self.assert_found({"base/bytes.c": "#include <time.h>\nlong lw_a(void) { return time(0); }"}, "needs time")

    def test_a_mutable_static_is_found(self):
        self.assert_found({"txn/a.c": "static int calls; int lw_a(void) { return ++calls; }"},
                          "calls", "mutable static state")

    def test_an_initialised_static_in_a_function_is_found(self):
        self.assert_found({"txn/a.c": "int lw_a(void) { static int next = 7; return next++; }"}, "next")

    def test_a_global_is_found(self):
        self.assert_found({"node/a.c": "int lw_level;"}, "lw_level")

    def test_a_thread_local_has_two_homes(self):
        text = "static _Thread_local int slot; int lw_a(void) { return ++slot; }"
        self.assert_good({"base/status.c": text})
        self.assert_found({"client/a.c": text}, "slot", "thread")


HEADER = "#define LW_YIELDS\nLW_YIELDS void lw_wait(void);\nvoid lw_wake(void);\n"


class Yields(LintCase):
    linter = "yields"

    def test_a_marked_caller_is_good(self):
        self.assert_good({"base/a.h": HEADER, "base/a.c": "LW_YIELDS static void loop(int n) { if (n) { lw_wait(); } }"})

    def test_a_function_marked_in_its_header_is_good(self):
        self.assert_good({"base/a.h": HEADER + "LW_MUST_USE LW_YIELDS int lw_loop(void);\n",
                          "base/a.c": "int lw_loop(void) { lw_wait(); return 0; }"})

    def test_an_unmarked_caller_is_found(self):
        self.assert_found({"base/a.h": HEADER, "node/a.c": "\nstatic void loop(void) {\n    lw_wait();\n}\n"},
                          "node/a.c:2", "loop calls lw_wait")

    def test_marks_climb_through_static_functions(self):
        self.assert_found({"base/a.h": HEADER, "node/a.c":
                           "LW_YIELDS static void inner(void) { lw_wait(); }\nvoid outer(void) { inner(); }"},
                          "outer calls inner")

    def test_an_inline_function_in_a_header_is_held_to_it(self):
        self.assert_found({"base/a.h": HEADER + "static inline void lw_both(void) {\n    lw_wait();\n}\n"},
                          "base/a.h:4", "lw_both")

    def test_a_call_in_a_comment_or_a_string_is_none(self):
        self.assert_good({"base/a.h": HEADER, "base/a.c":
                          'void f(void) { /* lw_wait() { */ g("lw_wait() }"); lw_wake(); }\nvoid h(void) { lw_wake(); }'})

    def test_a_macro_is_not_a_function(self):
        self.assert_good({"base/a.h": HEADER + "#define LW_BOTH() \\\n    lw_wait()\n"})

    def test_the_body_of_a_fiber_is_where_waiting_begins(self):
        body = "static void body(void *a) { lw_wait(); }\n"
        self.assert_good({"base/a.h": HEADER, "node/a.c": body + 'void f(void) { lw_env_start(e, "n",\n body, 0); }'})
        self.assert_found({"base/a.h": HEADER, "node/a.c": body}, "body calls lw_wait")

    def test_a_marked_member_is_held_to_it(self):
        header = HEADER + "typedef struct t {\n    LW_YIELDS int (*send)(int a);\n    int (*look)(int a);\n} t;\n"
        self.assert_found({"base/a.h": header, "node/a.c": "void f(t *x) { x->send(1); }\nvoid g(t *x) { x->look(1); }"},
                          "f calls send")

    def test_a_table_of_functions_is_no_function(self):
        self.assert_good({"base/a.h": HEADER, "node/a.c": "static const t table = {.send = lw_wait, .other = f(1)};\n"})

    def test_the_public_interface_may_wait(self):
        self.assert_good({"base/a.h": HEADER, "client/lathwork.h": "LW_MUST_USE LW_PUBLIC int lw_get(int key);\n",
                          "client/a.c": "int lw_get(int key) { lw_wait(); return key; }"})


class Draws(LintCase):
    linter = "draws"

    def assert_statement(self, found, statement):
        files = {"sim/a.c": "static int f(int x) {\n    " + statement + "\n}\n"}
        if found:
            self.assert_found(files, "sim/a.c:2", "either order")
        else:
            self.assert_good(files)

    def test_two_in_one_expression_are_found(self):
        for statement in ("g(below(x, 2), below(x, 3));", "x = below(x, 2) + below(x, 3);",
                          "p q = {.a = draw_a(x), .b = 1, .c = DRAW(x, y)};",
                          "*x = (p){below(x, 1), {lw_chance_next(x)}};",
                          "p q = {.a = below(x, 2), .b = y ? below(x, 2) : 0};",
                          "return t[below(x, 2)] + (u)below(x, 3);",
                          "g(time_carried_on(x), clock_of(x));",
                          "p q = {lw_env_wall_ms(x), LW_RARE(x, \"y\")};"):
            self.assert_statement(True, statement)

    def test_where_the_order_is_known_they_may_be(self):
        for statement in ("int y = below(x, 2), z = below(x, 3);", "g(below(x, 2)); g(below(x, 3));",
                          "if (below(x, 2) && below(x, 3)) { g(); }", "below(x, below(x, 3));",
                          "x = below(x, 2) ? below(x, 3) : below(x, 4);",
                          "if (below(x, 2)) {\n g(); }\n g(below(x, 3));",
                          "for (int y = below(x, 2); below(x, 3); below(x, 4)) { below(x, 5); }"):
            self.assert_statement(False, statement)

    def test_a_head_of_a_function_is_no_call(self):
        self.assert_good({"sim/a.c": "static int below(int a, int b);\nstatic int draw_a(int a) { return below(a, 2); }\n"})


class Named(LintCase):
    linter = "named"
    makefile = "VARIANT := debug\nall sim-long: a\n\tcc\n"

    def judge(self, files):
        return super().judge({"Makefile": self.makefile, "base/a.h": "", "tests/b.c": "", **files})

    def test_what_is_there_may_be_named(self):
        self.assert_good({"README.md": "`make sim-long SIM_SECONDS=9`, base/{a,a}.h, [tests](tests), tests/*.c\n\n    make -j2 all\n"})

    def test_a_target_that_is_absent_is_found(self):
        self.assert_found({"README.md": "", "docs/A.md": "run `make VARIANT=debug damage`\n"}, "docs/A.md", "make damage")

    def test_a_variable_is_no_target(self):
        self.assert_found({"README.md": "    make VARIANT\n    make vARIANT\n"}, "make vARIANT")

    def test_words_are_not_commands(self):
        self.assert_good({"README.md": "They make promises, base/readable.\n"})

    def test_a_file_that_is_absent_is_found(self):
        self.assert_found({"README.md": "see tests/{b,c}.c"}, "tests/c.c")


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=1)
    bad = len(program.result.failures) + len(program.result.errors)
    print(f"{program.result.testsRun - bad} passed, {bad} failed")
    sys.exit(1 if bad else 0)
