/* SPDX-License-Identifier: Apache-2.0 */
/* Conflicts in words: the key, the other transaction and its client, how long we waited, and what
 * to do. */
#include "client/transaction.h"

#include <stdio.h>

enum {
    KEY_SHOWN_SIZE = 48, /* of a key in a cycle, with the closing zero */
    LABEL_SHOWN_SIZE = 72,
    CLIENT_TEXT_SIZE = LABEL_SHOWN_SIZE + 16,
    STEP_TEXT_SIZE = CLIENT_TEXT_SIZE + KEY_SHOWN_SIZE + 48,
    CYCLE_TEXT_SIZE = 400,
};

/* " of client "X"", or nothing. */
static const char *client_named(const char *word, lw_bytes label, char text[CLIENT_TEXT_SIZE]) {
    char shown[LABEL_SHOWN_SIZE];
    text[0] = 0;
    if (label.size > 0) {
        (void)snprintf(text, CLIENT_TEXT_SIZE, " %s client \"%s\"", word,
                       lw_printable(label, shown, sizeof(shown)));
    }
    return text;
}

/* ", after waiting 30 ms", or nothing. */
static const char *after_waiting(uint64_t waited_ms, char *text, size_t size) {
    if (waited_ms == 0) {
        text[0] = 0;
    } else {
        (void)snprintf(text, size, ", after waiting %llu ms", (unsigned long long)waited_ms);
    }
    return text;
}

/* As many steps as fit, then how many more there are. */
static lw_status deadlock(const lw_obstacle *obstacle) {
    char text[CYCLE_TEXT_SIZE] = "", more[32] = "";
    size_t size = 0;
    uint32_t told = 0;
    for (; told < obstacle->step_count; told++) {
        const lw_deadlock_step *step = &obstacle->steps[told];
        char key[KEY_SHOWN_SIZE], client[CLIENT_TEXT_SIZE], line[STEP_TEXT_SIZE];
        int line_size =
            snprintf(line, sizeof(line), "%s%llu%s waits for \"%s\"", told == 0 ? "" : ", ",
                     (unsigned long long)step->start, client_named("of", step->label, client),
                     lw_printable(step->key, key, sizeof(key)));
        if (size + (size_t)line_size >= sizeof(text)) {
            break;
        }
        memcpy(text + size, line, (size_t)line_size + 1);
        size += (size_t)line_size;
    }
    if (told < obstacle->cycle_length) {
        (void)snprintf(more, sizeof(more), ", and %u more", obstacle->cycle_length - told);
    }
    return lw_fail(LW_CONFLICT,
                   "a deadlock: transaction %s%s, each held up by the next; run the whole "
                   "transaction again",
                   text, more);
}

lw_status lw_txn_conflict(const lw_obstacle *obstacle) {
    char key[LW_PRINTABLE_SIZE], client[CLIENT_TEXT_SIZE], waited[64];
    lw_printable(obstacle->key, key, sizeof(key));
    client_named(obstacle->kind == LW_OBSTACLE_KILLED ? "by" : "of", obstacle->label, client);
    after_waiting(obstacle->waited_ms, waited, sizeof(waited));
    unsigned long long start = obstacle->start;
    switch (obstacle->kind) {
    case LW_OBSTACLE_NEWER:
        return lw_fail(LW_CONFLICT,
                       "the key \"%s\" was changed by transaction %llu%s%s: run the whole "
                       "transaction again",
                       key, start, client, waited);
    case LW_OBSTACLE_ROLLED_BACK:
        return lw_fail(LW_CONFLICT,
                       "this transaction was rolled back at the key \"%s\", as its session had "
                       "ended or its locks had expired: run it again",
                       key);
    case LW_OBSTACLE_DEADLOCK:
        return deadlock(obstacle);
    case LW_OBSTACLE_KILLED:
        return lw_fail(LW_CONFLICT,
                       "this transaction (%llu) was killed%s: run it again if it is still wanted",
                       start, client);
    case LW_OBSTACLE_LOCK:
        return lw_fail(LW_CONFLICT, "the key \"%s\" is locked by transaction %llu%s%s", key, start,
                       client, waited);
    }
    return lw_fail(LW_INTERNAL, "the node named an obstacle of unknown kind %d",
                   (int)obstacle->kind);
}

lw_status lw_txn_held_up(lw_txn *txn, const lw_obstacle *obstacle) {
    char key[LW_PRINTABLE_SIZE], client[CLIENT_TEXT_SIZE];
    uint64_t waited_ns = lw_env_now(txn->client->env) - txn->held_up_ns;
    return lw_fail(
        LW_TIMEOUT,
        "waited %llu ms for the key \"%s\", which transaction %llu%s has locked for a "
        "commit that is under way",
        (unsigned long long)waited_ns / 1000000, lw_printable(obstacle->key, key, sizeof(key)),
        (unsigned long long)obstacle->start, client_named("of", obstacle->label, client));
}
