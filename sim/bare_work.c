/* SPDX-License-Identifier: Apache-2.0 */
/* What who works does: transactions of single steps, let go of anywhere, reads of the past, readers
 * that stay for seconds, kills, and deadlocks. */
#include "sim/bare.h"

#include "txn/oracle.h"

#include <stdlib.h>

enum {
    CALL_MS = 2500,
    LOCK_MS = 300,
    GIVE_BACK_MS = 100,
    COPY_MS = 1, /* that somebody waits for the answer to a copy */
    VALUE_SIZE_MIN = 12,
    VALUE_SIZE_MAX = 60,
    LONG_VALUE_SIZE = 2000,
    PREWRITE_TRIES = 40,
    VICTIMS = 40,       /* of the last transactions, one is killed, */
    LATE_VICTIMS = 400, /* or one that has committed, of these */
    LATE_PERCENT = 40,
    TWICE_PERCENT = 40, /* of the kills are asked for twice, */
    LOST_PERCENT = 3,
    LOST_MS = 300 * 1000, /* longer than anybody waits for a lock to go */
    LEAVE_SOON_MS = 20,   /* within which a merge begins */
    SOON_MS = 40,         /* the second time so soon */
    READER_MS = 8000,     /* that a reader stays at most, */
    APART_READER_MS = 55000,
    APART_SOON_MS = 400,   /* before two nodes are apart their reader begins */
    APART_AWAY_MS = 42000, /* in which who collects has asked all others twice */
    SHORT_MS = 2900,       /* or, if no lease is to be taken for it, */
    HEALED_MS = 8000,      /* and behind the end of trouble, */
    PAUSE_MS = 900,        /* between two looks, */
    LONG_PAUSE_MS = 2000,  /* or so long, */
    RETURN_MS = 2200,      /* within which it must come back, to be known to who leads then, */
    CLOCKS_MS = 250,       /* and so long before its time is over, as clocks run fast */
    SILENT_MS = 16000,     /* that a reader reads for which says nothing in between, */
    OWN_MS = 1000,         /* of which these are left, at least, when it is judged */
    LEASE_MS = 2500,       /* within which its node has a lease for it, if nothing happens, */
    SETTLED_MS = 3000,     /* nor has before */
    BEHIND_MS = 5000,      /* in which the death of the node that it asked would be felt */
    LEFT_TXNS = 4,         /* that are left amid a merge */
    PIN_MS = 4000,         /* within which a timestamp is pinned where nobody dies, */
    PINNED_MS = 500,       /* for so long */
    CYCLE_MS = 6000,       /* within which a deadlock is told */
    CYCLE_LIFETIME_MS = 20000,
};

static uint64_t below(bare_asker *self, uint64_t bound) {
    return lw_chance_below(&self->chance, bound);
}
static bool percent(bare_asker *self, uint32_t chance) {
    return lw_chance_percent(&self->chance, chance);
}
static uint64_t now_ms(const bare_asker *self) {
    return lw_world_now(self->of->of->world) / LW_SIM_NS_PER_MS;
}

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
    return percent(of->by, of->by->of->abandon_percent);
}

/* The process is gone, and somebody else goes on in its place. */
static void abandon(const piece *of) {
    bare_end_session(of->by->of, of->by->session);
    of->by->session = ++of->by->of->sessions;
}

static lw_bytes make_value(bare_asker *self, uint32_t number) {
    size_t most = percent(self, 10) ? (size_t)LONG_VALUE_SIZE : (size_t)VALUE_SIZE_MAX;
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
    uint32_t first = (uint32_t)below(self, BARE_KEYS);
    uint32_t second = (first + 1 + (uint32_t)below(self, BARE_KEYS - 1)) % BARE_KEYS;
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
    lw_buffer body = bare_body(of->by);
    lw_bytes keys[] = {bare_key(of->txn->keys[index])};
    lw_lock_request request = {
        .start = of->txn->start, .keys = keys, .key_count = 1, .wait_ms = LOCK_MS};
    lw_lock_request_encode(&request, &body);
    bare_answer answer = bare_call(of->by, LW_MESSAGE_LOCK, keys[0], &body, LOCK_MS);
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
    uint64_t until_ms = now_ms(of->by) + CALL_MS;
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
                     obstacle.kind == LW_OBSTACLE_LOCK && now_ms(of->by) < until_ms;
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

LW_YIELDS static bare_answer ask_leader(bare_asker *self, lw_message_kind kind, uint32_t key,
                                        const lw_buffer *body, uint64_t patience_ms) {
    bare_answer answer = {.status = LW_UNAVAILABLE};
    bare_node *to = bare_leader(self->of, bare_key(key));
    lw_shard_descriptor shard;
    if (to != NULL) {
        lw_replica_descriptor(bare_replica(to, bare_key(key)), &shard);
        lw_request request = {.kind = kind,
                              .id = ++self->of->request_id,
                              .shard = shard.id,
                              .epoch = shard.epoch,
                              .timeout_ms = (uint32_t)patience_ms,
                              .body = lw_buffer_view(body)};
        bare_ask_once(self, to, &request, patience_ms, &answer);
    }
    return answer;
}

/* Gives its lock back, at whoever leads by now; and the session goes on. A copy of the request for
 * the lock may be on its way still. */
LW_YIELDS static void give_back(const piece *of) {
    lw_buffer body = bare_body(of->by);
    lw_bytes keys[] = {bare_key(of->txn->keys[0])};
    lw_lock_request request = {
        .start = of->txn->start, .keys = keys, .key_count = 1, .wait_ms = LOCK_MS};
    lw_lock_request_encode(&request, &body);
    if (percent(of->by, 50)) {
        (void)ask_leader(of->by, LW_MESSAGE_LOCK, of->txn->keys[0], &body, COPY_MS);
    }
    lw_buffer_clear(&body);
    lw_finish_request_encode(&(lw_finish_request){.start = of->txn->start}, &body);
    bare_answer answer =
        bare_call(of->by, LW_MESSAGE_ROLLBACK, bare_key(of->txn->keys[0]), &body, GIVE_BACK_MS);
    lw_buffer_reset(&body);
    if (answer.status != LW_OK || answer.doubt) {
        abandon(of);
    }
}

LW_YIELDS static void write_one(bare_asker *self) {
    piece of;
    uint64_t way = below(self, 3);
    if (!begin(self, 1, &of)) {
        return;
    }
    bool locks = way == 0 || percent(self, 20), ready = true;
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
    if (locks && percent(self, 50)) { /* what is left of a lock */
        abandon(&of);
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
            abandon(of);
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
            abandon(of);
            return;
        }
        if (index > 0 && percent(of->by, 30)) {
            lw_env_sleep(of->by->env,
                         below(of->by, 2 * of->by->of->lifetime_ms * LW_SIM_NS_PER_MS));
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
        abandon(of);
    } else {
        commit_primary(of);
    }
}

LW_YIELDS static void write_two(bare_asker *self) {
    piece of;
    bool looks = percent(self, 50), asynchronous = percent(self, 50);
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

/* Somebody is gone whose transactions have their primaries in one shard and locks in the next one,
 * or the other way round, as that becomes part of the first. */
LW_YIELDS static void leave_amid_a_merge(bare_asker *self) {
    uint32_t middle = LEFT_TXNS + (uint32_t)below(self, BARE_KEYS - 2 * LEFT_TXNS + 1);
    uint32_t right = percent(self, 50) ? 0 : 1;
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
    if (percent(self, 25)) { /* its locks are being ended as the merge begins */
        bare_leave(self->of, LEAVE_SOON_MS);
    }
    bare_merge(self, middle - 1);
    bare_leave(self->of, 0);
    self->of->leaving = false;
    self->session = ++self->of->sessions;
}

/* One that might last for minutes, and whose machine is lost: its lock goes soon, whoever leads
 * by then, and has never heard of its client. */
LW_YIELDS static void write_and_be_lost(bare_asker *self) {
    piece of;
    lw_prewrite_reply reply = {0};
    bool doubt = false;
    abandon(&(piece){.by = self});
    if (!begin(self, 1, &of)) {
        return;
    }
    of.lost = true;
    of.txn->state = BARE_IN_DOUBT;
    if (prewrite(&of, 0, 0, &reply, &doubt) == LW_OK && percent(self, 70)) {
        bare_transfer(self, of.txn->keys[0], 1 + below(self, self->of->of->node_count));
    }
    abandon(&of);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

LW_YIELDS static void read_something(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint64_t way = below(self, 10), timestamp, found;
    if (way < 5) {
        timestamp = bare_timestamp(self);
    } else if (way < 8 && of->old_count > 0) {
        timestamp = of->olds[below(self, of->old_count)];
    } else {
        timestamp = of->acknowledged - (way == 9);
    }
    if (timestamp != 0 && timestamp != UINT64_MAX) {
        (void)bare_get(self, (uint32_t)below(self, BARE_KEYS), timestamp, 0, &found);
    }
}

/* Asks every shard about a time long past, one after the other. */
LW_YIELDS static void read_the_past(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint64_t oldest = UINT64_MAX, found;
    for (uint64_t index = 0; index < of->old_count; index++) {
        oldest = of->olds[index] < oldest ? of->olds[index] : oldest;
    }
    for (uint32_t key = 0; of->old_count > 0 && key < BARE_KEYS; key++) {
        (void)bare_get(self, key, oldest, 0, &found);
    }
}

/* The oracle's time, which is that of pins: it goes as fast as the clock of who leads, and leaps to
 * its ceiling where another one comes to lead. */
static uint64_t oracle_ms(const bare_asker *self) {
    return lw_timestamp_ms(self->of->of->watch.given);
}

/* The shard of a key comes off its left neighbour, and another node leads it. */
LW_YIELDS static void set_apart(bare_asker *self, uint32_t key) {
    const bare_node *leader;
    bare_split(self, key);
    leader = bare_leader(self->of, bare_key(key));
    if (leader != NULL) {
        uint64_t step = 1 + below(self, self->of->of->node_count - 1);
        bare_transfer(self, key, (leader->id - 1 + step) % self->of->of->node_count + 1);
    }
}

/* Comes back within what a new leader waits for readers; in between it reads other keys. Where
 * two nodes are apart it reads what they serve, which nobody else knows of, and other keys only
 * once those would be forgotten if nobody had asked these two. In a quiet run what it reads may
 * become part of another shard meanwhile, which somebody else leads. */
LW_YIELDS static void keep_reading(bare_asker *self, uint64_t most_ms) {
    lw_sim_bare *of = self->of;
    bool apart = of->kind == BARE_APART;
    uint32_t home = apart ? BARE_KEYS - 1 : (uint32_t)below(self, BARE_KEYS);
    bool merges = of->kind == BARE_QUIET && home > 0 && percent(self, 50);
    if (merges) {
        set_apart(self, home);
    }
    uint64_t drawn_ms = now_ms(self), end_ms = drawn_ms + most_ms;
    uint64_t timestamp = bare_timestamp(self), found, came_ms = 0, pinned_ms = 0;
    bool on = timestamp != 0;
    while (on && now_ms(self) + 200 < end_ms) {
        uint64_t healed_ms = of->healed_ns / LW_SIM_NS_PER_MS;
        end_ms = healed_ms > 0 && end_ms > healed_ms + HEALED_MS ? healed_ms + HEALED_MS : end_ms;
        bool away = came_ms != 0 && percent(self, 40) &&
                    (!apart || now_ms(self) > drawn_ms + APART_AWAY_MS);
        uint32_t key = away ? (uint32_t)below(self, BARE_KEYS) : home;
        uint64_t left_ms = end_ms - now_ms(self), until_ms = oracle_ms(self) + left_ms;
        lw_status status = bare_get(self, key, timestamp, (uint32_t)left_ms, &found);
        uint64_t ms = now_ms(self);
        bool kept = came_ms != 0 && ms - came_ms <= RETURN_MS && ms + CLOCKS_MS < end_ms &&
                    oracle_ms(self) + CLOCKS_MS < pinned_ms;
        if (status == LW_TOO_OLD && kept) {
            lw_sim_broken_first(of->of, "readers",
                                "one that came back within %d ms was told that it is too old",
                                (int)(ms - came_ms));
        }
        bool young = came_ms != 0 || ms - drawn_ms <= of->of->retention_ms / 2;
        if (status == LW_TOO_OLD || !young) {
            return;
        }
        if (status == LW_OK && !away) {
            came_ms = ms;
            pinned_ms = until_ms;
        }
        if (came_ms == 0 || ms - came_ms > RETURN_MS) {
            return;
        }
        if (merges && ms - drawn_ms > of->of->retention_ms) {
            bare_merge(self, home - 1);
            merges = false;
        }
        uint64_t pause_ms = percent(self, 20) ? LONG_PAUSE_MS : PAUSE_MS;
        lw_env_sleep(self->env, below(self, pause_ms * LW_SIM_NS_PER_MS));
        on = !of->stopping;
    }
}

/* Says nothing for seconds, and counts on its node. Where two nodes are apart it reads what the
 * others serve, who collects cannot ask all, and holds it for this one all the same. */
LW_YIELDS static void read_in_silence(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint64_t drawn_ms = now_ms(self), struck_ms = of->struck_ns / LW_SIM_NS_PER_MS;
    uint32_t key = (uint32_t)below(self, of->parts ? BARE_KEYS / 2 : BARE_KEYS);
    uint64_t timestamp = bare_timestamp(self), found;
    const bare_node *asked = bare_leader(of, bare_key(key));
    if (timestamp == 0 || (struck_ms != 0 && drawn_ms < struck_ms + SETTLED_MS) ||
        bare_get(self, key, timestamp, SILENT_MS, &found) != LW_OK ||
        now_ms(self) - drawn_ms > of->of->retention_ms / 2) {
        lw_env_sleep(self->env, 100 * LW_SIM_NS_PER_MS);
        return;
    }
    of->part_now = of->parts;
    lw_env_sleep(self->env, (LEASE_MS + of->of->retention_ms) * LW_SIM_NS_PER_MS);
    bool leased = of->struck_ns / LW_SIM_NS_PER_MS == struck_ms;
    of->silent = leased && asked != NULL ? asked->id : 0;
    lw_env_sleep(self->env, (BEHIND_MS + below(self, BEHIND_MS)) * LW_SIM_NS_PER_MS);
    lw_status status = bare_get(self, key, timestamp, SILENT_MS, &found);
    bool in_time = oracle_ms(self) + OWN_MS < lw_timestamp_ms(timestamp) + SILENT_MS;
    if (leased && status == LW_TOO_OLD && in_time) {
        lw_sim_broken_first(of->of, "readers",
                            "one that was silent for %d ms was told that it is too old",
                            (int)(now_ms(self) - drawn_ms));
    }
    abandon(&(piece){.by = self}); /* nobody holds anything for it any more */
}

/* Whoever cannot be asked by who collects, a timestamp is pinned at once. */
LW_YIELDS static void pin_something(bare_asker *self) {
    lw_buffer body = bare_body(self);
    lw_pin_reply reply;
    lw_pin_request_encode(&(lw_pin_request){.lifetime_ms = PINNED_MS}, &body);
    bare_answer answer = bare_call(self, LW_MESSAGE_PIN, (lw_bytes){0}, &body, PIN_MS);
    if (answer.status == LW_TIMEOUT || answer.status == LW_UNAVAILABLE) {
        lw_sim_broken_first(self->of->of, "pins", "none could be had within %d ms", PIN_MS);
    }
    if (answer.status == LW_OK && lw_pin_reply_decode(answer.body, &self->arena, &reply) == LW_OK) {
        lw_buffer_clear(&body);
        lw_pin_request_encode(&(lw_pin_request){.timestamp = reply.timestamp, .asked = true},
                              &body);
        (void)bare_call(self, LW_MESSAGE_UNPIN, (lw_bytes){0}, &body, LOCK_MS);
    }
    lw_buffer_reset(&body);
}

/* ---- killing ----------------------------------------------------------------------------------
 */

/* One that is under way, or one that has committed. */
static bare_txn *draw_victim(bare_asker *self) {
    lw_sim_bare *of = self->of;
    bare_txn *victim = NULL;
    uint64_t seen = 0;
    bool late = percent(self, LATE_PERCENT);
    uint32_t most = late ? LATE_VICTIMS : VICTIMS;
    for (uint32_t back = 1; back <= most && back <= of->txn_count; back++) {
        bare_txn *each = &of->txns[of->txn_count - back];
        bool may = late ? each->state == BARE_COMMITTED : each->writing;
        if (may && below(self, ++seen) == 0) {
            victim = each;
        }
    }
    return victim;
}

/* Asks, and does not wait: what is asked next is asked while this is carried out. */
LW_YIELDS static void ask_for_kill(bare_asker *self, const lw_buffer *body) {
    bare_node *to = bare_leader(self->of, bare_key(0));
    lw_request request = {.kind = LW_MESSAGE_KILL,
                          .id = ++self->of->request_id,
                          .timeout_ms = CALL_MS,
                          .body = lw_buffer_view(body)};
    bare_answer answer = {.status = LW_UNAVAILABLE};
    if (to != NULL) {
        bare_ask_once(self, to, &request, 1 + below(self, SOON_MS), &answer);
    }
}

/* A leader that changes meanwhile forgets what was asked of the one before. */
LW_YIELDS static void kill_something(bare_asker *self) {
    lw_sim_bare *of = self->of;
    bare_txn *victim = draw_victim(self);
    uint64_t led = of->led;
    lw_kill_reply reply;
    if (victim == NULL) {
        return;
    }
    lw_buffer body = bare_body(self);
    lw_kill_request_encode(&(lw_kill_request){.start = victim->start}, &body);
    if (percent(self, TWICE_PERCENT)) {
        ask_for_kill(self, &body);
    }
    bare_answer answer = bare_call(self, LW_MESSAGE_KILL, (lw_bytes){0}, &body, CALL_MS);
    lw_buffer_reset(&body);
    if (answer.status == LW_OK && of->led == led &&
        lw_kill_reply_decode(answer.body, &self->arena, &reply) == LW_OK &&
        reply.fate == LW_FATE_ABORTED) {
        victim->killed = of->of->watch.given;
    }
}

/* ---- deadlocks over intents -------------------------------------------------------------------
 */

/* The one that waits for a pessimistic lock of the other. */
typedef struct waiting {
    bare_asker asker;
    uint64_t start;
    uint32_t key;
    bool told, done;
} waiting;

static bool is_deadlock(bare_asker *self, const bare_answer *answer) {
    lw_obstacle obstacle;
    return answer->status == LW_CONFLICT &&
           lw_obstacle_decode(answer->body, &self->arena, &obstacle) == LW_OK &&
           obstacle.kind == LW_OBSTACLE_DEADLOCK;
}

LW_YIELDS static bare_answer ask_lock(bare_asker *self, uint64_t start, uint32_t key,
                                      uint32_t wait_ms) {
    lw_buffer body = bare_body(self);
    lw_bytes keys[] = {bare_key(key)};
    lw_lock_request request = {.start = start, .keys = keys, .key_count = 1, .wait_ms = wait_ms};
    lw_lock_request_encode(&request, &body);
    bare_answer answer = ask_leader(self, LW_MESSAGE_LOCK, key, &body, wait_ms + 500);
    lw_buffer_reset(&body);
    return answer;
}

LW_YIELDS static bare_answer ask_prewrite(bare_asker *self, uint64_t start, uint32_t key,
                                          uint64_t patience_ms) {
    lw_buffer body = bare_body(self);
    lw_mutation mutation = {
        .kind = LW_MUTATION_LOCK, .key = bare_key(key), .seen = LW_SEEN_ANYTHING};
    lw_prewrite_request request = {.start = start,
                                   .primary = bare_key(key),
                                   .lifetime_ms = CYCLE_LIFETIME_MS,
                                   .mutations = &mutation,
                                   .mutation_count = 1};
    lw_prewrite_request_encode(&request, &body);
    bare_answer answer = ask_leader(self, LW_MESSAGE_PREWRITE, key, &body, patience_ms);
    lw_buffer_reset(&body);
    return answer;
}

LW_YIELDS static void waiting_main(void *argument) {
    waiting *self = argument;
    bare_answer answer = ask_lock(&self->asker, self->start, self->key, CYCLE_MS + 1000);
    self->told = is_deadlock(&self->asker, &answer);
    self->done = true;
}

/* The first has the pessimistic lock of one key, the second an intent on the other; the second
 * waits for the first, and the first for the second. */
LW_YIELDS static void wait_for_each_other(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint64_t led = of->led, first = bare_timestamp(self), second = bare_timestamp(self);
    uint32_t key = (uint32_t)below(self, BARE_KEYS);
    uint32_t other = (key + 1 + (uint32_t)below(self, BARE_KEYS - 1)) % BARE_KEYS;
    waiting *two = lw_allocate_zero(of->memory, sizeof(*two));
    *two = (waiting){.asker = *self, .start = second, .key = key};
    two->asker.arena = lw_arena_in(of->memory);
    two->asker.session = ++of->sessions;
    if (first == 0 || second == 0 || ask_lock(self, first, key, LOCK_MS).status != LW_OK ||
        ask_prewrite(&two->asker, second, other, LOCK_MS).status != LW_OK) {
        abandon(&(piece){.by = self});
        bare_end_session(of, two->asker.session);
        return;
    }
    (void)lw_env_start(self->env, "waiting", waiting_main, two);
    lw_env_sleep(self->env, 50 * LW_SIM_NS_PER_MS);
    uint64_t end_ms = now_ms(self) + CYCLE_MS;
    bool told = two->done, waits = !two->done;
    while (!told && !two->done && now_ms(self) < end_ms && of->led == led) {
        bare_answer answer = ask_prewrite(self, first, other, CYCLE_MS);
        told = is_deadlock(self, &answer);
        bool goes_on = answer.status == LW_CONFLICT || answer.status == LW_TIMEOUT;
        if (!told && !goes_on) {
            waits = false;
            break;
        }
        lw_env_sleep(self->env, 5 * LW_SIM_NS_PER_MS);
    }
    if (waits && !told && !two->told && of->led == led && now_ms(self) >= end_ms) {
        lw_sim_broken_first(of->of, "deadlocks",
                            "two waited for each other for %d ms, and nobody was told", CYCLE_MS);
    }
    abandon(&(piece){.by = self});
    bare_end_session(of, two->asker.session);
    while (!two->done) {
        lw_env_sleep(self->env, 20 * LW_SIM_NS_PER_MS);
    }
    lw_arena_reset(&two->asker.arena);
}

/* ---- all of it --------------------------------------------------------------------------------
 */

LW_YIELDS static void work_once(bare_asker *self) {
    const lw_sim_bare *of = self->of;
    uint64_t roll = below(self, 100);
    bool patient = of->kind == BARE_PATIENT, quiet = of->kind == BARE_QUIET;
    bool apart = of->kind == BARE_APART, first = self->number == 0;
    if (of->loses && percent(self, LOST_PERCENT)) {
        write_and_be_lost(self);
    } else if (patient && first) {
        read_in_silence(self);
    } else if (quiet && first && percent(self, 50)) { /* too short for leases */
        keep_reading(self, SHORT_MS / 2 + below(self, SHORT_MS / 2));
    } else if (apart && first) {
        uint64_t soon_ms = self->done == 0 ? BARE_APART_MS - APART_SOON_MS : 0;
        lw_env_sleep(self->env, (soon_ms + below(self, APART_SOON_MS)) * LW_SIM_NS_PER_MS);
        keep_reading(self, APART_READER_MS);
    } else if (of->merges && !of->leaving && roll < 8) {
        leave_amid_a_merge(self);
    } else if (apart && roll < 5) {
        pin_something(self);
    } else if (roll < 34) {
        write_one(self);
    } else if (roll < 58) {
        write_two(self);
    } else if (roll < 84) {
        read_something(self);
    } else if (roll < 88) {
        read_the_past(self);
    } else if (roll < 92 && !patient && !apart) {
        keep_reading(self, 1000 + below(self, READER_MS - 1000));
    } else if (roll < 98 || !quiet) {
        kill_something(self);
    } else {
        wait_for_each_other(self);
    }
}

void bare_work_main(void *argument) {
    bare_asker *self = argument;
    lw_sim_bare *of = self->of;
    while (!of->stopping && !of->of->damaged) {
        work_once(self);
        lw_arena_reset(&self->arena);
        self->done++;
        if (of->pause_us > 0) {
            lw_env_sleep(self->env, below(self, 2 * (uint64_t)of->pause_us * 1000));
        } else {
            lw_env_sleep(self->env, 1000);
        }
    }
    self->ended = true;
}

void bare_final_main(void *argument) {
    bare_asker *self = argument;
    uint64_t found;
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
        lw_status status = LW_TIMEOUT;
        while (status != LW_OK) {
            uint64_t timestamp = bare_timestamp(self);
            status = timestamp == 0 ? LW_TIMEOUT : bare_get(self, key, timestamp, 0, &found);
            lw_arena_reset(&self->arena);
        }
    }
    self->ended = true;
}
