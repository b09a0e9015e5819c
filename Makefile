# SPDX-License-Identifier: Apache-2.0
# One Makefile, not recursive; sources are globbed per folder; a build folder per variant.
# `make help` lists what can be made.

VARIANT ?= release
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG   ?= clang
PREFIX  ?= /usr/local
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
MAKEFLAGS += --no-builtin-rules

VERSION := $(shell sed -n 's/^.define LW_VERSION *"\(.*\)"/\1/p' client/lathwork.h)
MAJOR   := $(firstword $(subst ., ,$(VERSION)))
B       := build/$(VARIANT)
FOLDERS := base storage txn lattice client node sim

# ---- flags --------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes \
            -Wmissing-prototypes -Wvla -Wswitch-enum -Wframe-larger-than=8192
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
VARIANT_release := -O2 -g -ffunction-sections -fdata-sections -fstack-protector-strong \
                   -D_FORTIFY_SOURCE=2
VARIANT_debug   := -O1 -g -DLW_SIMULATION
VARIANT_asan    := -O1 -g -DLW_SIMULATION $(SANITIZE)
LINK_release    := -Wl,--gc-sections -Wl,-z,relro,-z,now
COMPILE := $(CC) -std=gnu17 -D_GNU_SOURCE -I. -fvisibility=hidden -fPIC $(WARNINGS) \
           $(VARIANT_$(VARIANT)) $(CFLAGS)
LINK    := $(CC) $(VARIANT_$(VARIANT)) $(LINK_$(VARIANT)) $(CFLAGS) $(LDFLAGS)
# Static where Debian ships an archive: then the program runs without the packages.
LIBS    := -l:liburing.a -l:libsodium.a -l:liblz4.a -lisal -ledit -lpthread

# ---- the program --------------------------------------------------------------------------------

SOURCES := $(foreach folder,$(FOLDERS),$(wildcard $(folder)/*.c))
OBJECTS := $(SOURCES:%.c=$(B)/%.o)
MAIN    := $(B)/node/main.o

.PHONY: all run test asan check fuzz bench sim install clean help deps tests library
all: $(B)/lathwork library

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c $< -o $@

# Other flags, other objects.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(COMPILE) $(LINK) $(LIBS)' | cmp -s - $@ || echo '$(COMPILE) $(LINK) $(LIBS)' > $@
.PHONY: FORCE
FORCE:

$(B)/all.a: $(filter-out $(MAIN),$(OBJECTS))
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$(B)/lathwork: $(MAIN) $(B)/all.a
	$(LINK) $^ -o $@ $(LIBS)

run: deps
	@$(MAKE) --no-print-directory build/release/lathwork
	build/release/lathwork start

# ---- the client library: libsodium and libc, nothing else -----------------------------------------

LIBRARY_SOURCES := $(filter-out base/env_uring.c base/hash.c base/seal.c,$(wildcard base/*.c)) \
    $(filter-out client/command%.c client/shell.c client/json.c,$(wildcard client/*.c)) \
    lattice/message.c txn/commit.c txn/request.c
LIBRARY_OBJECTS := $(LIBRARY_SOURCES:%.c=$(B)/%.o)
SHARED := liblathwork.so.$(MAJOR)

library: $(B)/liblathwork.a $(B)/$(SHARED)

# One relocatable object, in which everything that is not public is local: linking the archive can
# clash with nothing of its user's.
$(B)/liblathwork.a: $(LIBRARY_OBJECTS) $(B)/exports
	ld -r $(LIBRARY_OBJECTS) -o $(B)/liblathwork.o
	objcopy --keep-global-symbols=$(B)/exports $(B)/liblathwork.o
	@rm -f $@
	ar rcs $@ $(B)/liblathwork.o

$(B)/$(SHARED): $(LIBRARY_OBJECTS) $(B)/exports
	{ echo '{ global:'; sed 's/$$/;/' $(B)/exports; echo 'local: *; };'; } > $(B)/exports.map
	$(LINK) -shared -Wl,-soname,$(SHARED) -Wl,--version-script=$(B)/exports.map -Wl,--no-undefined \
	    $(LIBRARY_OBJECTS) -o $@ -lpthread

# The names that lathwork.h declares LW_PUBLIC.
$(B)/exports: client/lathwork.h base/types.h
	@mkdir -p $(@D)
	tr '\n' ' ' < client/lathwork.h | grep -oE 'LW_PUBLIC [^;]*;' | grep -oE 'lw_[a-z_]+ *\(' | tr -d ' (' \
	    | sort -u > $@

# ---- installing ---------------------------------------------------------------------------------

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	    $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -s $(B)/lathwork $(DESTDIR)$(PREFIX)/bin/lathwork
	install -m 644 $(B)/liblathwork.a $(DESTDIR)$(PREFIX)/lib/
	install $(B)/$(SHARED) $(DESTDIR)$(PREFIX)/lib/
	ln -sf $(SHARED) $(DESTDIR)$(PREFIX)/lib/liblathwork.so
	sed -e '/^.include "base\/types.h"/{r base/types.h' -e 'd}' client/lathwork.h \
	    > $(DESTDIR)$(PREFIX)/include/lathwork.h
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: lathwork' 'Version: $(VERSION)' \
	    'Description: client of the Lathwork transactional key-value store' \
	    'Cflags: -I$${prefix}/include' 'Libs: -L$${prefix}/lib -llathwork' \
	    'Libs.private: -lpthread' > $(DESTDIR)$(PREFIX)/lib/pkgconfig/lathwork.pc
	$(B)/lathwork help --man > $(DESTDIR)$(PREFIX)/share/man/man1/lathwork.1
	$(B)/lathwork help --completion bash \
	    > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/lathwork

# ---- tests --------------------------------------------------------------------------------------

TESTS   := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/test_*.c))
FUZZERS := $(patsubst tests/fuzz_%.c,%,$(wildcard tests/fuzz_*.c))
REPLAYS := $(FUZZERS:%=$(B)/tests/replay_%)
BENCHES := $(patsubst tests/%.c,build/release/tests/%,$(wildcard tests/bench_*.c))
FUZZ_SECONDS ?= 30

tests: $(TESTS) $(REPLAYS) $(B)/lathwork library

$(B)/tests/test_%: $(B)/tests/test_%.o $(B)/all.a
	$(LINK) $^ -o $@ -lcmocka $(LIBS)
$(B)/tests/bench_%: $(B)/tests/bench_%.o $(B)/all.a
	$(LINK) $^ -o $@ $(LIBS)
# Fuzz targets without a fuzzer: they go through the committed corpus as a test.
$(B)/tests/replay_%: $(B)/tests/fuzz_%.o $(B)/tests/replay.o $(B)/all.a
	$(LINK) $^ -o $@ $(LIBS)

test: deps
	@$(MAKE) --no-print-directory VARIANT=debug tests
	@$(MAKE) --no-print-directory build/release/lathwork
	tests/run.sh build/debug
asan: deps
	@$(MAKE) --no-print-directory VARIANT=asan tests
	CMOCKA_TEST_ABORT=1 tests/run.sh build/asan

fuzz: deps
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=$(CLANG) $(FUZZERS:%=build/fuzz/fuzz_%)
	@for name in $(FUZZERS); do \
	    echo "fuzz $$name, $(FUZZ_SECONDS) s"; mkdir -p build/fuzz/corpus/$$name; \
	    build/fuzz/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 \
	        -print_final_stats=1 -artifact_prefix=build/fuzz/ build/fuzz/corpus/$$name \
	        tests/corpus/$$name > build/fuzz/$$name.log 2>&1 \
	        || { tail -30 build/fuzz/$$name.log; exit 1; }; \
	    grep -E 'number_of_executed_units' build/fuzz/$$name.log; done
VARIANT_fuzz := -O1 -g -DLW_SIMULATION $(SANITIZE) -fsanitize=fuzzer-no-link
build/fuzz/fuzz_%: build/fuzz/tests/fuzz_%.o build/fuzz/all.a
	$(LINK) -fsanitize=fuzzer $^ -o $@ $(LIBS)

SIM_RUNS ?= 100
SIM_SEED ?= $(shell date +%s)
sim: deps
	@$(MAKE) --no-print-directory build/debug/lathwork VARIANT=debug
	build/debug/lathwork sim --seed $(SIM_SEED) --runs $(SIM_RUNS)

bench: deps
	@$(MAKE) --no-print-directory VARIANT=release $(BENCHES) build/release/lathwork
	tests/bench.sh build/release

# ---- checks -------------------------------------------------------------------------------------

CHECKED := $(SOURCES) $(foreach folder,$(FOLDERS) tests client/examples,$(wildcard $(folder)/*.h)) \
           $(wildcard tests/*.c client/examples/*.c)
check:
	@tests/install_packages.sh check
	@$(MAKE) --no-print-directory VARIANT=debug CFLAGS=-Werror B=build/check build/check/all.a
	tests/lint/check.sh build/check

# ---- the rest -----------------------------------------------------------------------------------

deps:
	@tests/install_packages.sh build
clean:
	rm -rf build
help:
	@echo 'make              build build/release/lathwork and the client library'
	@echo 'make run          install what is missing, build, start one node in ./lathwork-data'
	@echo 'make test         install what is missing, build, run all tests'
	@echo 'make check        formatting, warnings of gcc and clang, static analysis, linters'
	@echo 'make asan         the tests under AddressSanitizer and UBSan'
	@echo 'make fuzz         each fuzz target for FUZZ_SECONDS (30)'
	@echo 'make sim          SIM_RUNS (100) fresh seeds of every scenario'
	@echo 'make bench        what a node costs, against its parts'
	@echo 'make install      to PREFIX (/usr/local), below DESTDIR'
	@echo 'make clean        remove build/'

-include $(OBJECTS:.o=.d) $(TESTS:=.d) $(REPLAYS:=.d)
.SECONDARY:
.DELETE_ON_ERROR:
