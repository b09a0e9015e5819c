/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that are transactions of their own: registers that are read, put, deleted, and
 * compared and set, held to linearizability (sim/single.h); the largest and the smallest number
 * that anybody gave; and a value that all append to. */
#include "sim/workload_private.h"

enum {
    REGISTERS = LW_ALONE_REGISTERS,
    ELEMENT_SIZE = sizeof(uint64_t),
    TOLD_SIZE = 2 * ELEMENT_SIZE,
    TOKEN_SIZE = 128, /* of the text that names a transaction */
    BEYOND = 20,
};

static const char log_key[] = "alone/log";

static lw_bytes register_key(uint64_t place, char key[WORKLOAD_KEY_SIZE]) {
    int size = snprintf(key, WORKLOAD_KEY_SIZE, "alone/%" PRIu64, place);
    return lw_view(key, (size_t)size);
}

static lw_outcome outcome_of(lw_status status) {
    return status == LW_OK             ? LW_OUTCOME_OK
           : status == LW_UNDETERMINED ? LW_OUTCOME_INFO
                                       : LW_OUTCOME_FAIL;
}

/* What became of the client's last commit in doubt, now that somebody asks; looks first whether it
 * is known without deciding it. */
LW_YIELDS static lw_status resolve(lw_env *env, lw_client *client) {
    char token[TOKEN_SIZE];
    uint64_t commit_timestamp;
    (void)snprintf(token, sizeof(token), "%s", lw_undetermined_token(client));
    LW_ASSERT(token[0] != '\0' && strlen(token) < sizeof(token) - 1);
    lw_status peeked = lw_txn_peek(client, token, &commit_timestamp);
    if (peeked == LW_OK || peeked == LW_NOT_FOUND || workload_below(env, 4) == 0) {
        return peeked;
    }
    return lw_txn_outcome(client, token, &commit_timestamp);
}

/* ---- registers ---------------------------------------------------------------------------- */

LW_YIELDS static lw_status read_register(lw_client *client, lw_bytes key, lw_single *read) {
    lw_txn_options options = {.read_only = 1};
    lw_txn *txn = NULL;
    lw_bytes value;
    LW_TRY(lw_begin(client, &options, &txn));
    lw_status status = lw_get(txn, key, &value);
    read->present = status == LW_OK;
    if (status == LW_OK) {
        LW_ASSERT(value.size == ELEMENT_SIZE);
        read->value = lw_get_u64(value.data);
    }
    lw_txn_close(txn);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* Puts the value; NULL: deletes. */
LW_YIELDS static lw_status write_register(lw_client *client, lw_bytes key, const lw_bytes *value) {
    lw_txn *txn = NULL;
    LW_TRY(lw_begin(client, NULL, &txn));
    lw_status status = value != NULL ? lw_put(txn, key, *value) : lw_delete(txn, key, NULL);
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    return status;
}

LW_YIELDS static lw_status carry_out(lw_client *client, lw_bytes key, lw_single *one) {
    uint8_t value[ELEMENT_SIZE], expected[ELEMENT_SIZE];
    lw_put_u64(value, one->value);
    lw_put_u64(expected, one->expected);
    lw_bytes wanted = lw_view(value, sizeof(value)), before = lw_view(expected, sizeof(expected));
    int swapped = 0;
    lw_status status = LW_OK;
    switch (one->kind) {
    case LW_SINGLE_READ:
        return read_register(client, key, one);
    case LW_SINGLE_WRITE:
        return write_register(client, key, &wanted);
    case LW_SINGLE_DELETE:
        return write_register(client, key, NULL);
    case LW_SINGLE_CAS:
        status = lw_compare_and_set(client, key, &before, &wanted, &swapped);
        one->swapped = swapped != 0;
        break;
    }
    return status;
}

/* Of one in doubt: what was compared may have matched or not, also when it is known to be over. */
LW_YIELDS static void settle(lw_env *env, const lw_workload *workload, lw_client *client,
                             lw_single *one) {
    lw_status status = resolve(env, client);
    one->idle = status == LW_NOT_FOUND;
    one->done = status == LW_OK && one->kind != LW_SINGLE_CAS;
    one->complete_ns = workload->now_ns(workload->clock);
}

LW_YIELDS static lw_outcome run_register(lw_env *env, lw_workload_client *self, lw_client *client,
                                         uint32_t process) {
    lw_workload *workload = self->workload;
    static const lw_single_kind kinds[] = {LW_SINGLE_READ,  LW_SINGLE_READ,   LW_SINGLE_CAS,
                                           LW_SINGLE_CAS,   LW_SINGLE_CAS,    LW_SINGLE_CAS,
                                           LW_SINGLE_WRITE, LW_SINGLE_DELETE, LW_SINGLE_WRITE};
    uint64_t place = workload_below(env, REGISTERS);
    char key[WORKLOAD_KEY_SIZE];
    lw_single begun = {.kind = kinds[workload_below(env, sizeof(kinds) / sizeof(kinds[0]))],
                       .value = workload->next_element++,
                       .expected = workload->registers[place],
                       .process = process,
                       .invoke_ns = workload->now_ns(workload->clock)};
    lw_bytes name = register_key(place, key);
    lw_single *one = lw_singles_begin(&workload->history.singles, name, &begun);
    lw_single told = begun;
    lw_status status = carry_out(client, name, &told);
    if (status == LW_OK) {
        told.next = one->next;
        told.done = true;
        told.complete_ns = workload->now_ns(workload->clock);
        *one = told;
        workload->registers[place] = told.kind == LW_SINGLE_DELETE ? 0 : told.value;
    } else if (status == LW_UNDETERMINED) {
        settle(env, workload, client, one);
    } else {
        one->idle = true;
    }
    return outcome_of(status);
}

/* ---- extremes ----------------------------------------------------------------------------- */

/* Gives a number, mostly beyond all that were given; the smallest is the largest of the
 * negative ones. What the key then has is beyond that, and beyond all that anybody was told. */
LW_YIELDS static lw_outcome give_extreme(lw_env *env, lw_workload *workload, lw_client *client) {
    bool least = workload_below(env, 2) == 0;
    int64_t number = (int64_t)(workload->next_element++ + workload_below(env, BEYOND));
    int64_t floor = workload->extremes[least], now = 0;
    lw_status status = least ? lw_min_now(client, lw_text("alone/least"), -number, &now)
                             : lw_max_now(client, lw_text("alone/most"), number, &now);
    now = least ? -now : now;
    if (status == LW_OK &&
        (now < number || now < floor || now > (int64_t)workload->next_element + BEYOND)) {
        lw_buffer_print(&workload->violations,
                        "extremes: %" PRId64 " was given, and it is %" PRId64 "; %" PRId64
                        " was told before\n",
                        number, now, floor);
    }
    if (status == LW_OK && now > workload->extremes[least]) {
        workload->extremes[least] = now;
    }
    return outcome_of(status);
}

/* ---- a value that all append to ------------------------------------------------------------- */

/* Each is told where what it appended ends: nobody else's ends there, and all that were told before
 * it began lie below. */
LW_YIELDS static lw_outcome append_element(lw_workload *workload, lw_client *client) {
    uint64_t element = workload->next_element++, size = 0, floor = workload->log_told;
    uint8_t bytes[ELEMENT_SIZE];
    lw_put_u64(bytes, element);
    lw_status status =
        lw_append_now(client, lw_text(log_key), lw_view(bytes, sizeof(bytes)), &size);
    if (status == LW_OK && (size % ELEMENT_SIZE != 0 || size <= floor)) {
        lw_buffer_print(&workload->violations,
                        "log: what was appended ends at %" PRIu64 ", and %" PRIu64
                        " was told before it began\n",
                        size, floor);
    } else if (status == LW_OK) {
        workload->log_told = size > workload->log_told ? size : workload->log_told;
        lw_buffer_append_u64(&workload->log, element);
        lw_buffer_append_u64(&workload->log, size);
    }
    return outcome_of(status);
}

/* Every element that was acknowledged ends where its client was told. */
static void judge_log(lw_workload *workload, lw_bytes log) {
    for (size_t at = 0; at < workload->log.size; at += TOLD_SIZE) {
        uint64_t element = lw_get_u64(workload->log.data + at);
        uint64_t end = lw_get_u64(workload->log.data + at + ELEMENT_SIZE);
        if (end > log.size || lw_get_u64(log.data + end - ELEMENT_SIZE) != element) {
            lw_buffer_print(&workload->violations,
                            "log: %" PRIu64 " was appended up to %" PRIu64 ", and is not there\n",
                            element, end);
        }
    }
}

/* ---- all of it ---------------------------------------------------------------------------- */

void workload_run_alone(lw_env *env, lw_workload_client *self, lw_client *client,
                        uint32_t process) {
    lw_workload *workload = self->workload;
    uint64_t choice = workload_below(env, 10);
    lw_outcome outcome = choice < 6   ? run_register(env, self, client, process)
                         : choice < 8 ? give_extreme(env, workload, client)
                                      : append_element(workload, client);
    workload_count(workload, self, outcome);
}

lw_status workload_final_alone(lw_workload *workload, lw_client *client) {
    lw_txn_options options = {.read_only = 1};
    lw_txn *txn = NULL;
    lw_bytes log = {0};
    LW_TRY(lw_begin(client, &options, &txn));
    lw_status status = lw_get(txn, lw_text(log_key), &log);
    if (status == LW_OK || status == LW_NOT_FOUND) {
        judge_log(workload, log);
        status = LW_OK;
    }
    lw_txn_close(txn);
    return status;
}
