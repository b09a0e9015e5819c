/* SPDX-License-Identifier: Apache-2.0 */
#include "client/ycsb.h"

#include <math.h>
#include <stdio.h>

static const double theta = 0.99;

static const lw_ycsb_workload workloads[] = {
    {'A', "half reads, half updates", {[LW_YCSB_READ] = 50, [LW_YCSB_UPDATE] = 50}, false},
    {'B', "95 % reads, 5 % updates", {[LW_YCSB_READ] = 95, [LW_YCSB_UPDATE] = 5}, false},
    {'C', "reads", {[LW_YCSB_READ] = 100}, false},
    {'D',
     "95 % reads of the latest, 5 % inserts",
     {[LW_YCSB_READ] = 95, [LW_YCSB_INSERT] = 5},
     true},
    {'E', "95 % scans, 5 % inserts", {[LW_YCSB_SCAN] = 95, [LW_YCSB_INSERT] = 5}, false},
    {'F',
     "half reads, half read-modify-writes",
     {[LW_YCSB_READ] = 50, [LW_YCSB_MODIFY] = 50},
     false},
};

const lw_ycsb_workload *lw_ycsb_find(char letter) {
    return letter >= 'A' && letter <= 'F' ? &workloads[letter - 'A'] : NULL;
}

/* ---- chance ------------------------------------------------------------------------------------
 */

static double zeta(uint64_t from, uint64_t to) {
    double sum = 0;
    for (uint64_t rank = from; rank < to; rank++) {
        sum += 1 / pow((double)(rank + 1), theta);
    }
    return sum;
}

static void settle(lw_ycsb_chooser *chooser) {
    chooser->eta =
        (1 - pow(2 / (double)chooser->count, 1 - theta)) / (1 - zeta(0, 2) / chooser->zeta);
}

void lw_ycsb_chooser_init(lw_ycsb_chooser *chooser, uint64_t count) {
    LW_ASSERT(count >= 2);
    *chooser = (lw_ycsb_chooser){.count = count, .zeta = zeta(0, count)};
    settle(chooser);
}

void lw_ycsb_chooser_grow(lw_ycsb_chooser *chooser, uint64_t count) {
    LW_ASSERT(count >= chooser->count);
    chooser->zeta += zeta(chooser->count, count);
    chooser->count = count;
    settle(chooser);
}

uint64_t lw_ycsb_rank(const lw_ycsb_chooser *chooser, uint64_t random) {
    double share = (double)(random >> 11) / (double)(UINT64_C(1) << 53); /* in [0, 1) */
    double reached = share * chooser->zeta;
    if (reached < 1) {
        return 0;
    }
    if (reached < 1 + pow(0.5, theta)) {
        return 1;
    }
    double rank =
        (double)chooser->count * pow(chooser->eta * share - chooser->eta + 1, 1 / (1 - theta));
    return rank >= (double)chooser->count ? chooser->count - 1 : (uint64_t)rank;
}

/* Fowler, Noll and Vo's hash of 8 bytes, as the benchmark strews its keys. */
static uint64_t strew(uint64_t number) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int index = 0; index < 8; index++) {
        hash = (hash ^ (number >> (8 * index) & 0xff)) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t lw_ycsb_record(const lw_ycsb_chooser *chooser, const lw_ycsb_workload *workload,
                        uint64_t random) {
    uint64_t rank = lw_ycsb_rank(chooser, random);
    return workload->latest ? chooser->count - 1 - rank : strew(rank) % chooser->count;
}

lw_ycsb_operation lw_ycsb_next(const lw_ycsb_workload *workload, uint64_t random) {
    uint64_t left = random % 100;
    for (int operation = 0; operation < LW_YCSB_OPERATION_COUNT; operation++) {
        if (left < workload->shares[operation]) {
            return (lw_ycsb_operation)operation;
        }
        left -= workload->shares[operation];
    }
    LW_ASSERT(false && "shares make up a hundred");
    return LW_YCSB_READ;
}

lw_bytes lw_ycsb_key(uint64_t record, char key[LW_YCSB_KEY_SIZE + 1]) {
    (void)snprintf(key, LW_YCSB_KEY_SIZE + 1, "bench/user%018llu",
                   (unsigned long long)(strew(record) % UINT64_C(1000000000000000000)));
    return lw_view(key, LW_YCSB_KEY_SIZE);
}
