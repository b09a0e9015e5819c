/* SPDX-License-Identifier: Apache-2.0 */
#include "node/shards_state.h"

#include "base/hash.h"
#include "node/kill.h"

enum {
    TOLD_COUNT = 64,               /* shards that who came with old descriptors is told */
    DAWDLE_NS = 100 * 1000 * 1000, /* in simulations, between two that start */
};

/* ---- who is there --------------------------------------------------------------------------- */

static lw_bytes start_of(const shards_member *one) {
    return lw_replica_shard(one->replica)->start;
}

shards_member *shards_member_of(const lw_shards *shards, uint64_t shard) {
    /* lw_mix permutes, so equal hashes are equal ids. */
    lw_map_node *node = lw_map_first(&shards->by_id, lw_mix(shard));
    return node == NULL ? NULL : LW_MAP_ENTRY(node, shards_member, node);
}

lw_replica *lw_shards_find(const lw_shards *shards, uint64_t shard) {
    const shards_member *member = shards_member_of(shards, shard);
    return member == NULL || member->leaving || member->waits ? NULL : member->replica;
}

uint32_t lw_shards_count(const lw_shards *shards) {
    return shards->count;
}

lw_replica *lw_shards_at(const lw_shards *shards, uint32_t index) {
    LW_ASSERT(index < shards->count);
    return shards->sorted[index]->replica;
}

lw_lock_table *lw_shards_locks(lw_shards *shards) {
    return shards->locks;
}

lw_env *lw_shards_env(const lw_shards *shards) {
    return shards->env;
}

lw_recent *lw_shards_writers(lw_shards *shards) {
    return shards->writers;
}

lw_recent *lw_shards_killed(lw_shards *shards) {
    return shards->killed;
}

lw_bytes lw_shards_label(const lw_shards *shards, uint64_t session) {
    return shards->options.session_label(shards->options.argument, session);
}

lw_timestamps *lw_shards_timestamps(lw_shards *shards) {
    return shards->timestamps;
}

/* How many begin at or before `key`. */
static uint32_t count_until(const lw_shards *shards, lw_bytes key) {
    uint32_t low = 0, high = shards->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lw_compare(start_of(shards->sorted[middle]), key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint32_t lw_shards_place(const lw_shards *shards, lw_bytes key) {
    uint32_t until = count_until(shards, key);
    return until == 0 ? 0 : until - 1;
}

static bool holds(const lw_shard_descriptor *shard, lw_bytes key) {
    return lw_compare(shard->start, key) <= 0 &&
           (shard->end.size == 0 || lw_compare(key, shard->end) < 0);
}

lw_replica *shards_holding(const lw_shards *shards, lw_bytes key) {
    if (shards->count == 0) {
        return NULL;
    }
    lw_replica *replica = shards->sorted[lw_shards_place(shards, key)]->replica;
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    return holds(&shard, key) ? replica : NULL;
}

void shards_arrived(lw_shards *shards, shards_member *member) {
    if (shards->count == shards->capacity) {
        shards->capacity = shards->capacity == 0 ? 8 : 2 * shards->capacity;
        shards->sorted = lw_reallocate(shards->env->memory, shards->sorted,
                                       shards->capacity * sizeof(shards_member *));
    }
    member->waits = false;
    uint32_t place = count_until(shards, start_of(member));
    memmove(&shards->sorted[place + 1], &shards->sorted[place],
            (shards->count - place) * sizeof(shards_member *));
    shards->sorted[place] = member;
    shards->count++;
}

void shards_unsort(lw_shards *shards, const shards_member *member) {
    for (uint32_t place = 0; place < shards->count; place++) {
        if (shards->sorted[place] == member) {
            shards->count--;
            memmove(&shards->sorted[place], &shards->sorted[place + 1],
                    (shards->count - place) * sizeof(shards_member *));
            return;
        }
    }
}

shards_member *shards_enter(lw_shards *shards, uint64_t shard, lw_replica *replica, bool waits) {
    LW_ASSERT(shards_member_of(shards, shard) == NULL);
    shards_member *entered = lw_allocate_zero(shards->env->memory, sizeof(*entered));
    entered->replica = replica;
    entered->shard = shard;
    entered->waits = waits;
    entered->going_start = entered->going_end = lw_buffer_in(shards->env->memory);
    if (!waits) {
        shards_arrived(shards, entered);
    }
    lw_map_insert(&shards->by_id, &entered->node, lw_mix(shard));
    lw_queue_wake_all(&shards->patrol);
    return entered;
}

void shards_forget(lw_shards *shards, shards_member *member) {
    lw_map_remove(&shards->by_id, &member->node);
    lw_buffer_reset(&member->going_start);
    lw_buffer_reset(&member->going_end);
    lw_free(shards->env->memory, member);
}

static bool overlap(const lw_shard_descriptor *one, const lw_shard_descriptor *other) {
    return (one->end.size == 0 || lw_compare(other->start, one->end) < 0) &&
           (other->end.size == 0 || lw_compare(one->start, other->end) < 0);
}

bool shards_held(const lw_shards *shards, const shards_member *member, lw_shard_descriptor *held) {
    bool going = member->replica == NULL && member->going &&
                 !LW_BUG(shards->env, "shards.gone_before_its_tombstone");
    if (member->replica != NULL) {
        lw_replica_descriptor(member->replica, held);
    } else if (going) {
        *held = (lw_shard_descriptor){.id = member->shard,
                                      .start = lw_buffer_view(&member->going_start),
                                      .end = lw_buffer_view(&member->going_end)};
    }
    return member->replica != NULL || going;
}

bool shards_overlap(const lw_shards *shards, uint64_t shard, const lw_shard_descriptor *range) {
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        for (const lw_map_node *node = shards->by_id.buckets[index]; node != NULL;
             node = node->next) {
            const shards_member *member = LW_MAP_ENTRY(node, shards_member, node);
            lw_shard_descriptor held;
            bool known = shards_held(shards, member, &held);
            bool becoming = !known && member->absorbed; /* its keys are just another one's */
            if (member->shard != shard && (becoming || (known && overlap(&held, range))) &&
                !shards_is_part_set_aside(shards, member, shard)) {
                return true;
            }
        }
    }
    return false;
}

uint32_t lw_shards_merging(const lw_shards *shards) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < shards->count; index++) {
        const lw_replica *replica = shards->sorted[index]->replica;
        lw_replica_merge absorbed;
        uint64_t left;
        count += lw_replica_leads(replica) &&
                 (lw_replica_frozen(replica, &left) || lw_replica_absorbs(replica, &absorbed));
    }
    return count;
}

uint32_t lw_shards_repairing(const lw_shards *shards) {
    uint32_t count = shards->headless_count;
    for (uint32_t bucket = 0; bucket < shards->by_id.bucket_count; bucket++) {
        for (const lw_map_node *node = shards->by_id.buckets[bucket]; node != NULL;
             node = node->next) {
            const shards_member *member = LW_MAP_ENTRY(node, shards_member, node);
            bool halted = member->replica != NULL && lw_replica_halted(member->replica);
            count += member->damaged || member->anew || halted;
        }
    }
    return count;
}

bool lw_shards_alone(const lw_shards *shards) {
    if (shards->others.ask == NULL) {
        return true;
    }
    lw_bytes expected = lw_view(NULL, 0);
    bool alone = shards->count > 0 && shards->count == shards->by_id.count, open = true;
    for (uint32_t index = 0; index < shards->count && alone; index++) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(shards->sorted[index]->replica, &shard);
        alone = open && lw_equal(shard.start, expected) &&
                lw_replica_alone(shards->sorted[index]->replica);
        expected = shard.end;
        open = shard.end.size > 0;
    }
    return alone && !open;
}

/* D1. */
static lw_status check_coverage(const lw_shards *shards) {
    lw_bytes expected = lw_view(NULL, 0);
    bool lone = shards->others.ask == NULL, whole = true, open = true;
    for (uint32_t index = 0; index < shards->count; index++) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(shards->sorted[index]->replica, &shard);
        int gap = lw_compare(shard.start, expected);
        whole = whole && open && (lone ? gap == 0 : gap >= 0);
        expected = shard.end;
        open = shard.end.size > 0;
    }
    if (!whole || (lone && open)) {
        return lw_fail(LW_CORRUPTION,
                       lone ? "the shards of this folder do not cover every key once: restore it "
                              "from a backup"
                            : "two shards of this folder hold the same keys: restore it from a "
                              "backup, or remove it and have the node join again");
    }
    return LW_OK;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void topology_from(const lw_shards *shards, uint32_t place, uint32_t count_max,
                          lw_buffer *body) {
    lw_memory *memory = shards->env->memory;
    uint32_t left = shards->count - place;
    count_max = left < count_max ? left : count_max;
    lw_shard_descriptor *told = lw_allocate(memory, count_max * sizeof(*told));
    uint32_t count = 0;
    for (size_t size = 0; count < count_max && size < LW_TOPOLOGY_SIZE_MAX; count++) {
        lw_replica_descriptor(shards->sorted[place + count]->replica, &told[count]);
        size += told[count].start.size + told[count].end.size + sizeof(told[count]);
    }
    lw_topology_encode(told, count, body);
    lw_free(memory, told);
}

void lw_shards_topology(const lw_shards *shards, lw_bytes from, lw_buffer *body) {
    topology_from(shards, lw_shards_place(shards, from), shards->count, body);
}

/* Sessions that come back after a restart are the concern of every shard where they left locks. */
static void see_session(lw_shards *shards, uint64_t session) {
    bool settled = true;
    for (uint32_t index = 0; index < shards->count && !shards->settled; index++) {
        if (lw_replica_session_came(shards->sorted[index]->replica, session)) {
            settled = false;
        }
    }
    shards->settled = settled;
}

lw_status lw_shards_execute(lw_shards *shards, const lw_request *request, uint64_t session,
                            lw_buffer *reply) {
    if (!shards->serving) {
        return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
    }
    shards_await_merge(shards, request->shard, request->timeout_ms);
    lw_replica *replica = lw_shards_find(shards, request->shard);
    size_t reply_start = reply->size;
    if (replica == NULL) {
        topology_from(shards, 0, shards->count, reply);
        return lw_fail(LW_UNAVAILABLE, "shard %llu is not on this node",
                       (unsigned long long)request->shard);
    }
    see_session(shards, session);
    lw_status status = lw_replica_execute(replica, request, session, reply);
    if (status == LW_UNAVAILABLE && reply->size > reply_start) {
        /* What was split off lies behind it. */
        lw_shard_descriptor shard;
        lw_replica_descriptor(replica, &shard);
        reply->size = reply_start;
        bool one = LW_RARE(shards->env, "shards.tells_of_one");
        topology_from(shards, lw_shards_place(shards, shard.start), one ? 1 : TOLD_COUNT, reply);
    }
    return status;
}

uint64_t lw_shards_spare(lw_shards *shards) {
    return shards->serving ? lw_timestamps_spare(shards->timestamps) : 0;
}

/* What becomes part of another one just then is among no shards, and its locks are to come: whether
 * a session has any there, which may end. */
static bool amid_merges(const lw_shards *shards, uint64_t session, bool ends) {
    bool holds = false;
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        for (lw_map_node *node = shards->by_id.buckets[index]; node != NULL; node = node->next) {
            const shards_member *member = LW_MAP_ENTRY(node, shards_member, node);
            holds = holds ||
                    (member->passing != NULL && lw_replica_session_holds(member->passing, session));
            if (member->passing != NULL && ends) {
                lw_replica_session_ended(member->passing, session);
            }
        }
    }
    return holds;
}

bool lw_shards_session_holds(const lw_shards *shards, uint64_t session) {
    bool holds =
        lw_lock_table_session_holds(shards->locks, session) || amid_merges(shards, session, false);
    for (uint32_t index = 0; index < shards->count && !holds; index++) {
        holds = lw_replica_session_holds(shards->sorted[index]->replica, session);
    }
    return holds;
}

void lw_shards_session_ended(lw_shards *shards, uint64_t session) {
    lw_lock_table_session_ended(shards->locks, session);
    for (uint32_t index = 0; index < shards->count; index++) {
        lw_replica_session_ended(shards->sorted[index]->replica, session);
    }
    if (!LW_BUG(shards->env, "merge.end_of_session_unheard")) {
        (void)amid_merges(shards, session, true);
    }
}

/* ---- the storage below ---------------------------------------------------------------------- */

void lw_shards_flushed(lw_shards *shards, const lw_tree *tree, uint64_t index) {
    lw_replica *replica = lw_shards_find(shards, lw_tree_id(tree));
    if (replica != NULL) {
        lw_replica_flushed(replica, index);
        shards_grown(shards, lw_tree_id(tree));
    }
}

void lw_shards_damaged(lw_shards *shards, const lw_tree *tree) {
    lw_replica *replica = lw_shards_find(shards, lw_tree_id(tree));
    if (replica != NULL) {
        (void)shards_damaged(shards, replica);
    }
}

/* P5, for all of them. */
void shards_die(lw_shards *shards, const lw_error *reason) {
    lw_error why = *reason;
    if (shards->dead) {
        return;
    }
    shards->dead = true;
    shards->reason = why;
    lw_queue_wake_all(&shards->stop);
    lw_queue_wake_all(&shards->grown);
    lw_queue_wake_all(&shards->thawed);
    shards_shrunk(shards);
    lw_timestamps_stop(shards->timestamps);
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        for (lw_map_node *node = shards->by_id.buckets[index]; node != NULL; node = node->next) {
            lw_replica *replica = LW_MAP_ENTRY(node, shards_member, node)->replica;
            if (replica != NULL) {
                lw_replica_store_died(replica, &why);
            }
        }
    }
    if (shards->serving) { /* who starts them is told by the call */
        shards->options.died(shards->options.argument, &why);
    }
}

static void replica_died(void *argument, const lw_error *reason) {
    shards_die(argument, reason);
}

void lw_shards_store_died(lw_shards *shards, const lw_error *reason) {
    shards_die(shards, reason);
}

/* ---- opening and closing -------------------------------------------------------------------- */

static lw_bytes session_label(void *argument, uint64_t session) {
    return lw_shards_label(argument, session);
}

LW_YIELDS static bool session_lives(void *argument, uint64_t session) {
    lw_shards *shards = argument;
    const lw_shards_others *others = &shards->others;
    return others->session_lives == NULL ||
           others->session_lives(shards->options.argument, session);
}

LW_YIELDS static lw_status ask(void *argument, lw_message_kind kind, lw_bytes key, lw_bytes body,
                               lw_buffer *reply) {
    return lw_shards_ask(argument, kind, key, body, reply);
}

LW_YIELDS static lw_status kill_one(void *argument, lw_bytes body, uint64_t session,
                                    lw_buffer *reply) {
    return session == 0 ? lw_kill_part(argument, body, reply)
                        : lw_kill(argument, body, session, reply);
}

static void enter_child(void *argument, lw_replica *child) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    lw_replica_descriptor(child, &shard);
    if (shards_member_of(shards, shard.id) != NULL) { /* R11: it could not have come */
        (void)!lw_fail(LW_INTERNAL, "shard %llu comes off another one, and is here already",
                       (unsigned long long)shard.id);
        lw_error reason = *lw_error_slot();
        shards_die(shards, &reason);
        return;
    }
    (void)shards_enter(shards, shard.id, child, false);
    lw_status status = shards_past_revive(shards, child, shard.id);
    LW_ASSERT(status == LW_OK); /* of a state that was replayed */
}

static void replica_learned(void *argument, const lw_shard_descriptor *shard) {
    lw_shards *shards = argument;
    shards->settled = false; /* who leads anew waits for sessions */
    lw_queue_wake_all(&shards->patrol);
    shards_grown(shards, shard->id);
    shards_shrunk(shards);
    if (shards->others.learned != NULL) {
        shards->others.learned(shards->options.argument, shard);
    }
}

static lw_bytes address_of(void *argument, uint64_t node) {
    lw_shards *shards = argument;
    return shards->others.address == NULL ? (lw_bytes){0}
                                          : shards->others.address(shards->options.argument, node);
}

LW_YIELDS static lw_status send_snapshot(void *argument, uint64_t shard, uint64_t node,
                                         uint64_t *index) {
    lw_shards *shards = argument;
    return shards->others.send_snapshot(shards->options.argument, shard, node, index);
}

static void send_message(void *argument, uint64_t node, lw_bytes message) {
    lw_shards *shards = argument;
    shards->others.send(shards->options.argument, node, message);
}

void lw_shards_receive(lw_shards *shards, uint64_t from, lw_bytes message) {
    if (shards->serving && !shards->dead) {
        lw_groups_receive(shards->groups, from, message);
    }
}

void lw_shards_link(lw_shards *shards, uint64_t node, bool up) {
    lw_groups_link(shards->groups, node, up);
}

lw_replica_options shards_replica_options(lw_shards *shards, uint64_t shard) {
    return (lw_replica_options){.env = shards->env,
                                .store = shards->options.store,
                                .shard = shard,
                                .node = shards->options.node,
                                .groups = shards->groups,
                                .timestamps = shards->timestamps,
                                .locks = shards->locks,
                                .latch_slots = shards->latch_slots,
                                .gc = shards->options.gc,
                                .detector = shards->detector,
                                .waits = shards->waits,
                                .writers = shards->writers,
                                .written = shards->written,
                                .killed = shards->killed,
                                .key_marks = shards->key_marks,
                                .ask = ask,
                                .ask_apart = shards_ask_apart,
                                .kill = kill_one,
                                .split = enter_child,
                                .session_label = session_label,
                                .session_lives = session_lives,
                                .learned = replica_learned,
                                .address = address_of,
                                .send_snapshot =
                                    shards->others.send_snapshot == NULL ? NULL : send_snapshot,
                                .installed = shards_installed,
                                .gone = shards_gone,
                                .damaged = shards_damaged,
                                .differs = shards_differs,
                                .learn_time = shards_has_others(shards) ? shards_learn_time : NULL,
                                .beginning = shards_beginning,
                                .await_applied = shards_await_applied,
                                .absorb = shards_absorb,
                                .idle = shards_idle,
                                .thawed = shards_thawed,
                                .orphaned = shards_orphaned,
                                .died = replica_died,
                                .argument = shards};
}

LW_YIELDS static lw_status open_one(lw_shards *shards, uint64_t shard) {
    lw_replica_options options = shards_replica_options(shards, shard);
    lw_replica *replica;
    LW_TRY(lw_replica_open(&options, &replica));
    (void)shards_enter(shards, shard, replica, false);
    return LW_OK;
}

/* Opens it, or leaves it out until others were asked. */
LW_YIELDS static lw_status open_if_whole(lw_shards *shards, uint64_t shard) {
    lw_status status = open_one(shards, shard);
    return status == LW_CORRUPTION ? shards_behead(shards, shard) : status;
}

LW_YIELDS static lw_status open_all(lw_shards *shards) {
    lw_store *store = shards->options.store;
    if (shards->options.bootstrap && lw_store_next_tree(store, NULL) == NULL) {
        LW_TRY(open_one(shards, LW_ROOT_SHARD));
    }
    for (lw_tree *tree = lw_store_next_tree(store, NULL); tree != NULL;
         tree = lw_store_next_tree(store, tree)) {
        if (lw_shards_find(shards, lw_tree_id(tree)) == NULL) {
            LW_TRY(open_if_whole(shards, lw_tree_id(tree)));
        }
    }
    return LW_OK;
}

static void open_groups(lw_shards *shards) {
    const lw_shards_options *options = &shards->options;
    lw_groups_options groups = {.env = shards->env,
                                .node = options->node,
                                .budget = lw_store_budget(options->store),
                                .election_timeout_ns = options->election_timeout_ms * 1000000,
                                .drift_ppm = options->drift_ppm,
                                .send = shards->others.send == NULL ? NULL : send_message,
                                .stranger = shards_stranger,
                                .argument = shards};
    shards->groups = lw_groups_open(&groups);
}

/* Locks, and who finds deadlocks: of this node, and, among others, across nodes. */
static void open_locks(lw_shards *shards) {
    const lw_shards_options *options = &shards->options;
    shards->locks = lw_lock_table_open(shards->env, lw_store_budget(options->store));
    shards->detector = lw_detector_open(shards->env->memory);
    if (options->others != NULL) {
        lw_waits_options waits = {.env = shards->env,
                                  .node = options->node,
                                  .locks = shards->locks,
                                  .ask = ask,
                                  .session_label = session_label,
                                  .argument = shards};
        shards->waits = lw_waits_open(&waits);
    }
}

lw_status lw_shards_open(const lw_shards_options *options, lw_shards **shards) {
    lw_memory *memory = options->env->memory;
    lw_shards *opened = lw_allocate_zero(memory, sizeof(*opened));
    opened->options = *options;
    opened->env = options->env;
    if (options->others != NULL) {
        opened->others = *options->others;
    }
    open_groups(opened);
    opened->timestamps = lw_timestamps_open(options->env);
    if (opened->others.ask != NULL) {
        lw_timestamps_fetch_by(opened->timestamps, shards_fetch_timestamps, opened);
    }
    opened->latch_slots = lw_allocate_zero(memory, sizeof(*opened->latch_slots));
    open_locks(opened);
    opened->writers = lw_recent_open(memory, LW_WRITERS_COUNT_MAX);
    opened->written = lw_allocate_zero(memory, sizeof(*opened->written));
    opened->killed = lw_recent_open(memory, LW_KILLED_COUNT_MAX);
    opened->key_marks = lw_allocate_zero(memory, sizeof(*opened->key_marks));
    opened->by_id = opened->pasts = lw_map_in(memory);
    lw_status status = open_all(opened);
    if (status != LW_OK) {
        lw_error reason = *lw_error_slot(); /* closing must not overwrite it */
        lw_shards_close(opened);
        *lw_error_slot() = reason;
        return status;
    }
    *shards = opened;
    return LW_OK;
}

lw_status lw_shards_replay(void *argument, const lw_log_record *record) {
    lw_shards *shards = argument;
    return shards_past_replay(shards, record)
               ? LW_OK
               : lw_replica_replay(shards_member_of(shards, record->group)->replica, record);
}

bool lw_shards_begins(void *argument, uint64_t group, uint64_t index) {
    lw_shards *shards = argument;
    const lw_tree *tree = lw_store_tree(shards->options.store, group);
    /* Of a shard that was removed nothing counts, but its records have to follow on each other. */
    return tree == NULL || lw_tree_flushed(tree) >= index;
}

/* Others have it whole, maybe: it is repaired once all of it has started. */
static lw_status damaged_at_start(lw_shards *shards, shards_member *member) {
    if (!shards_has_others(shards)) {
        return LW_CORRUPTION;
    }
    lw_error reason = *lw_error_slot();
    LW_MARK(shards->env, "shards.damaged_at_start");
    shards_say(shards, LW_LEVEL_ERROR, "damaged", member->shard, "%s", reason.text);
    member->damaged = true;
    return LW_OK;
}

LW_YIELDS static lw_status finish_split(lw_shards *shards, shards_member *member, uint64_t *child) {
    lw_status status = lw_replica_finish_split(member->replica, child);
    if (status == LW_CORRUPTION) {
        LW_TRY(damaged_at_start(shards, member));
        lw_replica_leave_tree(member->replica);
        return LW_OK;
    }
    return status;
}

LW_YIELDS static lw_status start_one(lw_shards *shards, shards_member *member) {
    lw_status status = lw_replica_start(member->replica, shards->log);
    return status == LW_CORRUPTION ? damaged_at_start(shards, member) : status;
}

/* Those that have started may split and merge meanwhile, which moves the others: a child has been
 * started by its parent, and whoever was passed over is found in the next round. */
LW_YIELDS static lw_status start_all(lw_shards *shards) {
    bool any = true;
    while (any) {
        any = false;
        for (uint32_t index = 0; index < shards->count; index++) {
            shards_member *member = shards->sorted[index];
            if (lw_replica_started(member->replica) &&
                !LW_BUG(shards->env, "shards.started_twice")) {
                continue;
            }
            any = true;
            shards_halted_before(shards, member);
            LW_TRY(start_one(shards, member));
            if (LW_RARE(shards->env, "shards.starts_slowly")) {
                lw_env_sleep(shards->env, lw_env_random_below(shards->env, DAWDLE_NS));
            }
        }
        any = any && !LW_BUG(shards->env, "shards.started_twice");
    }
    return LW_OK;
}

/* What comes off goes behind its parent, and may have to be split itself. */
LW_YIELDS static lw_status finish_splits(lw_shards *shards) {
    for (uint32_t index = 0; index < shards->count; index++) {
        uint64_t child;
        LW_TRY(finish_split(shards, shards->sorted[index], &child));
        if (child != 0) {
            LW_TRY(open_if_whole(shards, child));
            const shards_member *opened = shards_member_of(shards, child);
            LW_TRY(opened == NULL ? LW_OK : shards_past_revive(shards, opened->replica, child));
        }
    }
    return LW_OK;
}

lw_status lw_shards_start(lw_shards *shards, lw_log *log) {
    shards->log = log;
    LW_TRY(shards_past_check(shards));
    lw_groups_start(shards->groups, log);
    LW_TRY(shards_finish_removals(shards, log));
    LW_TRY(shards_finish_merges(shards, log));
    LW_TRY(shards_finish_headless(shards, log));
    shards_past_let_go(shards);
    LW_TRY(finish_splits(shards));
    LW_TRY(check_coverage(shards));
    LW_TRY(start_all(shards));
    if (shards->dead) { /* a replica that does not lead needs nothing of a disk to start */
        LW_MARK(shards->env, "shards.died_at_start");
        return lw_fail(shards->reason.status, "%s", shards->reason.text);
    }
    shards->serving = true;
    shards_mend_merges(shards);
    shards_split_start(shards);
    shards_small_start(shards);
    if (shards->others.ask != NULL) {
        shards_repair_start(shards);
        shards_judge_start(shards);
        shards_headless_start(shards);
        shards_patrol(shards);
    }
    return LW_OK;
}

/* Those that wait for a snapshot, or could not be removed. */
LW_YIELDS static void close_others(lw_shards *shards) {
    for (uint32_t index = 0; index < shards->by_id.bucket_count; index++) {
        while (shards->by_id.buckets[index] != NULL) {
            shards_member *closed = LW_MAP_ENTRY(shards->by_id.buckets[index], shards_member, node);
            lw_replica *replica = closed->replica;
            shards_forget(shards, closed);
            if (replica != NULL) {
                lw_replica_close(replica);
            }
        }
    }
}

void lw_shards_stop(lw_shards *shards) {
    shards->serving = false;
    lw_queue_wake_all(&shards->stop);
    lw_queue_wake_all(&shards->patrol);
    lw_queue_wake_all(&shards->grown);
    lw_queue_wake_all(&shards->thawed);
    shards_shrunk(shards);
    lw_timestamps_stop(shards->timestamps);
    lw_waits_stop(shards->waits);
    for (uint32_t index = 0; index < shards->count; index++) {
        lw_replica_stop(shards->sorted[index]->replica);
    }
}

void lw_shards_close(lw_shards *shards) {
    lw_memory *memory = shards->env->memory;
    lw_shards_stop(shards);
    shards_await_idle(shards);
    lw_shards_stop(shards);     /* also those that came meanwhile */
    while (shards->count > 0) { /* the root shard last: it keeps the ceiling */
        shards_member *closed = shards->sorted[--shards->count];
        lw_map_remove(&shards->by_id, &closed->node);
        lw_replica_close(closed->replica);
        lw_free(memory, closed);
    }
    close_others(shards);
    shards_past_close(shards);
    lw_groups_close(shards->groups);
    lw_waits_close(shards->waits);
    lw_detector_close(shards->detector);
    lw_timestamps_close(shards->timestamps);
    lw_lock_table_close(shards->locks);
    lw_free(memory, shards->latch_slots);
    lw_free(memory, shards->key_marks);
    lw_recent_close(shards->writers);
    lw_free(memory, shards->written);
    lw_recent_close(shards->killed);
    lw_map_reset(&shards->by_id);
    lw_free(memory, shards->sorted);
    lw_free(memory, shards->headless);
    lw_free(memory, shards);
}
