/* SPDX-License-Identifier: Apache-2.0 */
/* The core workloads of the Yahoo! Cloud Serving Benchmark (Cooper et al., SoCC 2010): which
 * operation comes next, and to which record. Pure: chance is told to it. */
#ifndef LW_YCSB_H
#define LW_YCSB_H

#include "base/bytes.h"

typedef enum lw_ycsb_operation {
    LW_YCSB_READ,
    LW_YCSB_UPDATE,
    LW_YCSB_INSERT,
    LW_YCSB_SCAN,
    LW_YCSB_MODIFY, /* read, then write what was read, changed, in one transaction */
    LW_YCSB_OPERATION_COUNT,
} lw_ycsb_operation;

enum { LW_YCSB_KEY_SIZE = 28, LW_YCSB_SCAN_MAX = 100 };

typedef struct lw_ycsb_workload {
    char letter;
    const char *text;                        /* what it is like */
    uint8_t shares[LW_YCSB_OPERATION_COUNT]; /* percent of each operation */
    bool latest;                             /* new records are read most; else any may be */
} lw_ycsb_workload;

/* A to F; NULL for any other letter, small ones included. */
const lw_ycsb_workload *lw_ycsb_find(char letter);

/* Which record an operation goes to: few of them most of the time (Zipf's law with the exponent
 * 0.99, after Gray et al., SIGMOD 1994), strewn over the key space. */
typedef struct lw_ycsb_chooser {
    uint64_t count;   /* of records, 2 or more */
    double zeta, eta; /* of that many */
} lw_ycsb_chooser;

void lw_ycsb_chooser_init(lw_ycsb_chooser *chooser, uint64_t count);
/* Tells of records that were added; never fewer than before. */
void lw_ycsb_chooser_grow(lw_ycsb_chooser *chooser, uint64_t count);
/* A rank, 0 the most frequent, below the count. `random`: any bits. */
uint64_t lw_ycsb_rank(const lw_ycsb_chooser *chooser, uint64_t random);
/* The record that an operation of the workload goes to. */
uint64_t lw_ycsb_record(const lw_ycsb_chooser *chooser, const lw_ycsb_workload *workload,
                        uint64_t random);
lw_ycsb_operation lw_ycsb_next(const lw_ycsb_workload *workload, uint64_t random);
/* "bench/user" and 18 digits: the key of a record, in an order of its own. */
lw_bytes lw_ycsb_key(uint64_t record, char key[LW_YCSB_KEY_SIZE + 1]);

#endif
