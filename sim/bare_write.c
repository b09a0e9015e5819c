/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of single steps, in one round or in two phases, let go of anywhere. */
#include "sim/bare_work.h"

enum {
    CALL_MS = 2500,
    LOCK_MS = 300,
    GIVE_BACK_MS = 100,
    COPY_MS = 1, /* that somebody waits for the answer to a copy */
    VALUE_SIZE_MIN = 12,
    VALUE_SIZE_MAX = 60,
    LONG_VALUE_SIZE = 2000,
    PREWRITE_TRIES = 40,
    LOST_MS = 300 * 1000, /* longer than anybody waits for a lock to go */
    LEAVE_SOON_MS = 20,   /* within which a merge begins */
    LEFT_TXNS = 4,        /* that are left amid a merge */
};

/* ---- pieces of transactions -------------------------------------------------------------------
 */

/* A transaction at work. */
typedef struct piece {
    bare_asker *by;
    bare_txn *txn;
    uint32_t number; /* its place */
    lw_bytes value;
    bool lost; /* its machine is about to be */
} piece;

static bool abandons(const piece *of) {
    return bare_percent(of->by, of->by->of->abandon_percent);
}

static lw_bytes make_value(bare_asker *self, uint32_t number) {
    size_t most = bare_percent(self, 10) ? (size_t)LONG_VALUE_SIZE : (size_t)VALUE_SIZE_MAX;
    size_t size = (size_t)lw_chance_between(&self->chance, VALUE_SIZE_MIN, most);
    uint8_t *bytes = lw_arena_allocate(&self->arena, size);
    memset(bytes, 0, size);
    memcpy(bytes, "bare:", 5);
    lw_put_u32(bytes + 5, number);
    return lw_view(bytes, size);
}

/* False: there is no timestamp, or no room for it. */
LW_YIELDS static bool begin(bare_asker *self, uint32_t key_count, piece *of) {
    uint64_t start = bare_timestamp(self);
    uint32_t number = start == 0 ? BARE_TXNS_MAX : bare_note_txn(self->of, start);
    if (number == BARE_TXNS_MAX) {
        return false;
    }
    bare_txn *txn = &self->of->txns[number];
    *of = (piece){.by = self, .txn = txn, .number = number, .value = make_value(self, number)};
    uint32_t first = (uint32_t)bare_below(self, BARE_KEYS);
    uint32_t second = (first + 1 + (uint32_t)bare_below(self, BARE_KEYS - 1)) % BARE_KEYS;
    txn->key_count = (uint8_t)key_count;
    txn->keys[0] = (uint8_t)first;
    txn->keys[1] = (uint8_t)second;
    txn->seen[0] = txn->seen[1] = LW_SEEN_ANYTHING;
    return true;
}

/* Reads the key at the transaction's own timestamp, and vouches for what it saw. */
LW_YIELDS static bool look(const piece *of, uint32_t index) {
    uint64_t found = 0;
    lw_status status = bare_get(of->by, of->txn->keys[index], of->txn->start, 0, &found);
    of->txn->seen[index] = found != 0 ? found : of->txn->start;
    return status == LW_OK;
}

/* A pessimistic lock. */
LW_YIELDS static bool lock(const piece *of, uint32_t index) {
    uint32_t key = of->txn->keys[index];
    lw_buffer body = bare_lock_body(of->by, of->txn->start, key, LOCK_MS);
    bare_answer answer = bare_call(of->by, LW_MESSAGE_LOCK, bare_key(key), &body, LOCK_MS);
    lw_buffer_reset(&body);
    lw_lock_reply reply;
    lw_obstacle obstacle;
    if (answer.status == LW_OK &&
        lw_lock_reply_decode(answer.body, &of->by->arena, &reply) == LW_OK) {
        of->txn->seen[index] = reply.for_update;
        return true;
    }
    if (answer.status == LW_CONFLICT &&
        lw_obstacle_decode(answer.body, &of->by->arena, &obstacle) == LW_OK) {
        bare_resolve(of->by, &obstacle);
    }
    return false;
}

static lw_mutation mutation_of(const piece *of, uint32_t index) {
    return (lw_mutation){.kind = LW_MUTATION_PUT,
                         .key = bare_key(of->txn->keys[index]),
                         .value = of->value,
                         .seen = of->txn->seen[index]};
}

/* Rolls it back, so that it never commits: of an async commit the secondary goes first, since the
 * primary alone does not decide. */
LW_YIELDS static void give_up(const piece *of) {
    bool sure = true;
    for (uint32_t index = of->txn->key_count; index-- > 0;) {
        bare_answer answer = bare_finish(of->by, of->txn->start, 0, of->txn->keys[index]);
        sure = sure && answer.status == LW_OK;
        if (!sure) {
            break;
        }
    }
    of->txn->state = sure ? BARE_ABORTED : BARE_IN_DOUBT;
}

/* ---- in one round -----------------------------------------------------------------------------
 */

LW_YIELDS static void commit_now(const piece *of) {
    lw_mutation mutation = mutation_of(of, 0);
    lw_commit_now_request request = {
        .start = of->txn->start, .mutations = &mutation, .mutation_count = 1};
    lw_buffer body = bare_body(of->by);
    lw_commit_now_request_encode(&request, &body);
    of->txn->writing = true;
    of->txn->state = BARE_IN_DOUBT;
    uint64_t until_ms = bare_now_ms(of->by) + CALL_MS;
    for (;;) {
        bare_answer answer = bare_call(of->by, LW_MESSAGE_COMMIT_NOW, mutation.key, &body, CALL_MS);
        lw_commit_reply reply;
        lw_obstacle obstacle = {.kind = LW_OBSTACLE_NEWER};
        if (answer.status == LW_OK &&
            lw_commit_reply_decode(answer.body, &of->by->arena, &reply) == LW_OK) {
            bare_note_committed(of->by->of, of->number, reply.commit_timestamp);
            break;
        }
        bool waits = answer.status == LW_CONFLICT && !answer.doubt &&
                     lw_obstacle_decode(answer.body, &of->by->arena, &obstacle) == LW_OK &&
                     obstacle.kind == LW_OBSTACLE_LOCK && bare_now_ms(of->by) < until_ms;
        if (!waits) {
            bool refused = answer.status == LW_CONFLICT && !answer.doubt;
            of->txn->state = refused ? BARE_ABORTED : BARE_IN_DOUBT;
            break;
        }
        bare_resolve(of->by, &obstacle);
    }
    lw_buffer_reset(&body);
    of->txn->writing = false;
}

/* Gives its lock back, at whoever leads by now; and the session goes on. A copy of the request for
 * the lock may be on its way still. */
LW_YIELDS static void give_back(const piece *of) {
    uint32_t key = of->txn->keys[0];
    lw_buffer body = bare_lock_body(of->by, of->txn->start, key, LOCK_MS);
    if (bare_percent(of->by, 50)) {
        (void)bare_ask_leader(of->by, LW_MESSAGE_LOCK, key, &body, COPY_MS);
    }
    lw_buffer_clear(&body);
    lw_finish_request_encode(&(lw_finish_request){.start = of->txn->start}, &body);
    bare_answer answer = bare_call(of->by, LW_MESSAGE_ROLLBACK, bare_key(key), &body, GIVE_BACK_MS);
    lw_buffer_reset(&body);
    if (answer.status != LW_OK || answer.doubt) {
        bare_renew_session(of->by);
    }
}

void bare_write_one(bare_asker *self) {
    piece of;
    uint64_t way = bare_below(self, 3);
    if (!begin(self, 1, &of)) {
        return;
    }
    bool locks = way == 0 || bare_percent(self, 20), ready = true;
    if (locks) {
        of.txn->writing = true;
        ready = lock(&of, 0);
    } else if (way == 1) {
        ready = look(&of, 0);
    }
    if (ready) {
        commit_now(&of);
    } else {
        of.txn->state = BARE_ABORTED;
    }
    of.txn->writing = false;
    if (locks && bare_percent(self, 50)) { /* what is left of a lock */
        bare_renew_session(self);
    } else if (locks) {
        give_back(&of);
    }
}

/* ---- in two phases ----------------------------------------------------------------------------
 */

/* What came of a prewrite: LW_OK, LW_CONFLICT, or anything else: nobody knows. `*doubt`: it may be
 * locked, whatever was answered. */
LW_YIELDS static lw_status prewrite(const piece *of, uint32_t index, uint64_t commit_timestamp,
                                    lw_prewrite_reply *reply, bool *doubt) {
    lw_mutation mutation = mutation_of(of, index);
    lw_bytes secondaries[] = {bare_key(of->txn->keys[1])};
    bool tells = commit_timestamp != 0 && index == 0;
    lw_prewrite_request request = {.start = of->txn->start,
                                   .primary = bare_key(of->txn->keys[0]),
                                   .lifetime_ms =
                                       of->lost ? (uint32_t)LOST_MS : of->by->of->lifetime_ms,
                                   .mutations = &mutation,
                                   .mutation_count = 1,
                                   .commit_timestamp = commit_timestamp,
                                   .secondaries = tells ? secondaries : NULL,
                                   .secondary_count = tells ? 1 : 0};
    lw_buffer body = bare_body(of->by);
    lw_prewrite_request_encode(&request, &body);
    bare_answer answer = {.status = LW_CONFLICT};
    lw_obstacle obstacle = {.kind = LW_OBSTACLE_LOCK};
    bool again = true;
    for (uint32_t tries = 0; again && tries < PREWRITE_TRIES; tries++) {
        answer = bare_call(of->by, LW_MESSAGE_PREWRITE, mutation.key, &body, CALL_MS);
        *doubt = *doubt || answer.doubt;
        again = answer.status == LW_CONFLICT &&
                lw_obstacle_decode(answer.body, &of->by->arena, &obstacle) == LW_OK &&
                obstacle.kind == LW_OBSTACLE_LOCK;
        if (again) {
            bare_resolve(of->by, &obstacle);
        }
    }
    lw_buffer_reset(&body);
    return answer.status != LW_OK ? answer.status
                                  : lw_prewrite_reply_decode(answer.body, &of->by->arena, reply);
}

/* The primary is committed: what is left is for whoever comes. */
LW_YIELDS static void finish_others(const piece *of, uint64_t commit_timestamp, uint32_t from) {
    for (uint32_t index = from; index < of->txn->key_count; index++) {
        if (abandons(of)) {
            bare_renew_session(of->by);
            return;
        }
        (void)bare_finish(of->by, of->txn->start, commit_timestamp, of->txn->keys[index]);
    }
}

LW_YIELDS static void commit_primary(const piece *of) {
    uint64_t commit_timestamp = bare_timestamp(of->by);
    if (commit_timestamp == 0) {
        give_up(of);
        return;
    }
    bare_answer answer = bare_finish(of->by, of->txn->start, commit_timestamp, of->txn->keys[0]);
    if (answer.status == LW_OK) {
        bare_note_committed(of->by->of, of->number, commit_timestamp);
        finish_others(of, commit_timestamp, 1);
    } else if (answer.status == LW_CONFLICT && !answer.doubt) {
        of->txn->state = BARE_ABORTED;
    }
}

LW_YIELDS static void run_phases(const piece *of, bool asynchronous) {
    uint64_t commit_timestamp = asynchronous ? bare_timestamp(of->by) : 0;
    bool all = commit_timestamp != 0;
    for (uint32_t index = 0; index < of->txn->key_count; index++) {
        lw_prewrite_reply reply = {0};
        bool doubt = false;
        if (abandons(of)) {
            bare_renew_session(of->by);
            return;
        }
        if (index > 0 && bare_percent(of->by, 30)) {
            lw_env_sleep(of->by->env,
                         bare_below(of->by, 2 * of->by->of->lifetime_ms * LW_SIM_NS_PER_MS));
        }
        lw_status status = prewrite(of, index, commit_timestamp, &reply, &doubt);
        if (status == LW_OK && reply.committed != 0) {
            bare_note_committed(of->by->of, of->number, reply.committed);
            return;
        }
        if (status != LW_OK && all && doubt && index + 1 == of->txn->key_count) {
            return; /* all may be locked, and somebody may have committed it */
        }
        if (status != LW_OK) {
            give_up(of);
            return;
        }
        all = all && reply.asynchronous;
    }
    if (all) {
        bare_note_committed(of->by->of, of->number, commit_timestamp);
        finish_others(of, commit_timestamp, 0);
    } else if (abandons(of)) {
        bare_renew_session(of->by);
    } else {
        commit_primary(of);
    }
}

void bare_write_two(bare_asker *self) {
    piece of;
    bool looks = bare_percent(self, 50), asynchronous = bare_percent(self, 50);
    if (!begin(self, 2, &of)) {
        return;
    }
    of.txn->state = BARE_ABORTED;
    if (looks && (!look(&of, 0) || !look(&of, 1))) {
        return;
    }
    of.txn->state = BARE_IN_DOUBT;
    of.txn->writing = true;
    run_phases(&of, asynchronous);
    of.txn->writing = false;
}

void bare_leave_amid_a_merge(bare_asker *self) {
    uint32_t middle = LEFT_TXNS + (uint32_t)bare_below(self, BARE_KEYS - 2 * LEFT_TXNS + 1);
    uint32_t right = bare_percent(self, 50) ? 0 : 1;
    self->of->leaving = true; /* two of them would wait for each other's locks */
    bare_split(self, middle);
    for (uint32_t index = 0; index < LEFT_TXNS; index++) {
        piece of;
        lw_prewrite_reply reply;
        bool doubt = false;
        if (!begin(self, 2, &of)) {
            break;
        }
        of.txn->keys[right] = (uint8_t)(middle + index);
        of.txn->keys[1 - right] = (uint8_t)(middle - 1 - index);
        of.lost = self->of->loses;
        of.txn->state = BARE_IN_DOUBT;
        if (prewrite(&of, 0, 0, &reply, &doubt) == LW_OK) {
            (void)!prewrite(&of, 1, 0, &reply, &doubt);
        }
    }
    self->of->leaves = self->session;
    self->of->leaves_at = middle;
    self->session = ++self->of->sessions; /* who has gone asks for no merge */
    if (bare_percent(self, 25)) {         /* its locks are being ended as the merge begins */
        bare_leave(self->of, LEAVE_SOON_MS);
    }
    bare_merge(self, middle - 1);
    bare_leave(self->of, 0);
    self->of->leaving = false;
}

void bare_write_and_be_lost(bare_asker *self) {
    piece of;
    lw_prewrite_reply reply = {0};
    bool doubt = false;
    bare_renew_session(self);
    if (!begin(self, 1, &of)) {
        return;
    }
    of.lost = true;
    of.txn->state = BARE_IN_DOUBT;
    if (prewrite(&of, 0, 0, &reply, &doubt) == LW_OK && bare_percent(self, 70)) {
        bare_transfer(self, of.txn->keys[0], 1 + bare_below(self, self->of->of->node_count));
    }
    bare_renew_session(self);
}
