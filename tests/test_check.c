/* SPDX-License-Identifier: Apache-2.0 */
/* The checker, held to hand-made histories: each anomaly is found and named at each level, and what
 * is none is not; and to histories of a database that runs one transaction at a time, whole and
 * with one thing wrong.
 *
 * A history is written as text, one transaction after the other:
 *   "BEGIN-END outcome op op …;"  with outcome ok, fail or info, then ! for a final read or ~ for a
 * transaction at snapshot isolation, and ops
 *   aK:E    append E to list K        rK:E,E  a read of it; rK: alone: it does not exist
 *   pR:V    put V in register R       gR:V    a read of it; gR: alone: it is absent */
#include "sim/check.h"
#include "tests/unit_memory.h"

#include <time.h>

static uint64_t take_number(const char **at) {
    char *end = NULL;
    uint64_t number = strtoull(*at, &end, 10);
    assert_ptr_not_equal(end, *at);
    *at = end;
    return number;
}

static void take_op(lw_history *history, lw_history_txn *txn, const char **at) {
    char kind = *(*at)++;
    assert_non_null(strchr("arpg", kind));
    const char *name = *at;
    (void)take_number(at);
    uint32_t key = lw_history_key_of(history, lw_view(name, (size_t)(*at - name)));
    uint64_t values[16];
    uint32_t count = 0;
    assert_int_equal(*(*at)++, ':');
    while (**at >= '0' && **at <= '9') {
        values[count++] = take_number(at);
        *at += **at == ',';
    }
    if (kind == 'a') {
        lw_history_append(history, txn, key, values[0]);
    } else if (kind == 'p') {
        lw_history_write(history, txn, key, values[0]);
    } else if (kind == 'r') {
        lw_history_read_list(history, txn, key, values, count);
    } else {
        lw_history_read_register(history, txn, key, count > 0 ? values : NULL);
    }
}

static lw_history history_of(const char *text) {
    lw_history history = lw_history_in(memory);
    const char *at = text;
    while (*at != 0) {
        uint64_t begin = take_number(&at);
        assert_int_equal(*at++, '-');
        uint64_t end = take_number(&at);
        lw_history_txn *txn = lw_history_begin(&history, history.txn_count, true, begin);
        at++;
        lw_outcome outcome = *at == 'o'   ? LW_OUTCOME_OK
                             : *at == 'f' ? LW_OUTCOME_FAIL
                                          : LW_OUTCOME_INFO;
        at += outcome == LW_OUTCOME_OK ? 2 : 4;
        txn->final = *at == '!';
        txn->strict = *at != '~';
        at += *at == '!' || *at == '~';
        while (*at == ' ') {
            at++;
            take_op(&history, txn, &at);
        }
        lw_history_end(txn, outcome, end);
        assert_int_equal(*at++, ';');
        at += *at == ' ';
    }
    return history;
}

/* `found`: how the report must begin; NULL: nothing wrong. */
static void judge_at(const char *text, lw_check_level level, const char *found) {
    lw_history history = history_of(text);
    lw_buffer report = lw_buffer_in(memory);
    bool good = lw_check_history(&history, level, memory, &report);
    lw_buffer_append_u8(&report, 0);
    if (found == NULL) {
        assert_string_equal(report.data, "");
        assert_true(good);
    } else {
        assert_false(good);
        if (strncmp((const char *)report.data, found, strlen(found)) != 0) {
            fail_msg("wanted \"%s\" for \"%s\": %s", found, text, (const char *)report.data);
        }
    }
    lw_buffer_reset(&report);
    lw_history_reset(&history);
}

static void judge(const char *text, bool strict, const char *found) {
    judge_at(text, strict ? LW_CHECK_STRICT : LW_CHECK_SNAPSHOT, found);
}

/* At both levels. */
static void judge_both(const char *text, const char *found) {
    judge(text, true, found);
    judge(text, false, found);
}

/* ---- lists -------------------------------------------------------------------------------- */

static void serial_histories_are_sound(void **state) {
    (void)state;
    judge_both("1-2 ok a1:1; 3-4 ok r1:1 a1:2; 5-6 ok r1:1,2; 7-8 ok! r1:1,2;", NULL);
    judge_both("1-2 ok p1:1; 3-4 ok g1:1 p1:2; 5-6 ok g1:2; 7-8 ok! g1:2;", NULL);
    judge_both("", NULL);
}

static void concurrent_transactions_may_go_either_way(void **state) {
    (void)state;
    judge_both("1-9 ok a1:1; 2-8 ok r1:; 3-7 ok r1:1;", NULL);
    judge_both("1-9 ok r1: a2:1; 2-8 ok r2: a3:1;", NULL);
    judge_both("1-9 ok p1:1; 2-8 ok g1:; 3-7 ok g1:1;", NULL);
    judge_both("1-9 ok p1:1; 2-8 ok p1:2; 10-11 ok g1:1;", NULL);
    judge_both("1-9 ok p1:1; 2-8 ok p1:2; 10-11 ok g1:2;", NULL);
}

static void what_is_in_doubt_may_be_seen_or_not(void **state) {
    (void)state;
    judge_both("1-2 info a1:1; 3-4 ok r1:; 5-6 ok r1:1;", NULL);
    judge_both("1-2 info a1:1; 3-4 ok! r1:;", NULL);
    judge_both("1-2 info p1:1; 3-4 ok g1:; 5-6 ok g1:1;", NULL);
    judge_both("1-2 info p1:1; 3-4 ok! g1:;", NULL);
}

/* Whoever was in doubt and is read has committed, so that what it read counts. */
static void what_was_in_doubt_and_is_read_counts(void **state) {
    (void)state;
    judge_both("1-2 ok a1:1; 3-4 info r1: a2:1; 5-6 ok r2:1; 7-8 ok r1:1;",
               "cycle G-single in real time");
    judge_both("1-2 ok a1:1; 3-4 info r1: a2:1; 5-6 ok r2:; 7-8 ok r1:1;", NULL);
    judge_both("1-2 ok p1:1; 3-4 info g1: p2:1; 5-6 ok g2:1; 7-8 ok g1:1;",
               "cycle G-single in real time");
    judge_both("1-2 ok p1:1; 3-4 info g1: p2:1; 5-6 ok g2:; 7-8 ok g1:1;", NULL);
}

static void a_lost_write_is_found(void **state) {
    (void)state;
    judge_both("1-2 ok a1:1; 3-4 ok a1:2; 5-6 ok! r1:2;", "lost write");
    judge_both("1-2 ok a1:1; 3-4 ok! r1:;", "lost write");
    judge_both("1-2 ok a1:1; 3-4 ok a2:1; 5-6 ok! r1: r2:1;", "lost write");
    judge_both("1-2 ok a1:1; 3-4 ok r1:;", "cycle G-single in real time");
    judge_both("1-2 ok p1:1; 5-6 ok! g1:;", "cycle G-single in real time");
    judge_both("1-2 ok p1:1; 3-4 ok p1:2; 5-6 ok! g1:1;", "cycle G-single in real time");
}

static void an_aborted_read_is_found(void **state) {
    (void)state;
    judge_both("1-2 fail a1:1; 3-4 ok r1:1;", "aborted read (G1a)");
    judge_both("1-2 fail a1:1; 3-4 ok a1:2; 5-6 ok r1:1,2;", "aborted read (G1a)");
    judge_both("1-2 fail p1:1; 3-4 ok g1:1;", "aborted read (G1a)");
    judge_both("1-2 fail p1:1; 3-4 fail g1:1;", "aborted read (G1a)"); /* nobody may */
    judge_both("1-2 fail a1:1; 3-4 info r1:1;", "aborted read (G1a)");
    judge_both("1-2 fail a1:1 r1:1; 1-2 fail p2:1 g2:1;", NULL); /* but oneself */
}

static void an_intermediate_read_is_found(void **state) {
    (void)state;
    judge_both("1-9 ok a1:1 a1:2; 2-8 ok r1:1;", "intermediate read (G1b)");
    judge_both("1-9 ok a1:1 a1:2; 2-8 ok r1:1; 10-11 ok r1:1,2;", "intermediate read (G1b)");
    judge_both("1-9 ok p1:1 p1:2; 2-8 ok g1:1;", "intermediate read (G1b)");
    judge_both("1-9 ok a1:1 r1:1 a1:2;", NULL); /* one's own middle is no secret */
    judge_both("1-9 ok p1:1 g1:1 p1:2;", NULL);
}

static void garbage_is_found(void **state) {
    (void)state;
    judge_both("1-2 ok a1:1; 1-2 ok r1:7;", "garbage");
    judge_both("1-2 ok a1:1; 3-4 ok r1:1,1;", "garbage");
    judge_both("1-2 ok p1:1; 3-4 ok g1:2;", "garbage");
}

static void orders_that_disagree_are_found(void **state) {
    (void)state;
    judge_both("1-9 ok a1:1; 1-9 ok a1:2; 2-8 ok r1:1,2; 2-8 ok r1:2,1;", "incompatible order");
    judge_both("1-9 ok a1:1; 1-9 ok a1:2; 2-8 ok r1:1; 2-8 ok r1:2;", "incompatible order");
    judge_both("1-9 ok a1:1; 1-9 ok a1:2; 2-8 ok r1:1; 2-8 fail r1:2;", "incompatible order");
}

static void reads_against_their_own_past_are_found(void **state) {
    (void)state;
    judge_both("1-2 ok a1:1 r1:;", "internal");
    judge_both("1-2 ok a1:1; 1-9 ok r1: r1:1;", "internal");
    judge_both("1-2 ok a1:1; 3-9 ok r1:1 a1:2 r1:1,2;", NULL);
    judge_both("1-2 ok p1:1 g1:;", "internal");
    judge_both("1-2 ok p1:1; 1-9 ok g1: g1:1;", "internal");
    judge_both("1-2 ok p1:1; 3-4 ok p1:2 g1:1;", "internal");
    judge_both("1-2 ok p1:1; 3-9 ok g1:1 p1:2 g1:2 g1:2;", NULL);
}

/* A pessimistic transaction that fails may have read of two states. */
static void who_failed_may_have_read_of_two_states(void **state) {
    (void)state;
    judge_both("1-9 ok a1:1; 2-8 fail r1: r1:1;", NULL);
    judge_both("1-9 ok p1:1; 2-8 fail g1: g1:1;", NULL);
}

static void a_cycle_of_writes_is_found(void **state) {
    (void)state;
    judge_both("1-9 ok a1:1 a2:1; 1-9 ok a1:2 a2:2; 10-11 ok r1:1,2 r2:2,1;", "cycle G0:");
    judge_both("1-9 ok a1:1 a1:2; 1-9 ok a1:3; 10-11 ok r1:1,3,2;", "cycle G0:");
    judge_both("1-2 ok a1:1; 3-4 ok a1:2; 5-6 ok r1:2,1;", "cycle G0 in real time");
}

static void a_cycle_of_information_is_found(void **state) {
    (void)state;
    judge_both("1-9 ok a1:1 r2:1; 1-9 ok a2:1 r1:1;", "cycle G1c:");
    judge_both("1-9 ok p1:1 g2:1; 1-9 ok p2:1 g1:1;", "cycle G1c:");
    judge_both("1-9 ok a1:1 g2:1; 1-9 ok p2:1 r1:1;", "cycle G1c:");   /* over both kinds of key */
    judge_both("1-2 ok g1:1; 3-4 ok p1:1;", "cycle G1c in real time"); /* of the future */
}

static void a_lost_update_is_found(void **state) {
    (void)state;
    judge_both("1-9 ok r1: a1:1; 1-9 ok r1: a1:2; 10-11 ok r1:1,2;", "lost update");
    judge_both("1-9 ok g1: p1:1; 1-9 ok g1: p1:2; 10-11 ok g1:2;", "lost update");
    judge_both("1-2 ok p1:1; 3-9 ok g1:1 p1:2; 3-9 ok g1:1 p1:3;", "lost update");
    judge_both("1-2 ok a1:1; 3-9 ok r1:1 a1:2; 3-9 ok a1:3; 10-11 ok r1:1,3,2;", "lost update");
    judge_both("1-9 ok a1:1; 1-9 ok a1:2; 10-11 ok r1:1,2;", NULL); /* blind ones lose nothing */
}

static void a_torn_read_is_found(void **state) {
    (void)state;
    judge_both("1-9 ok a1:1 a2:1; 1-9 ok r1:1 r2:; 10-11 ok r2:1;", "cycle G-single:");
    judge_both("1-2 ok p1:1 p2:1; 3-9 ok g1:1 p1:2 g2:1 p2:2; 3-9 ok g1:2 g2:1;",
               "cycle G-single:");
    /* A row that a scan did not show, though its transaction's other one was there. */
    judge_both("1-9 ok p1:1 p2:1; 1-9 ok g1:1 g2:;", "cycle G-single:");
}

static void a_long_fork_is_found(void **state) {
    (void)state;
    judge_both("1-9 ok a1:1; 1-9 ok a2:1; 1-9 ok r1:1 r2:; 1-9 ok r1: r2:1;", "cycle long fork");
    judge_both("1-9 ok p1:1; 1-9 ok p2:1; 1-9 ok g1:1 g2:; 1-9 ok g1: g2:1;", "cycle long fork");
}

static void write_skew_is_an_anomaly_only_when_strict(void **state) {
    (void)state;
    const char *lists = "1-9 ok r1: r2: a1:1; 1-9 ok r1: r2: a2:1; 10-11 ok r1:1; 12-13 ok r2:1;";
    judge(lists, false, NULL);
    judge(lists, true, "cycle G2:");
    const char *rows = "1-2 ok p1:1 p2:1; 3-9 ok g1:1 g2:1 p1:2; 3-9 ok g1:1 g2:1 p2:2;";
    judge(rows, false, NULL);
    judge(rows, true, "cycle G2:");
    const char *three = "1-9 ok r1: a2:1; 1-9 ok r2: a3:1; 1-9 ok r3: a1:1; 10-11 ok r1:1 r2:1 "
                        "r3:1;";
    judge(three, false, NULL);
    judge(three, true, "cycle G2:");
}

/* Two that each insert a row into a range in which they found none. */
static void phantoms_are_an_anomaly_only_when_strict(void **state) {
    (void)state;
    const char *phantom = "1-9 ok g1: g2: g3: p1:1; 1-9 ok g1: g2: g3: p2:1;";
    judge(phantom, false, NULL);
    judge(phantom, true, "cycle G2:");
}

/* A read-only transaction that shows two others to be out of order (Fekete and others, 2004). */
static void a_read_only_anomaly_is_found_when_strict(void **state) {
    (void)state;
    const char *text = "1-9 ok r1: r2: a1:1; 2-3 ok r2: a2:1; 4-5 ok r1: r2:1; 10-11 ok r1:1;";
    judge(text, false, NULL);
    judge(text, true, "cycle G2:");
}

/* A strict transaction's reads hold until it commits, another's need not. */
static void levels_may_be_mixed(void **state) {
    (void)state;
    judge_at("1-9 ok r1: r2: a1:1; 1-9 ok r1: r2: a2:1; 10-11 ok r1:1 r2:1;", LW_CHECK_AS_TOLD,
             "cycle G2:");
    judge_at("1-9 ok~ r1: r2: a1:1; 1-9 ok r1: r2: a2:1; 10-11 ok r1:1 r2:1;", LW_CHECK_AS_TOLD,
             NULL);
    judge_at("1-9 ok~ r1: r2: a1:1; 1-9 ok~ r1: r2: a2:1; 10-11 ok r1:1 r2:1;", LW_CHECK_AS_TOLD,
             NULL);
}

static void a_stale_read_is_found_by_the_clock(void **state) {
    (void)state;
    /* Snapshots are strong: at both. */
    judge_both("1-2 ok a1:1; 3-4 ok r1:; 5-6 ok r1:1;", "cycle G-single in real time");
    judge_both("1-2 ok p1:1; 3-4 ok p1:2; 5-6 ok g1:1;", "cycle G-single in real time");
    judge_both("1-2 ok p1:1; 3-4 ok g1:;", "cycle G-single in real time");
    judge_both("1-2 ok p1:1; 3-9 ok p1:2; 5-6 ok g1:1; 7-8 ok g1:2;", NULL);
}

/* Between the ends of a long chain of moments no edge is lost. */
static void real_time_reaches_across_many_transactions(void **state) {
    (void)state;
    lw_buffer text = lw_buffer_in(memory);
    lw_buffer_print(&text, "1-2 ok a1:1;");
    for (int index = 0; index < 200; index++) {
        lw_buffer_print(&text, " %d-%d ok a2:%d;", 3 + 2 * index, 4 + 2 * index, index + 1);
    }
    lw_buffer_print(&text, " 1000-1001 ok r1:; 1002-1003 ok r1:1;");
    lw_buffer_append_u8(&text, 0);
    judge_both((const char *)text.data, "cycle G-single in real time");
    lw_buffer_reset(&text);
}

static void two_writes_of_one_value_cannot_be_told_apart(void **state) {
    (void)state;
    judge_both("1-2 ok p1:1; 3-4 ok p1:1;", "ambiguous");
}

/* ---- histories at random ------------------------------------------------------------------ */

/* A database that runs one transaction at a time, and what its clients are told. */
enum { KEYS = 12, LISTS = 6, OPS_MAX = 6, ELEMENTS_MAX = 64, KEY_LIFE = 40 };

typedef struct database {
    uint64_t random;
    uint64_t values[KEYS][ELEMENTS_MAX];
    uint32_t counts[KEYS];
    uint64_t next_value, now_ns;
} database;

static uint64_t draw(database *in, uint64_t bound) {
    in->random = in->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (in->random >> 33) % bound;
}

static uint32_t key_named(lw_history *history, uint64_t number) {
    char name[24];
    int size = snprintf(name, sizeof(name), "%llu", (unsigned long long)number);
    return lw_history_key_of(history, lw_view(name, (size_t)size));
}

static void run_op(database *in, lw_history *history, lw_history_txn *txn, uint64_t round) {
    uint64_t place = draw(in, KEYS);
    uint32_t key = key_named(history, round * KEYS + place);
    uint64_t *values = in->values[place];
    uint32_t *count = &in->counts[place];
    bool is_list = place < LISTS;
    if (draw(in, 2) == 0 && is_list) {
        lw_history_read_list(history, txn, key, values, *count);
    } else if (is_list && *count < ELEMENTS_MAX) {
        values[(*count)++] = ++in->next_value;
        lw_history_append(history, txn, key, in->next_value);
    } else if (draw(in, 2) == 0) {
        lw_history_read_register(history, txn, key, *count > 0 ? values : NULL);
    } else {
        *count = 1;
        values[0] = ++in->next_value;
        lw_history_write(history, txn, key, values[0]);
    }
}

static void read_all(database *in, lw_history *history, lw_history_txn *txn, uint64_t round) {
    for (uint64_t place = 0; place < KEYS; place++) {
        uint32_t key = key_named(history, round * KEYS + place);
        if (place < LISTS) {
            lw_history_read_list(history, txn, key, in->values[place], in->counts[place]);
        } else {
            lw_history_read_register(history, txn, key,
                                     in->counts[place] > 0 ? in->values[place] : NULL);
        }
    }
    lw_history_end(txn, LW_OUTCOME_OK, in->now_ns);
    txn->final = true;
}

/* Transactions overlap in time by what clients see of it, but run in the order of the history. One
 * in ten fails, and is undone; one in ten ends in doubt. Keys change every 40 transactions,
 * the last of which reads them all. */
static lw_history random_history(uint64_t seed, uint32_t txn_count) {
    lw_history history = lw_history_in(memory);
    database *in = lw_allocate_zero(memory, sizeof(*in));
    database *before = lw_allocate(memory, sizeof(*before));
    in->random = seed;
    in->now_ns = 100;
    for (uint32_t number = 0; number < txn_count; number++) {
        if (number % KEY_LIFE == 0) {
            memset(in->counts, 0, sizeof(in->counts));
        }
        in->now_ns += 10;
        lw_history_txn *txn =
            lw_history_begin(&history, number % 8, draw(in, 2) == 0, in->now_ns - draw(in, 100));
        *before = *in;
        if (number % KEY_LIFE == KEY_LIFE - 1) {
            read_all(in, &history, txn, number / KEY_LIFE);
            continue;
        }
        for (uint64_t op = 1 + draw(in, OPS_MAX); op > 0; op--) {
            run_op(in, &history, txn, number / KEY_LIFE);
        }
        uint64_t fate = draw(in, 10);
        if (fate == 0) {
            memcpy(in->values, before->values, sizeof(in->values));
            memcpy(in->counts, before->counts, sizeof(in->counts));
        }
        lw_history_end(txn,
                       fate == 0   ? LW_OUTCOME_FAIL
                       : fate == 1 ? LW_OUTCOME_INFO
                                   : LW_OUTCOME_OK,
                       in->now_ns + draw(in, 100));
    }
    lw_free(memory, before);
    lw_free(memory, in);
    return history;
}

static bool is_sound(const lw_history *history, lw_check_level level) {
    lw_buffer report = lw_buffer_in(memory);
    bool good = lw_check_history(history, level, memory, &report);
    lw_buffer_reset(&report);
    return good;
}

static void serial_histories_at_random_are_sound(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        lw_history history = random_history(seed, 200);
        lw_buffer report = lw_buffer_in(memory);
        if (!lw_check_history(&history, LW_CHECK_STRICT, memory, &report)) {
            fail_msg("seed %llu: %.*s", (unsigned long long)seed, (int)report.size, report.data);
        }
        assert_true(is_sound(&history, LW_CHECK_SNAPSHOT));
        assert_true(is_sound(&history, LW_CHECK_AS_TOLD));
        lw_buffer_reset(&report);
        lw_history_reset(&history);
    }
}

/* What a database may do wrong, to the read with this number; false if it does not apply there. */
typedef bool mutation(lw_history_op *read);

static bool forget_last(lw_history_op *read) {
    bool applies = read->value_count > 0;
    read->value_count -= applies;
    return applies;
}

static bool forget_all(lw_history_op *read) {
    bool applies = read->value_count > 1;
    read->value_count = applies ? 0 : read->value_count;
    return applies;
}

static bool swap_first(lw_history_op *read) {
    uint64_t *values = (uint64_t *)(uintptr_t)read->values;
    if (read->value_count < 2) {
        return false;
    }
    uint64_t first = values[0];
    values[0] = values[1];
    values[1] = first;
    return true;
}

static bool invent(lw_history_op *read) {
    uint64_t *values = (uint64_t *)(uintptr_t)read->values;
    if (read->value_count == 0) {
        return false;
    }
    values[read->value_count - 1] = UINT64_C(1) << 60;
    return true;
}

/* Applies it to one read of a transaction that is OK and that began after all that it read was
 * acknowledged, so that the mutation cannot pass for another order of things. */
static bool mutate(const lw_history *history, mutation *wrong, uint64_t chosen) {
    for (lw_history_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        for (lw_history_op *op = txn->ops; op != NULL; op = op->next) {
            bool read = op->kind == LW_HISTORY_READ && txn->outcome == LW_OUTCOME_OK;
            if (read && op->value_count > 0 && chosen-- == 0) {
                return wrong(op);
            }
        }
    }
    return false;
}

/* Every transaction after the other, none in doubt: then nothing can be explained away. */
static void set_apart(const lw_history *history) {
    for (lw_history_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        txn->invoke_ns = txn->number * 10 + 1;
        txn->complete_ns = txn->number * 10 + 5;
        txn->outcome = txn->outcome == LW_OUTCOME_INFO ? LW_OUTCOME_OK : txn->outcome;
    }
}

static void anything_wrong_in_a_serial_history_is_reported(void **state) {
    (void)state;
    static mutation *const wrong[] = {forget_last, forget_all, swap_first, invent};
    static const uint32_t wanted[] = {200, 50, 50, 200};
    uint32_t applied[4] = {0};
    for (uint64_t seed = 1; seed <= 400; seed++) {
        lw_history history = random_history(seed, 120);
        set_apart(&history);
        assert_true(is_sound(&history, LW_CHECK_STRICT));
        if (mutate(&history, wrong[seed % 4], seed % 23)) {
            applied[seed % 4]++;
            if (is_sound(&history, LW_CHECK_STRICT) || is_sound(&history, LW_CHECK_SNAPSHOT)) {
                fail_msg("mutation %llu of seed %llu was not found", (unsigned long long)seed % 4,
                         (unsigned long long)seed);
            }
        }
        lw_history_reset(&history);
    }
    for (size_t index = 0; index < 4; index++) {
        assert_true(applied[index] * 4 >= wanted[index]);
    }
}

/* An acknowledged transaction that left no trace. */
static void a_transaction_that_vanished_is_reported(void **state) {
    (void)state;
    uint32_t vanished = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        lw_history history = random_history(seed, 120);
        set_apart(&history);
        /* A failed one whose writes the others rightly do not show, told to have committed. */
        for (lw_history_txn *txn = history.txns; txn != NULL; txn = txn->next) {
            bool writes = txn->ops->kind == LW_HISTORY_APPEND;
            if (txn->outcome == LW_OUTCOME_FAIL && writes) {
                txn->outcome = LW_OUTCOME_OK;
                vanished++;
                assert_false(is_sound(&history, LW_CHECK_SNAPSHOT));
                break;
            }
        }
        lw_history_reset(&history);
    }
    assert_true(vanished > 10);
}

/* Linear enough: a hundred thousand transactions in seconds. */
static void a_long_history_takes_seconds(void **state) {
    (void)state;
    lw_history history = random_history(7, 100000);
    clock_t began = clock();
    assert_true(is_sound(&history, LW_CHECK_STRICT));
    double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    print_message("100,000 transactions at strict: %.2f s\n", seconds);
#ifndef __SANITIZE_ADDRESS__
    assert_true(seconds < 10);
#endif
    lw_history_reset(&history);
}

/* ---- as text ------------------------------------------------------------------------------ */

static const char lines_of_all[] =
    "{\"txn\":0,\"process\":0,\"invoke_ns\":1,\"complete_ns\":2,\"status\":\"ok\","
    "\"ops\":[[\"append\",\"1\",1],[\"w\",\"2\",5]],\"isolation\":\"strict\"}\n"
    "{\"txn\":1,\"process\":1,\"invoke_ns\":3,\"complete_ns\":null,\"status\":\"info\","
    "\"ops\":[[\"r\",\"1\",[1]],[\"r\",\"2\",5],[\"r\",\"3\",[]]],\"isolation\":\"snapshot\"}\n"
    "{\"txn\":2,\"process\":2,\"invoke_ns\":5,\"complete_ns\":6,\"status\":\"fail\","
    "\"ops\":[],\"isolation\":\"strict\",\"final\":true}\n";

static void a_history_is_written_and_read_as_json_lines(void **state) {
    (void)state;
    lw_history history = history_of("1-2 ok a1:1 p2:5; 3-4 info~ r1:1 g2:5 g3:; 5-6 fail!;");
    lw_buffer lines = lw_buffer_in(memory);
    lw_history_print(&history, &lines);
    lw_buffer_append_u8(&lines, 0);
    assert_string_equal(lines.data, lines_of_all);
    lw_history_reset(&history);
    assert_int_equal(lw_history_parse(&history, lw_text(lines_of_all)), LW_OK);
    lw_buffer_clear(&lines);
    lw_history_print(&history, &lines);
    lw_buffer_append_u8(&lines, 0);
    assert_string_equal(lines.data, lines_of_all);
    lw_buffer_reset(&lines);
    lw_history_reset(&history);
}

static void parse(const char *text, const char *problem, uint32_t txn_count) {
    lw_history history = lw_history_in(memory);
    lw_status status = lw_history_parse(&history, lw_text(text));
    if (problem == NULL) {
        assert_int_equal(status, LW_OK);
        assert_int_equal(history.txn_count, txn_count);
    } else {
        assert_int_equal(status, LW_INVALID_ARGUMENT);
        if (strstr(lw_error_slot()->text, problem) == NULL) {
            fail_msg("wanted \"%s\": %s", problem, lw_error_slot()->text);
        }
    }
    lw_history_reset(&history);
}

static void what_is_not_known_is_passed_over(void **state) {
    (void)state;
    parse("", NULL, 0);
    parse("# a remark\n\n  \n{\"txn\": 4}\n", NULL, 1);
    parse("{ \"note\" : {\"a\": [1, {\"b\": \"}]\\\"\"}], \"c\": -1.5e3}, \"txn\" : 1 ,"
          " \"ops\" : [ [ \"r\" , \"x\" , null ] ] }",
          NULL, 1);
}

/* A client that dies has said what it was about to do. */
static void the_later_line_of_a_transaction_counts(void **state) {
    (void)state;
    const char *text = "{\"txn\":9,\"invoke_ns\":1,\"status\":\"info\",\"ops\":[[\"w\",\"x\",1]]}\n"
                       "{\"txn\":8,\"invoke_ns\":1,\"status\":\"info\"}\n"
                       "{\"txn\":9,\"invoke_ns\":1,\"complete_ns\":3,\"status\":\"ok\","
                       "\"ops\":[[\"w\",\"x\",1]]}\n";
    parse(text, NULL, 2);
    lw_history history = lw_history_in(memory);
    assert_int_equal(lw_history_parse(&history, lw_text(text)), LW_OK);
    assert_int_equal(history.txns->outcome, LW_OUTCOME_OK);
    assert_int_equal(history.txns->next->id, 8);
    assert_true(is_sound(&history, LW_CHECK_STRICT)); /* the value was written once */
    lw_history_reset(&history);
}

static void lines_that_make_no_sense_are_refused_by_number(void **state) {
    (void)state;
    parse("{\"txn\": 1}\n{\"txn\": x}", "line 2 of the history", 0);
    parse("[]", "an object is wanted", 0);
    parse("{\"process\": 1}", "it has no \"txn\"", 0);
    parse("{\"txn\": 1} 2", "more behind", 0);
    parse("{\"txn\": 1, \"status\": \"maybe\"}", "ok, fail or info", 0);
    parse("{\"txn\": 1, \"ops\": [[\"x\",\"k\",1]]}", "r, append and w", 0);
    parse("{\"txn\": 1, \"ops\": [[\"w\",\"k\",1],[\"append\",\"k\",1]]}", "a list in one place",
          0);
    parse("{\"txn\": 1, \"ops\": [[\"w\",\"k\",18446744073709551616]]}", "above 64 bits", 0);
    parse("{\"txn\": 1, \"ops\": [[\"w\",\"k\",1.5]]}", "without sign", 0);
    parse("{\"txn\": 1, \"status\": \"ok\", \"invoke_ns\": 5, \"complete_ns\": 4}",
          "\"complete_ns\" after", 0);
    parse("{\"txn\": 1, \"isolation\": \"none\"}", "strict or snapshot", 0);
    parse("{\"txn\": 1, \"x\": \"", "does not end", 0);
    parse("{\"txn\": 1, \"x\": [", "ends too early", 0);
    parse("{\"txn\": 1, \"x\": ]}", "value is missing", 0);
    lw_buffer deep = lw_buffer_in(memory);
    lw_buffer_print(&deep, "{\"x\": ");
    for (int index = 0; index < 1000; index++) {
        lw_buffer_append_u8(&deep, '[');
    }
    lw_buffer_append_u8(&deep, 0);
    parse((const char *)deep.data, "nested too deeply", 0);
    lw_buffer_reset(&deep);
}

/* Every beginning of a line is either refused or understood, and nothing beyond it is read. */
static void a_line_cut_anywhere_does_no_harm(void **state) {
    (void)state;
    for (size_t size = 0; size < sizeof(lines_of_all); size++) {
        uint8_t *cut = lw_allocate(memory, size);
        memcpy(cut, lines_of_all, size);
        lw_history history = lw_history_in(memory);
        (void)!lw_history_parse(&history, lw_view(cut, size));
        lw_history_reset(&history);
        lw_free(memory, cut);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serial_histories_are_sound),
        cmocka_unit_test(concurrent_transactions_may_go_either_way),
        cmocka_unit_test(what_is_in_doubt_may_be_seen_or_not),
        cmocka_unit_test(what_was_in_doubt_and_is_read_counts),
        cmocka_unit_test(a_lost_write_is_found),
        cmocka_unit_test(an_aborted_read_is_found),
        cmocka_unit_test(an_intermediate_read_is_found),
        cmocka_unit_test(garbage_is_found),
        cmocka_unit_test(orders_that_disagree_are_found),
        cmocka_unit_test(reads_against_their_own_past_are_found),
        cmocka_unit_test(who_failed_may_have_read_of_two_states),
        cmocka_unit_test(a_cycle_of_writes_is_found),
        cmocka_unit_test(a_cycle_of_information_is_found),
        cmocka_unit_test(a_lost_update_is_found),
        cmocka_unit_test(a_torn_read_is_found),
        cmocka_unit_test(a_long_fork_is_found),
        cmocka_unit_test(write_skew_is_an_anomaly_only_when_strict),
        cmocka_unit_test(phantoms_are_an_anomaly_only_when_strict),
        cmocka_unit_test(a_read_only_anomaly_is_found_when_strict),
        cmocka_unit_test(levels_may_be_mixed),
        cmocka_unit_test(a_stale_read_is_found_by_the_clock),
        cmocka_unit_test(real_time_reaches_across_many_transactions),
        cmocka_unit_test(two_writes_of_one_value_cannot_be_told_apart),
        cmocka_unit_test(serial_histories_at_random_are_sound),
        cmocka_unit_test(anything_wrong_in_a_serial_history_is_reported),
        cmocka_unit_test(a_transaction_that_vanished_is_reported),
        cmocka_unit_test(a_long_history_takes_seconds),
        cmocka_unit_test(a_history_is_written_and_read_as_json_lines),
        cmocka_unit_test(what_is_not_known_is_passed_over),
        cmocka_unit_test(the_later_line_of_a_transaction_counts),
        cmocka_unit_test(lines_that_make_no_sense_are_refused_by_number),
        cmocka_unit_test(a_line_cut_anywhere_does_no_harm),
    };
    return cmocka_run_group_tests(tests, unit_memory_open, unit_memory_close_empty) != 0 ? 1 : 0;
}
