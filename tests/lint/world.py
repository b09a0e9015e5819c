#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""world: nothing but the doors reaches the outside, and nothing keeps mutable static state.

    world.py ROOT BUILD     judges the objects in ROOT/BUILD

What an object may need from outside Lathwork is listed here, file by file: a name that is not
listed is a finding, so a new system call has to be argued for in this list. Static state is
whatever lies in a writable section and is not a table of constants.
"""
import re
import sys

import project

# Pure functions of the C library, and what the compiler itself calls.
PURE = re.compile(
    r"mem(cmp|cpy|move|set|r?chr|mem)|str(n?len|n?cmp|n?casecmp|r?chr|str|c?spn|n?cat|n?cpy|tou?ll?|tod|tok_r)"
    r"|(vsn|sn)printf|qsort|bsearch|isdigit|__isoc\w+|__errno_location"
    r"|__(memcpy|memmove|memset|strcat|strcpy|strncpy|strncat|snprintf|vsnprintf)_chk"
    r"|__ctype_\w+|__stack_chk_fail|__tls_get_addr|_GLOBAL_OFFSET_TABLE_|__assert_fail"
    r"|__(asan|ubsan|sanitizer)_\w+")

STREAMS = (r"stdin|stdout|stderr|f?printf|fflush|fputs|puts|fputc|putc|putchar|fwrite|fread|fgets"
           r"|getline|(__)?getdelim|fgetc|getc|fopen|fclose|ferror|feof|fileno|perror|vf?printf|clearerr"
           r"|fdopen|fseek|ftell|rename|remove|strerror"
           r"|__(f|v|vf)?printf_chk|__fgets_chk|__fread_chk|__(as|vas)printf_chk|asprintf")
EDGE = STREAMS + (r"|isatty|getenv|secure_getenv|environ|exit|_exit|sigaction|sigemptyset|sigaddset|sigprocmask"
                  r"|signal|raise|kill|malloc|calloc|realloc|free|strdup|strndup|getopt_long|optarg"
                  r"|optind|opterr|optopt|ioctl|read|write|close|dup|dup2|realpath|access|unlink"
                  r"|setvbuf|nl_langinfo|setlocale|strerror_r|__realpath_chk|__read_chk")
ANYTHING = r".*"

# What a file may need beyond PURE, and why.
DOORS = [
    (r"base/env_(posix|sockets|uring)\.c", ANYTHING, "they are the doors"),
    (r"base/env\.c", r"gai_strerror|strerror_r", "says in words why an operation failed"),
    (r"base/fiber\.c",
     r"mmap|munmap|mprotect|madvise|(get|set|make|swap)context|__sigsetjmp|_?siglongjmp|_?longjmp"
     r"|__longjmp_chk|abort|stderr|fwrite|perror|__fprintf_chk|fprintf|sysconf|getpagesize",
     "maps stacks and switches between them; stops the process when it cannot"),
    (r"base/bytes\.c",
     r"malloc|calloc|realloc|free|aligned_alloc|posix_memalign|malloc_usable_size|m(un|re)?map|abort|stderr"
     r"|fprintf|__fprintf_chk|fwrite",
     "is the heap; stops the process when there is no memory"),
    (r"base/status\.c", r"abort|stderr|fprintf|__fprintf_chk|vfprintf|fputs|fputc|fwrite|fflush",
     "prints a failed assertion and stops the process"),
    (r"base/seal\.c", r"crypto_(sign|generichash|aead_chacha20poly1305_ietf|auth_hmacsha256|hash_sha256|scalarmult)\w*"
     r"|sodium_(init|memzero|memcmp|base642bin|bin2base64|base64_encoded_len)",
     "libsodium, but none of its randomness"),
    (r"base/hash\.c", r"crc32_iscsi", "ISA-L"),
    (r"storage/compress\.c", r"LZ4_\w+|ZSTD_\w+", "LZ4 and zstd"),
    (r"lattice/bus_nats\.c",
     r"nats\w*|pthread_\w+|sigfillset|socketpair|send|recv|poll|close|clock_gettime|strerrordesc_np",
     "the NATS library, and the thread that calls it"),
    (r"lattice/broker_child\.c",
     r"fork|execve|_exit|prctl|getpp?id|sig(fillset|emptyset|nal|procmask)|setpgid|chdir|dup2|close(_range)?"
     r"|write|open|socketpair|kill|waitpid|access|getenv|strerrordesc_np",
     "starts, watches and ends the child nats-server"),
    (r"lattice/broker\.c", r"sscanf", "reads the ports that it wrote"),
    (r"lattice/broker_text\.c", r"strtoul", "reads a version"),
    (r"client/open\.c", r"getenv", "LATHWORK_ADDR stands in for an address that was not given"),
    (r"client/ycsb\.c", r"pow", "Zipf's law; no node and no library runs it"),
    (r"client/command\w*\.c", EDGE, "the edge of the program"),
    (r"client/command_history\.c", r"fopen|fwrite|fprintf|fclose", "writes the file a user names"),
    (r"client/command_load\.c", r"open|fstat|fsync", "loads and dumps the files a user names"),
    (r"client/command_node\.c", r"getpid", "tells which process was started"),
    (r"client/shell\.c", EDGE + r"|el_\w+|history\w*|tok_\w+|mkdir|chmod",
     "the edge of the program, libedit, and a history that is nobody else's to read"),
    (r"node/main\.c", EDGE + r"|getpid|[gs]etrlimit|socketpair|send",
     "the edge of the program: limits, and signals that become bytes in a socket"),
    (r"node/up\.c",
     EDGE + r"|fork|execv|prctl|getpp?id|poll|pipe2?|close_range|signalfd|waitpid|mkdir|readlink|__(poll|readlink)_chk",
     "the edge of the program: the nodes that it starts, their output and their ends"),
    (r"client/command_events\.c", r"gmtime_r|strftime", "tells when something happened, as people read it"),
    (r"node/invite\.c", r"gmtime_r|strftime", "tells until when a token is good, as people read it"),
    (r"sim/place\.c", r"__(start|stop)_lw_places", "the bounds of a section, as the linker names them"),
    (r"sim/command\w*\.c", EDGE + r"|clock_gettime", "the edge of the program; tells how fast it was"),
    (r"sim/child\.c", r"fork|_exit|prctl|waitpid|alarm|dup2|fileno|tmpfile|rewind|fseek|ftell|fread|mmap|munmap|mallopt|malloc",
     "runs worlds in processes of their own"),
    (r"sim/shrink\.c", r"clock_gettime", "stops when its time is up"),
    (r"sim/watchdog\.c", r"timer_(create|settime|delete)|sigaction|write|_exit",
     "ends the process when a user's callback computes on and on"),
    (r"sim/user_main\.c", r"tmpfile|rewind", "reads what a run reports"),
    (r"sim/user_differ\.c", r"tmpfile|rewind|f?gets", "holds two traces against each other"),
    (r"sim/\w+\.c", STREAMS, "traces and histories go to streams"),
]

# Static state that has to be: a signal's handler can reach nothing else.
STATE = {("node/main.c", "stop_writer")}
# Thread-local variables, which hang off whoever runs.
PER_THREAD = ("base/status.c", "base/fiber.c")


def may_need(path, name):
    if PURE.fullmatch(name):
        return True
    return any(re.fullmatch(file, path) and re.fullmatch(names, name) for file, names, _ in DOORS)


def check_needs(table):
    ours = {symbol.name for symbols in table.values() for symbol in symbols if symbol.kind not in "Uw"}
    for path, symbols in table.items():
        for symbol in symbols:
            if symbol.kind in "Uw" and symbol.name not in ours and not may_need(path, symbol.name):
                yield f"{path}: needs {symbol.name} from outside; if it must, say why in tests/lint/world.py"


def check_state(table):
    for path, symbols in table.items():
        for symbol in symbols:
            section = symbol.section
            if (path, symbol.name) in STATE:
                continue
            if section.startswith((".tbss", ".tdata")):
                if path not in PER_THREAD:
                    yield f"{path}: {symbol.name} is a thread's own state: hang it off an object"
            elif (section.startswith((".data", ".bss")) and not section.startswith(".data.rel.ro")
                  or section == "*COM*"):
                yield f"{path}: {symbol.name} is mutable static state: hang it off an object"


def main():
    table = project.symbols(sys.argv[1], sys.argv[2], project.FOLDERS)
    project.report("world", [*check_needs(table), *check_state(table)])


if __name__ == "__main__":
    main()
