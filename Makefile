# SPDX-License-Identifier: Apache-2.0
# One Makefile, not recursive; sources are globbed per folder; a build folder per variant.
#   make                the release build: build/release/lathwork
#   make VARIANT=asan   the same with AddressSanitizer and UBSan, and the simulator's hooks
VARIANT ?= release
ifeq ($(origin CC),default)
CC      := gcc
endif
B       := build/$(VARIANT)
FOLDERS := base storage txn lattice client node sim

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
        -Wvla -Wswitch-enum -Wframe-larger-than=8192
CFLAGS_release := -O2 -g
CFLAGS_debug   := -O1 -g -DLW_SIMULATION
CFLAGS_asan    := -O1 -g -DLW_SIMULATION -fsanitize=address,undefined -fno-sanitize-recover=all \
                  -fno-omit-frame-pointer
ALL_CFLAGS := -std=gnu17 -D_GNU_SOURCE -I. -fvisibility=hidden -fPIC $(WARN) $(CFLAGS_$(VARIANT)) $(CFLAGS)
LDLIBS := -luring -lsodium -lisal -llz4 -lzstd -ledit -lpthread

SOURCES := $(foreach f,$(FOLDERS),$(wildcard $(f)/*.c))
OBJECTS := $(SOURCES:%.c=$(B)/%.o)
MAIN    := $(B)/node/main.o
TESTS   := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/test_*.c))

.PHONY: all tests clean
all: $(B)/lathwork
tests: $(TESTS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(B)/all.a: $(filter-out $(MAIN),$(OBJECTS))
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$(B)/lathwork: $(MAIN) $(B)/all.a
	$(CC) $(ALL_CFLAGS) $^ -o $@ $(LDLIBS)

$(B)/tests/%: $(B)/tests/%.o $(B)/all.a
	$(CC) $(ALL_CFLAGS) $^ -o $@ -lcmocka $(LDLIBS)

clean:
	rm -rf build

-include $(OBJECTS:.o=.d) $(TESTS:=.d)
.SECONDARY:
