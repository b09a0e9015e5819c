# SPDX-License-Identifier: Apache-2.0
# Lathwork. Run it:   make run
#
#   make            the program: build/release/lathwork
#   make run        installs what is missing, builds, starts one node on 127.0.0.1
#   make test       installs what is missing, builds, runs every test; T=log only those so named
#   make asan       the tests again, under AddressSanitizer and UBSan
#   make check      formatting, warnings of two compilers, static analysis, the linters
#   make sim        the simulator over SIM_RUNS fresh seeds of every scenario
#   make sim-long   fresh seeds of every scenario for SIM_SECONDS seconds on all processors, in two builds
#                   that must agree; fails when a coverage mark was never reached
#   make sim-bugs   after how many seeds the simulator catches each planted bug
#   make torture    TORTURE_ROUNDS rounds of a lattice of real processes that are killed, stopped, cut
#                   off, filled up, joined and drained; what clients were told is checked. Needs root
#   make histories  clients of a real node that is killed again and again, for HISTORY_MINUTES
#                   minutes; what they were told is checked
#   make fuzz       every fuzz target for FUZZ_SECONDS seconds, from its committed corpus
#   make model      MODEL_OPERATIONS random operations of the store against a sorted map
#   make damage     every bit of a small store's files flipped: what is read then is right, or an error
#   make bench      our storage engine against RocksDB, LevelDB and LMDB, and what a node costs:
#                   half an hour; BENCH_OPTIONS=--quick takes three minutes
#   make bench-txn  transactions of a node against Redis, etcd and PostgreSQL: five minutes
#   make bench-cluster  three nodes against three members of etcd: five minutes
#   make scale      the lattice's machines with up to 300 nodes and 10,000 shards: docs/scale.svg
#   make install    program, libraries, headers, manual page, completion: PREFIX=… DESTDIR=…
#   make uninstall  takes them away again
#   make deps       installs what builds and tests need (tests/install_packages.sh)
#   make clean      removes build/
#
# VARIANT=release|debug|asan chooses the build folder and its flags, CC the compiler; CFLAGS and
# LDFLAGS are added to ours; V=1 shows the commands. Sources are globbed, one folder of objects per
# variant. Makefile rules for one file work too: make VARIANT=debug build/debug/tests/test_log
VARIANT ?= release
ifeq ($(origin CC),default)
CC      := gcc
endif
# All processors, unless the user said otherwise.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

B       := build/$(VARIANT)
FOLDERS := base storage txn lattice client node sim

# ---- flags ----------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
        -Wvla -Wswitch-enum -Wframe-larger-than=8192
# Hardening that costs nothing measurable, and sections so that unused code is left out.
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -ffunction-sections \
                  -fdata-sections
# With the hooks for simulation. Optimized, as most of the time of tests is spent in simulated runs;
# a debugger likes CFLAGS=-O0 better.
CFLAGS_debug   := -O2 -g -DLW_SIMULATION
# For clang: its runs of a seed must be the same as those of the debug build.
CFLAGS_sim-other := -O1 -g -DLW_SIMULATION
CFLAGS_asan    := -O1 -g -DLW_SIMULATION -fsanitize=address,undefined -fno-sanitize-recover=all \
                  -fno-omit-frame-pointer -Wno-frame-larger-than -Wno-format-truncation
CFLAGS_fuzz    := $(CFLAGS_asan) -fsanitize=fuzzer-no-link
CFLAGS_check   := $(CFLAGS_release) -Werror
LDFLAGS_release := -Wl,--gc-sections -Wl,-z,relro -Wl,-z,now
LDFLAGS_check   := $(LDFLAGS_release)

ALL_CFLAGS  := -std=gnu17 -D_GNU_SOURCE -I. -fvisibility=hidden -fPIC $(WARN) \
               $(CFLAGS_$(VARIANT)) $(CFLAGS)
ALL_LDFLAGS := $(LDFLAGS_$(VARIANT)) -Wl,--as-needed $(LDFLAGS)

# The archive of a library where there is one, so that the program runs where the library is not
# installed; else its shared object. Looked up only when something is linked.
archive_or_shared = $(if $(findstring /,$(shell $(CC) -print-file-name=lib$(1).a)),-l:lib$(1).a,-l$(1))
LDLIBS = $(foreach l,uring sodium isal lz4 zstd,$(call archive_or_shared,$(l))) -ledit -lnats -lm -lpthread

# ---- what there is --------------------------------------------------------------------------------

SOURCES := $(foreach f,$(FOLDERS),$(wildcard $(f)/*.c))
HEADERS := $(foreach f,$(FOLDERS) tests,$(wildcard $(f)/*.h))
OBJECTS := $(SOURCES:%.c=$(B)/%.o)
MAIN    := $(B)/node/main.o
PROGRAM := $(B)/lathwork

TESTS   := $(patsubst %.c,$(B)/%,$(wildcard tests/test_*.c))
RECORDER := $(B)/tests/record_history
BENCHES := $(B)/tests/bench_node $(B)/tests/bench_peers $(B)/tests/bench_engines $(B)/tests/bench_values $(B)/tests/bench_txn \
           $(B)/tests/bench_scale
# The comparison of engines: the driver, and one file an engine. The others' files need their
# packages, which nothing but `make bench` asks for.
RIVALS  := rocksdb leveldb lmdb
BENCH_PARTS := $(patsubst %,$(B)/tests/bench_%.o,works table machine lathwork)
# The comparison of transactions: the rivals are programs.
BENCH_TXN_PARTS := $(patsubst %,$(B)/tests/bench_%.o,driver server wire_lathwork wire_redis wire_etcd wire_postgres)
FUZZERS := $(patsubst tests/fuzz_%.c,%,$(wildcard tests/fuzz_*.c))
REPLAYS := $(FUZZERS:%=$(B)/tests/replay_%)

# The client library is what its own files reach in base/, txn/ and lattice/, and nothing else:
# no command line, no storage, no io_uring, no checksums of ISA-L, no bus.
CLIENT_SOURCES := $(filter-out client/command%.c client/shell.c client/json.c client/ycsb.c, \
                  $(wildcard client/*.c))
CLIENT_OBJECTS := $(CLIENT_SOURCES:%.c=$(B)/%.o)
BELOW_CLIENT   := $(filter-out base/env_uring.c base/hash.c lattice/bus%.c lattice/broker%.c, \
                  $(wildcard base/*.c txn/*.c lattice/*.c))

# ---- building -------------------------------------------------------------------------------------

# Short lines, unless V=1 asks for the commands and -s for silence.
Q     := $(if $(V),,@)
QUIET  = $(findstring s,$(filter-out -%,$(firstword $(MAKEFLAGS))))
say    = $(if $(V)$(QUIET),,@printf '  %-5s %s\n' $(1) $@)

.PHONY: all tests library packages
all: $(PROGRAM) library
tests: $(PROGRAM) library $(TESTS) $(REPLAYS) $(RECORDER)
library: $(B)/liblathwork.a $(B)/liblathwork.so $(B)/lathwork.h \
         $(B)/liblathwork-storage.a $(B)/liblathwork-storage.so \
         $(B)/liblathwork-sim.a $(B)/liblathwork-sim.so $(B)/lathwork_sim.h

packages:
	@tests/install_packages.sh --ask build

# Stamps that change only when what they hold does: other flags compile everything again, another
# list of objects makes the archives again. What tells the compiler neither what to make nor how
# (-Werror, ccache) is left out.
.PHONY: FORCE
$(B)/flags: FORCE | packages
	@mkdir -p $(@D)
	@echo '$(filter-out ccache -Werror,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' | cmp -s - $@ || \
	    echo '$(filter-out ccache -Werror,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' > $@
$(B)/objects: FORCE | packages
	@mkdir -p $(@D)
	@echo '$(OBJECTS)' | cmp -s - $@ || echo '$(OBJECTS)' > $@

# Tests do not run on the stacks of fibers. They are made for builds with planted bugs, also where they
# are only looked at.
$(B)/tests/%.o: private ALL_CFLAGS += -Wno-frame-larger-than $(if $(filter check,$(VARIANT)),-DLW_SIMULATION)
# Whoever debugs does not step through checksums, and waits for them.
$(B)/base/hash.o: private ALL_CFLAGS += -O2
$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(B)/sim/page_write.o: sim/page.html

# Appended, not replaced: two folders may hold files of one name.
$(B)/all.a: $(filter-out $(MAIN),$(OBJECTS)) $(B)/objects
	@rm -f $@
	$(call say,AR)
	$(Q)ar qcs $@ $(filter %.o,$^)

$(B)/lathwork: $(MAIN) $(B)/all.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@ $(LDLIBS)

$(TESTS): $(B)/%: $(B)/%.o $(B)/all.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@ -lcmocka -lmsgpackc $(LDLIBS)

# As a user's program is: against the public header's library, and nothing else.
$(RECORDER): $(B)/%: $(B)/%.o $(B)/liblathwork.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@ -lpthread

$(BENCHES): $(B)/%: $(B)/%.o $(B)/all.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(BENCH_LIBS) $(LDLIBS)
$(B)/tests/bench_engines: $(BENCH_PARTS) $(RIVALS:%=$(B)/tests/bench_%.o)
$(B)/tests/bench_txn: $(BENCH_TXN_PARTS)
# Signatures cost more than all else there, and tell nothing.
$(B)/tests/bench_scale: private BENCH_LIBS := -Wl,--wrap=lw_identity_verify -lcmocka
$(B)/tests/bench_engines: private BENCH_LIBS := $(RIVALS:%=-l%)

$(REPLAYS): $(B)/tests/replay_%: $(B)/tests/fuzz_%.o $(B)/tests/replay.o $(B)/all.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@ $(LDLIBS)

# ---- the client library ---------------------------------------------------------------------------

VERSION = $(shell sed -n 's/^.define LW_VERSION *"\(.*\)"/\1/p' client/lathwork.h)
SONAME  = liblathwork.so.$(firstword $(subst ., ,$(VERSION)))

$(B)/below_client.a: $(BELOW_CLIENT:%.c=$(B)/%.o) $(B)/objects
	@rm -f $@
	$(call say,AR)
	$(Q)ar qcs $@ $(filter %.o,$^)

# One object, in which every name that is not public is local: a program that links the archive
# cannot meet our inner names.
$(B)/liblathwork.o: $(CLIENT_OBJECTS) $(B)/below_client.a
	$(call say,LINK)
	$(Q)$(CC) -r -nostdlib $^ -o $@
	$(Q)objcopy --localize-hidden $@

$(B)/liblathwork.a: $(B)/liblathwork.o
	@rm -f $@
	$(call say,AR)
	$(Q)ar qcs $@ $^

$(B)/liblathwork.so: $(CLIENT_OBJECTS) $(B)/below_client.a
	$(call say,LINK)
	$(Q)$(CC) -shared $(ALL_CFLAGS) $(ALL_LDFLAGS) -Wl,-soname,$(SONAME) \
	    $(if $(findstring sanitize,$(ALL_CFLAGS)),,-Wl$(comma)--no-undefined) $^ -o $@
comma := ,

# The public header and the types it stands on, in one file.
$(B)/lathwork.h: client/lathwork.h base/types.h
	@mkdir -p $(@D)
	@awk '/^#include "base\/types.h"/ { while ((getline line < "base/types.h") > 0) \
	    if (line !~ /SPDX/) print line; next } { print }' client/lathwork.h > $@

# ---- the storage library --------------------------------------------------------------------------

# What the public header reaches in storage/ and base/, with the worlds built for files only.
STORAGE_SONAME  = liblathwork-storage.so.$(firstword $(subst ., ,$(VERSION)))
WITHOUT_SOCKETS := base/env.c base/env_sockets.c
STORAGE_PARTS   := $(WITHOUT_SOCKETS:%.c=$(B)/without_sockets/%.o) \
                   $(patsubst %.c,$(B)/%.o,$(filter-out $(WITHOUT_SOCKETS),$(wildcard base/*.c storage/*.c)))

$(B)/without_sockets/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -DLW_WITHOUT_SOCKETS -MMD -MP -c $< -o $@

$(B)/storage_parts.a: $(STORAGE_PARTS) $(B)/objects
	@rm -f $@
	$(call say,AR)
	$(Q)ar qcs $@ $(filter %.o,$^)

# One object, begun at the public calls, so that what they do not reach is left out.
$(B)/liblathwork-storage.o: $(B)/storage_parts.a
	$(call say,LINK)
	$(Q)$(CC) -r -nostdlib -Wl,--gc-sections $$(nm --defined-only $(B)/storage/embed*.o | \
	    sed -n 's/.* T \(lw_storage_.*\)/-Wl,-u,\1/p') $< -o $@
	$(Q)objcopy --wildcard --keep-global-symbol='lw_storage_*' $@

$(B)/liblathwork-storage.a: $(B)/liblathwork-storage.o
	@rm -f $@
	$(call say,AR)
	$(Q)ar qcs $@ $^

# Shared objects below a shared object: archives of distributions cannot be linked into one.
STORAGE_LDLIBS = -luring -lisal -llz4 -lzstd -lpthread
$(B)/liblathwork-storage.so: $(B)/liblathwork-storage.o
	$(call say,LINK)
	$(Q)$(CC) -shared $(ALL_CFLAGS) $(ALL_LDFLAGS) -Wl,-soname,$(STORAGE_SONAME) \
	    $(if $(findstring sanitize,$(ALL_CFLAGS)),,-Wl$(comma)--no-undefined) $^ -o $@ $(STORAGE_LDLIBS)

# ---- the library for simulations ------------------------------------------------------------------

# A whole cluster and its world, with the hooks for simulation, and lathwork.h in that world. Of the
# command line only what `sim` needs; other commands of its table are absent.
SIM_SONAME    = liblathwork-sim.so.$(firstword $(subst ., ,$(VERSION)))
SIM_OF_COMMAND := $(patsubst %,client/command_%.c,help output parse table text)
SIM_LEFT_OUT  := $(filter-out $(SIM_OF_COMMAND),$(wildcard client/command*.c)) client/shell.c client/open.c \
                 node/main.c node/up.c lattice/bus_nats.c $(wildcard lattice/broker*.c) base/env_uring.c
# A variant that has the hooks anyway has the objects already.
SIM_FOLDER    := $(B)$(if $(findstring -DLW_SIMULATION,$(CFLAGS_$(VARIANT))),,/simulation)
SIM_PARTS     := $(patsubst %.c,$(SIM_FOLDER)/%.o,$(filter-out $(SIM_LEFT_OUT),$(SOURCES)))

$(B)/simulation/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -DLW_SIMULATION -MMD -MP -c $< -o $@

$(B)/sim_parts.a: $(SIM_PARTS) $(B)/objects
	@rm -f $@
	$(call say,AR)
	$(Q)ar qcs $@ $(filter %.o,$^)

# All that the two public headers declare.
$(B)/sim_calls: client/lathwork.h sim/lathwork_sim.h
	@mkdir -p $(@D)
	@sed 's/\/\*.*//' $^ | tr '\n' ' ' | grep -o 'LW_PUBLIC [^;(]*(' | sed 's/.*\b\(lw_[a-z_]*\)(/\1/' > $@

# One object, begun at the public calls.
$(B)/liblathwork-sim.o: $(B)/sim_parts.a $(B)/sim_calls
	$(call say,LINK)
	$(Q)$(CC) -r -nostdlib -Wl,--gc-sections $$(sed 's/^/-Wl,-u,/' $(B)/sim_calls) $< -o $@
	$(Q)objcopy --wildcard --weaken-symbol='lw_command_*' --keep-global-symbols=$(B)/sim_calls $@

$(B)/liblathwork-sim.a: $(B)/liblathwork-sim.o
	@rm -f $@
	$(call say,AR)
	$(Q)ar qcs $@ $^

SIM_LDLIBS = -lsodium -lisal -llz4 -lzstd -lpthread
# The bounds of the linker's own section are symbols, too: only a version script hides them.
$(B)/liblathwork-sim.so: $(B)/liblathwork-sim.o
	$(call say,LINK)
	$(Q){ echo '{ global:'; sed 's/$$/;/' $(B)/sim_calls; echo 'local: *; };'; } > $(B)/sim_calls.version
	$(Q)$(CC) -shared $(ALL_CFLAGS) $(ALL_LDFLAGS) -Wl,-soname,$(SIM_SONAME) -Wl,--version-script,$(B)/sim_calls.version \
	    $(if $(findstring sanitize,$(ALL_CFLAGS)),,-Wl$(comma)--no-undefined) $^ -o $@ $(SIM_LDLIBS)

$(B)/lathwork_sim.h: sim/lathwork_sim.h
	@mkdir -p $(@D)
	@sed 's|"client/lathwork.h"|"lathwork.h"|' $< > $@

# ---- running, testing, checking -------------------------------------------------------------------

# A part that was just installed must be seen by the rules above, so the work is done by a second
# make. It gets the same command line, and another variant.
again = +@$(MAKE) --no-print-directory

.PHONY: deps run test asan check sim sim-bugs fuzz model damage bench bench-txn bench-cluster
deps:
	@tests/install_packages.sh build
run: deps
	$(again) VARIANT=release build/release/lathwork
	@build/release/lathwork start
test: deps
	$(again) VARIANT=release all
	$(again) VARIANT=debug tests
	@tests/run.sh build/debug $(T)
asan: deps
	$(again) VARIANT=asan tests
	@tests/run.sh build/asan $(T)
check:
	@tests/install_packages.sh check
	$(again) VARIANT=check run-checks
fuzz:
	@tests/install_packages.sh check
	$(again) VARIANT=fuzz CC=clang run-fuzzers

SIM_RUNS ?= 100
SIM_SEED ?= $(shell date +%s)
sim: deps
	$(again) VARIANT=debug build/debug/lathwork
	@build/debug/lathwork sim --seed $(SIM_SEED) --runs $(SIM_RUNS)
SIM_SECONDS ?= 1800
.PHONY: sim-long
sim-long: deps
	@tests/install_packages.sh check
	$(again) VARIANT=debug CC=gcc build/debug/lathwork
	$(again) VARIANT=sim-other CC=clang build/sim-other/lathwork
	@python3 tests/sim_long.py build/debug/lathwork build/sim-other/lathwork --seconds $(SIM_SECONDS) \
	    --seed $(SIM_SEED)
sim-bugs: deps
	$(again) VARIANT=debug build/debug/lathwork
	@python3 tests/sim_bugs.py build/debug/lathwork

TORTURE_ROUNDS ?= 10
.PHONY: torture
torture: deps
	@tests/install_packages.sh torture
	$(again) VARIANT=release build/release/lathwork
	@python3 tests/torture.py build/release/lathwork --rounds $(TORTURE_ROUNDS) $(TORTURE_OPTIONS)

HISTORY_MINUTES ?= 5
.PHONY: histories
histories: deps
	$(again) VARIANT=debug build/debug/lathwork build/debug/tests/record_history
	@HISTORY_ROUNDS=$$((2 * $(HISTORY_MINUTES))) HISTORY_SECONDS=30 tests/test_histories.sh

MODEL_OPERATIONS ?= 10000000
MODEL_SEED ?= $(shell date +%s)
model: deps
	$(again) VARIANT=debug build/debug/tests/test_store_model
	@MODEL_OPERATIONS=$(MODEL_OPERATIONS) MODEL_SEED=$(MODEL_SEED) \
	    build/debug/tests/test_store_model

# DAMAGE_STRIDE is how many bits are passed over.
DAMAGE_STRIDE ?= 1
damage: deps
	$(again) VARIANT=debug build/debug/tests/test_damage
	@DAMAGE_STRIDE=$(DAMAGE_STRIDE) build/debug/tests/test_damage

.PHONY: scale
scale: deps
	$(again) VARIANT=release build/release/tests/bench_scale
	@build/release/tests/bench_scale docs/scale.svg

bench:
	@tests/install_packages.sh bench
	$(again) VARIANT=release build/release/lathwork benches
	@tests/bench.sh build/release $(BENCH_OPTIONS)
bench-txn bench-cluster:
	@tests/install_packages.sh bench
	$(again) VARIANT=release build/release/lathwork build/release/tests/bench_txn
	@folder=$$(mktemp -d build/bench.XXXXXX) && trap 'rm -rf "$$folder"' EXIT && chmod 755 "$$folder" && \
	    build/release/tests/bench_txn build/release/lathwork "$$PWD/$$folder" \
	    $(if $(filter bench-cluster,$@),--cluster) $(BENCH_OPTIONS)
.PHONY: benches run-fuzzers
benches: $(BENCHES)

FUZZ_SECONDS ?= 30
FUZZ_RUNS := $(FUZZERS:%=$(B)/tests/fuzz_%.run)
run-fuzzers: $(FUZZ_RUNS)
$(FUZZERS:%=$(B)/tests/fuzz_%): $(B)/%: $(B)/%.o $(B)/all.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer $^ -o $@ $(LDLIBS)
.PHONY: $(FUZZ_RUNS)
# What is found beyond the committed corpus stays in build/fuzz/corpus, for the next time.
$(FUZZ_RUNS): $(B)/tests/fuzz_%.run: $(B)/tests/fuzz_%
	@mkdir -p $(B)/corpus/$* $(B)/found
	@timeout $$(($(FUZZ_SECONDS) + 60)) $< -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
	    -rss_limit_mb=1024 -artifact_prefix=$(B)/found/$*- $(B)/corpus/$* \
	    $(wildcard tests/corpus/$*) > $(B)/tests/fuzz_$*.log 2>&1 \
	    || { tail -n 40 $(B)/tests/fuzz_$*.log; echo "fuzz_$*: failed"; exit 1; }
	@echo "fuzz_$*: $$(grep -o '#[0-9]*.DONE.*' $(B)/tests/fuzz_$*.log)"

# ---- checking --------------------------------------------------------------------------------------

.PHONY: run-checks
run-checks: $(B)/lathwork.h $(B)/lathwork_sim.h $(OBJECTS) $(TESTS:=.o) $(RECORDER).o $(BENCHES:=.o) $(BENCH_PARTS) $(BENCH_TXN_PARTS) $(REPLAYS:$(B)/tests/replay_%=$(B)/tests/fuzz_%.o)
	@tests/lint/check.sh $(B)

# ---- installing -----------------------------------------------------------------------------------

PREFIX        ?= /usr/local
BINDIR        ?= $(PREFIX)/bin
LIBDIR        ?= $(PREFIX)/lib
INCLUDEDIR    ?= $(PREFIX)/include
MANDIR        ?= $(PREFIX)/share/man
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
INSTALLED := $(BINDIR)/lathwork $(LIBDIR)/liblathwork.a $(LIBDIR)/liblathwork.so $(LIBDIR)/$(SONAME) \
             $(INCLUDEDIR)/lathwork.h $(LIBDIR)/pkgconfig/lathwork.pc $(MANDIR)/man1/lathwork.1 \
             $(LIBDIR)/liblathwork-storage.a $(LIBDIR)/liblathwork-storage.so \
             $(LIBDIR)/$(STORAGE_SONAME) $(INCLUDEDIR)/lathwork_storage.h \
             $(LIBDIR)/pkgconfig/lathwork-storage.pc \
             $(LIBDIR)/liblathwork-sim.a $(LIBDIR)/liblathwork-sim.so $(LIBDIR)/$(SIM_SONAME) \
             $(INCLUDEDIR)/lathwork_sim.h $(LIBDIR)/pkgconfig/lathwork-sim.pc \
             $(COMPLETIONDIR)/lathwork

.PHONY: install uninstall
install: all
	install -d $(sort $(dir $(INSTALLED:%=$(DESTDIR)%)))
	install -s -m 755 $(B)/lathwork $(DESTDIR)$(BINDIR)/lathwork
	install -m 644 $(B)/liblathwork.a $(DESTDIR)$(LIBDIR)/liblathwork.a
	strip --strip-debug $(DESTDIR)$(LIBDIR)/liblathwork.a
	install -s -m 644 $(B)/liblathwork.so $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/liblathwork.so
	install -m 644 $(B)/lathwork.h $(DESTDIR)$(INCLUDEDIR)/lathwork.h
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' \
	    'Name: lathwork' 'Description: Client of Lathwork, a transactional key-value store' \
	    'Version: $(VERSION)' 'Libs: -L$${libdir} -llathwork' \
	    'Cflags: -I$${includedir}' > $(DESTDIR)$(LIBDIR)/pkgconfig/lathwork.pc
	install -m 644 $(B)/liblathwork-storage.a $(DESTDIR)$(LIBDIR)/liblathwork-storage.a
	strip --strip-debug $(DESTDIR)$(LIBDIR)/liblathwork-storage.a
	install -s -m 644 $(B)/liblathwork-storage.so $(DESTDIR)$(LIBDIR)/$(STORAGE_SONAME)
	ln -sf $(STORAGE_SONAME) $(DESTDIR)$(LIBDIR)/liblathwork-storage.so
	install -m 644 storage/lathwork_storage.h $(DESTDIR)$(INCLUDEDIR)/lathwork_storage.h
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' \
	    'Name: lathwork-storage' 'Description: Storage engine of Lathwork: an ordered map in a directory' \
	    'Version: $(VERSION)' 'Libs: -L$${libdir} -llathwork-storage' \
	    'Libs.private: $(STORAGE_LDLIBS)' \
	    'Cflags: -I$${includedir}' > $(DESTDIR)$(LIBDIR)/pkgconfig/lathwork-storage.pc
	install -m 644 $(B)/liblathwork-sim.a $(DESTDIR)$(LIBDIR)/liblathwork-sim.a
	strip --strip-debug $(DESTDIR)$(LIBDIR)/liblathwork-sim.a
	install -s -m 644 $(B)/liblathwork-sim.so $(DESTDIR)$(LIBDIR)/$(SIM_SONAME)
	ln -sf $(SIM_SONAME) $(DESTDIR)$(LIBDIR)/liblathwork-sim.so
	install -m 644 $(B)/lathwork_sim.h $(DESTDIR)$(INCLUDEDIR)/lathwork_sim.h
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' \
	    'Name: lathwork-sim' 'Description: Transactions of Lathwork under faults, in a simulated world' \
	    'Version: $(VERSION)' 'Libs: -L$${libdir} -llathwork-sim' 'Libs.private: $(SIM_LDLIBS)' \
	    'Cflags: -I$${includedir}' > $(DESTDIR)$(LIBDIR)/pkgconfig/lathwork-sim.pc
	$(B)/lathwork help --man > $(DESTDIR)$(MANDIR)/man1/lathwork.1
	$(B)/lathwork help --completion bash > $(DESTDIR)$(COMPLETIONDIR)/lathwork
uninstall:
	rm -f $(INSTALLED:%=$(DESTDIR)%)

.PHONY: help clean
help:
	@sed -n -e '2,/^VARIANT/ s/^# \{0,1\}//p' Makefile
clean:
	rm -rf build

-include $(OBJECTS:.o=.d) $(STORAGE_PARTS:.o=.d) $(SIM_PARTS:.o=.d) $(TESTS:=.d) $(RECORDER).d $(patsubst %.c,$(B)/%.d,$(wildcard tests/bench_*.c)) $(FUZZERS:%=$(B)/tests/fuzz_%.d)
.SECONDARY:
.DELETE_ON_ERROR:
