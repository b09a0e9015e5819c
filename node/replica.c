/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a replica, and the way of a request through it. The map of its parts is in
 * node/replica_state.h. */
#include "node/replica_state.h"

#include "txn/retention.h"

enum { DAMAGE_LOG_MS = 60 * 1000 };

_Static_assert(LW_EVALUATION_REPLY_SIZE_MAX + LW_FRAME_SIZE_MAX / 32 < LW_FRAME_SIZE_MAX,
               "an answer fits a frame, with room for its envelope");
_Static_assert((int)LW_USER_KEY_SIZE_MAX * 2 < (int)LW_TREE_KEY_SIZE_MAX, "user keys fit the tree");
_Static_assert(2 * (int)LW_FRAME_SIZE_MAX < (int)LW_LOG_PAYLOAD_SIZE_MAX,
               "what a request writes fits an entry, with every byte of every key escaped");
_Static_assert(LW_EVALUATION_BATCH_SIZE + LW_USER_VALUE_SIZE_MAX + 1024 * 1024 <
                   LW_LOG_PAYLOAD_SIZE_MAX,
               "a batch that was not full yet fits an entry");

size_t lw_replica_filter_part(lw_bytes tree_key) {
    return lw_record_filter_part(tree_key);
}

lw_retention lw_replica_retention(lw_env *env) {
    return lw_record_retention(env);
}

/* ---- fibers of its own ---------------------------------------------------------------------- */

lw_status replica_runs(const lw_replica *replica) {
    if (replica->dead) {
        return lw_fail(LW_UNAVAILABLE, "the node stops: %s", replica->reason.text);
    }
    if (replica->halted) {
        return lw_fail(
            LW_CORRUPTION,
            "replicas of shard %llu differ, and no majority says which is right: nothing of it is "
            "answered (see lathwork events, and lathwork start --halted)",
            (unsigned long long)replica->options.shard);
    }
    if (replica->closing) {
        return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
    }
    if (!replica->serving) {
        return lw_fail(LW_UNAVAILABLE, "shard %llu is led by another node, or by none yet",
                       (unsigned long long)replica->options.shard);
    }
    return LW_OK;
}

lw_status replica_gate(const lw_replica *replica) {
    LW_TRY(replica_runs(replica));
    if (replica->frozen && !LW_BUG(replica->env, "merge.reads_while_frozen")) {
        return lw_fail(LW_UNAVAILABLE, "shard %llu becomes part of another one: ask again",
                       (unsigned long long)replica->options.shard);
    }
    return LW_OK;
}

static void wake_if_idle(lw_replica *replica) {
    if (replica->calls == NULL && replica->background_count == 0) {
        lw_queue_wake_all(&replica->idle);
    }
}

void replica_background_start(lw_replica *replica, const char *name, void (*body)(void *argument)) {
    replica->background_count++;
    lw_env_start(replica->env, name, body, replica);
}

void replica_background_end(lw_replica *replica) {
    LW_ASSERT(replica->background_count > 0);
    replica->background_count--;
    wake_if_idle(replica);
}

bool replica_background_sleep(lw_replica *replica, lw_queue *queue, uint64_t until_ns) {
    (void)lw_env_wait(replica->env, queue, until_ns);
    return !replica->closing && !replica->dead;
}

/* ---- calls ---------------------------------------------------------------------------------- */

void replica_call_open(lw_replica *replica, uint64_t session, uint64_t deadline_ns,
                       replica_call *opened) {
    *opened = (replica_call){.replica = replica,
                             .session = session,
                             .deadline_ns = deadline_ns,
                             .epoch = replica->descriptor.epoch,
                             .leadership = replica->leadership,
                             .stands_on = UINT64_MAX,
                             .arena = lw_arena_in(replica->env->memory),
                             .next = replica->calls};
    opened->evaluation = lw_evaluation_in(replica->env, &opened->arena);
    opened->evaluation.session = session;
    if (opened->next != NULL) {
        opened->next->previous = opened;
    }
    replica->calls = opened;
}

void replica_call_lend(replica_call *call, replica_call_space *space) {
    lw_memory *memory = call->replica->env->memory;
    lw_evaluation *evaluation = &call->evaluation;
    call->arena = lw_arena_on(memory, space->arena, sizeof(space->arena));
    evaluation->batch = lw_buffer_on(memory, space->batch, sizeof(space->batch));
    evaluation->record = lw_buffer_on(memory, space->record, sizeof(space->record));
    evaluation->key = lw_buffer_on(memory, space->key, sizeof(space->key));
}

void replica_call_close(replica_call *call) {
    lw_replica *replica = call->replica;
    replica_unlatch(call);
    LW_ASSERT(call->evaluation.snapshot == NULL);
    lw_evaluation_reset(&call->evaluation);
    lw_arena_reset(&call->arena);
    *(call->previous == NULL ? &replica->calls : &call->previous->next) = call->next;
    if (call->next != NULL) {
        call->next->previous = call->previous;
    }
    if (call->committing != 0) {
        lw_map_remove(&replica->committing, &call->node);
    }
    for (replica_ending *each = call->endings; each != NULL; each = each->next) {
        each->looked = call->looked;
    }
    lw_queue_wake_all(&call->ended);
    wake_if_idle(replica);
}

lw_status replica_call_gate(const replica_call *call) {
    const lw_replica *replica = call->replica;
    LW_TRY(replica_gate(replica));
    if (call->leadership != replica->leadership &&
        !LW_BUG(replica->env, "replica.leadership_unchecked")) {
        LW_MARK(replica->env, "replica.leadership_changed_meanwhile");
        return lw_fail(LW_UNAVAILABLE, "shard %llu was led by another node meanwhile: ask again",
                       (unsigned long long)replica->options.shard);
    }
    return LW_OK;
}

uint64_t replica_leadership_of(const replica_call *call) {
    return LW_BUG(call->replica->env, "replica.leadership_unchecked") ? 0 : call->leadership;
}

/* Whoever holds the shard, requests are about its range. */
static bool same_range(const lw_epoch *a, const lw_epoch *b) {
    return a->range_version == b->range_version;
}

static lw_status epoch_changed(const lw_replica *replica) {
    return lw_fail(LW_UNAVAILABLE, "shard %llu has changed: ask again with its newer descriptor",
                   (unsigned long long)replica->options.shard);
}

lw_status replica_check_epoch(replica_call *call) {
    LW_TRY(replica_runs(call->replica));
    call->misrouted = call->replica->frozen; /* nothing was done, so much is sure */
    LW_TRY(replica_call_gate(call));
    call->misrouted = false;
    if (same_range(&call->epoch, &call->replica->descriptor.epoch) ||
        LW_BUG(call->replica->env, "shard.route_unchecked")) {
        return LW_OK;
    }
    LW_MARK(call->replica->env, "replica.epoch_changed_meanwhile");
    call->misrouted = true;
    return epoch_changed(call->replica);
}

lw_status replica_evaluation_open(replica_call *call) {
    lw_replica *replica = call->replica;
    lw_evaluation *evaluation = &call->evaluation;
    LW_ASSERT(evaluation->snapshot == NULL);
    LW_TRY(replica_check_epoch(call));
    LW_TRY(replica_stands(replica, call->stands_on));
    call->standing = true;
    bool own = call->session == 0;
    uint64_t forgotten = lw_gc_forgotten(replica->options.gc, own);
    uint64_t of_shard = own ? replica->forgotten : replica->floor;
    evaluation->forgotten = forgotten > of_shard ? forgotten : of_shard;
    evaluation->snapshot = lw_snapshot_open(replica->tree);
    evaluation->now = lw_timestamps_now(replica->options.timestamps);
    evaluation->given = lw_timestamps_last(replica->options.timestamps);
    evaluation->marks = &replica->marks;
    evaluation->unlocked = replica->open_first == NULL;
    evaluation->written = replica->options.written;
    evaluation->written_before = replica->written_before;
    return LW_OK;
}

lw_status replica_confirm(const replica_call *call) {
    lw_replica *replica = call->replica;
    uint64_t lease;
    if (!LW_BUG(replica->env, "replica.reads_unconfirmed")) {
        LW_TRY(lw_group_read(replica->group, call->deadline_ns, &lease));
    }
    return replica_call_gate(call);
}

void replica_evaluation_close(replica_call *call) {
    lw_snapshot_close(call->evaluation.snapshot);
    call->evaluation.snapshot = NULL;
}

/* ---- requests ------------------------------------------------------------------------------- */

LW_YIELDS static lw_status dispatch(replica_call *call, const lw_request *request,
                                    lw_buffer *reply) {
    switch (request->kind) {
    case LW_MESSAGE_TIMESTAMP:
        return replica_timestamp(call, request->body, reply);
    case LW_MESSAGE_GET:
        return replica_get(call, request->body, reply);
    case LW_MESSAGE_SCAN:
        return replica_scan(call, request->body, reply);
    case LW_MESSAGE_COMMIT_NOW:
        return replica_commit_now(call, request->body, reply);
    case LW_MESSAGE_PREWRITE:
        return replica_prewrite(call, request->body, reply);
    case LW_MESSAGE_VALIDATE:
        return replica_validate(call, request->body, reply);
    case LW_MESSAGE_COMMIT:
        return replica_commit(call, request->body, reply);
    case LW_MESSAGE_ROLLBACK:
        return replica_rollback(call, request->body, reply);
    case LW_MESSAGE_CHECK:
        return replica_check(call, request->body, reply);
    case LW_MESSAGE_LOCK:
        return replica_lock(call, request->body, reply);
    case LW_MESSAGE_FINISH_RANGE:
        return replica_finish_range(call, request->body, reply);
    case LW_MESSAGE_CHECK_SECONDARIES:
        return replica_check_secondaries(call, request->body, reply);
    case LW_MESSAGE_HEARTBEAT:
        return replica_heartbeat(call, request->body, reply);
    case LW_MESSAGE_LOCKS:
        return replica_page_of_locks(call, request->body, reply);
    case LW_MESSAGE_KILL:
        return call->replica->options.kill(call->replica->options.argument, request->body,
                                           call->session, reply);
    case LW_MESSAGE_SPLIT:
        return replica_split(call, request->body, reply);
    case LW_MESSAGE_CHANGE_REPLICAS:
        return replica_change_replicas(call, request->body, reply);
    case LW_MESSAGE_TRANSFER:
        return replica_transfer(call, request->body, reply);
    case LW_MESSAGE_WAITS:
        return replica_waits(call, request->body, reply);
    case LW_MESSAGE_COLLECT:
        return replica_collect(call, request->body, reply);
    case LW_MESSAGE_MERGE:
        return replica_merge_request(call, request->body, reply);
    case LW_MESSAGE_MERGED:
        return replica_merged_request(call, request->body, reply);
    case LW_MESSAGE_HELLO:
    case LW_MESSAGE_STATUS:
    case LW_MESSAGE_TOPOLOGY:
    case LW_MESSAGE_SHARDS:
    case LW_MESSAGE_NODES:
    case LW_MESSAGE_EVENTS:
    case LW_MESSAGE_PLAN:
    case LW_MESSAGE_DRAIN:
    case LW_MESSAGE_LEAVE:
    case LW_MESSAGE_MEMBERS:
    case LW_MESSAGE_TOKENS:
    case LW_MESSAGE_REVOKE:
    case LW_MESSAGE_REVOKED:
    case LW_MESSAGE_TIME:
    case LW_MESSAGE_SESSION:
    case LW_MESSAGE_ROTATE:
    case LW_MESSAGE_KEYS:
    case LW_MESSAGE_PING:
    case LW_MESSAGE_DESCRIBE:
    case LW_MESSAGE_SNAPSHOT_OFFER:
    case LW_MESSAGE_SNAPSHOT_PIECE:
    case LW_MESSAGE_SNAPSHOT_END:
    case LW_MESSAGE_PIN:
    case LW_MESSAGE_UNPIN:
        break;
    }
    return lw_fail(LW_INVALID_ARGUMENT, "a shard does not know requests of kind %d",
                   (int)request->kind);
}

/* Nothing was done: go there. */
static void tell_descriptor(const lw_replica *replica, lw_buffer *reply) {
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    lw_topology_encode(&shard, 1, reply);
}

/* At most once a minute: whoever reads there meets it again and again. */
static void log_damage(lw_replica *replica, const lw_error *reason) {
    uint64_t now_ns = lw_env_now(replica->env);
    if (replica->damage_logged_ns == 0 ||
        now_ns - replica->damage_logged_ns >= DAMAGE_LOG_MS * UINT64_C(1000000)) {
        replica->damage_logged_ns = now_ns;
        lw_logline(replica->env, LW_LEVEL_ERROR, "stored bytes failed their check", "reason=\"%s\"",
                   reason->text);
    }
}

lw_status replica_damaged(lw_replica *replica) {
    lw_error reason = *lw_error_slot();
    log_damage(replica, &reason);
    if (!replica->halted && !replica->closing && !replica->dead &&
        replica->options.damaged(replica->options.argument, replica)) {
        return lw_fail(LW_UNAVAILABLE, "this node repairs its replica of shard %llu: ask again",
                       (unsigned long long)replica->options.shard);
    }
    *lw_error_slot() = reason;
    return LW_CORRUPTION;
}

/* One attempt. `*again`: a lock that was in the way is gone. */
LW_YIELDS static lw_status attempt(replica_call *call, const lw_request *request, lw_buffer *reply,
                                   bool *again) {
    lw_replica *replica = call->replica;
    size_t reply_start = reply->size;
    lw_status status = dispatch(call, request, reply);
    LW_ASSERT(status == LW_OK || reply->size == reply_start);
    *again = false;
    if (status == LW_CONFLICT) {
        status = replica_watch(call, again);
    }
    if (status == LW_CONFLICT && !*again) {
        replica->figures.conflicts++;
        replica_obstacle(call, reply);
    } else if (status == LW_UNAVAILABLE && call->misrouted) {
        tell_descriptor(replica, reply);
    } else if (status == LW_CORRUPTION) {
        status = replica_damaged(replica);
    }
    return status;
}

lw_status lw_replica_execute(lw_replica *replica, const lw_request *request, uint64_t session,
                             lw_buffer *reply) {
    if ((!replica->serving || replica->frozen) && !replica->closing && !replica->dead) {
        tell_descriptor(replica, reply);
    }
    LW_TRY(replica_gate(replica));
    if (request->shard != replica->options.shard ||
        !same_range(&request->epoch, &replica->descriptor.epoch)) {
        tell_descriptor(replica, reply);
        return epoch_changed(replica);
    }
    replica_open_attach(replica, session);
    uint64_t deadline_ns = 0;
    if (request->timeout_ms != 0) {
        deadline_ns = lw_env_now(replica->env) + request->timeout_ms * UINT64_C(1000000);
    }
    bool again = false, orphaned = false;
    uint64_t waited_ns = 0;
    lw_status status;
    do {
        replica_call call;
        replica_call_space space;
        replica_call_open(replica, session, deadline_ns, &call);
        replica_call_lend(&call, &space);
        call.timeout_ms = request->timeout_ms;
        call.waited_ns = waited_ns;
        call.orphaned = orphaned;
        status = attempt(&call, request, reply, &again);
        waited_ns = call.waited_ns;
        orphaned = call.orphaned;
        replica_call_close(&call);
    } while (again && replica_gate(replica) == LW_OK);
    return status;
}

void lw_replica_session_ended(lw_replica *replica, uint64_t session) {
    for (replica_call *each = replica->calls; each != NULL; each = each->next) {
        each->orphaned = each->orphaned || each->session == session;
    }
    replica_open_doom(replica, session);
}

bool lw_replica_session_holds(const lw_replica *replica, uint64_t session) {
    return replica_open_has_session(replica, session);
}

bool lw_replica_session_came(lw_replica *replica, uint64_t session) {
    replica_open_attach(replica, session);
    return replica->leftover_count > 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* The range of all keys, in its first epoch. */
static void default_descriptor(uint64_t shard, lw_buffer *bytes) {
    lw_shard_descriptor descriptor = {.id = shard,
                                      .epoch = {.range_version = 1, .config_version = 1}};
    lw_topology_encode(&descriptor, 1, bytes);
}

/* Goes through the records of shards in the tree, in the order of their start keys. The first of
 * them is the tree's own; behind it there may be that of a shard that is yet to be split off. */
LW_YIELDS static lw_status find_descriptor(lw_cursor *cursor, lw_buffer *bytes) {
    LW_TRY(lw_cursor_first(cursor));
    while (lw_cursor_valid(cursor)) {
        if (lw_equal(lw_record_meta_name(lw_cursor_key(cursor)), lw_text("shard"))) {
            lw_buffer_append(bytes, lw_cursor_value(cursor));
            return LW_OK;
        }
        LW_TRY(lw_cursor_next(cursor));
    }
    return LW_NOT_FOUND;
}

LW_YIELDS static lw_status read_descriptor(lw_replica *replica, lw_buffer *bytes) {
    lw_buffer first = lw_buffer_in(replica->env->memory), end = first;
    lw_record_meta_prefix(lw_view(NULL, 0), &first);
    lw_record_meta_end(&end);
    lw_snapshot *snapshot = lw_snapshot_open(replica->tree);
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_buffer_view(&first), lw_buffer_view(&end));
    lw_status status = find_descriptor(cursor, bytes);
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    lw_buffer_reset(&first);
    lw_buffer_reset(&end);
    return status;
}

/* The descriptor as of the last flush; what came after is in the log. */
LW_YIELDS static lw_status load_descriptor(lw_replica *replica) {
    lw_buffer bytes = lw_buffer_in(replica->env->memory);
    lw_status status = read_descriptor(replica, &bytes);
    replica->described = status == LW_OK;
    if (status == LW_NOT_FOUND) {
        default_descriptor(replica->options.shard, &bytes);
        status = LW_OK;
    }
    if (status == LW_OK) {
        status = replica_take_descriptor(replica, lw_buffer_view(&bytes));
    }
    lw_buffer_reset(&bytes);
    return status;
}

LW_YIELDS static lw_status open_tree(lw_replica *replica) {
    const lw_replica_options *options = &replica->options;
    replica->tree = lw_store_tree(options->store, options->shard);
    if (replica->tree == NULL) {
        LW_TRY(lw_store_create_tree(options->store, options->shard, &replica->tree));
    }
    LW_TRY(load_descriptor(replica));
    LW_TRY(replica_load_merges(replica));
    uint64_t applied = lw_tree_applied(replica->tree);
    replica_open_group(replica, applied, applied);
    if (replica->absorbing) {
        lw_group_pause(replica->group);
    }
    return LW_OK;
}

static void group_died(void *argument, const lw_error *reason) {
    *lw_error_slot() = *reason;
    replica_die(argument);
}

void replica_open_group(lw_replica *replica, uint64_t index, uint64_t members_index) {
    const lw_shard_descriptor *shard = &replica->descriptor;
    lw_group_options options = {.groups = replica->options.groups,
                                .group = shard->id,
                                .joins = replica->tree == NULL,
                                .index = index,
                                .members_index = members_index,
                                .apply = replica_apply,
                                .led = replica_led,
                                .followed = replica_followed,
                                .changed = replica_members_changed,
                                .leaves_joint = replica_leaves_joint,
                                .removed = replica_removed,
                                .room = replica_has_room,
                                .wants_snapshot = replica_wants_snapshot,
                                .diverged = replica_diverged,
                                .died = group_died,
                                .argument = replica};
    if (!options.joins) {
        options.members.count = shard->replica_count;
        memcpy(options.members.replicas, shard->replicas, sizeof(shard->replicas));
    }
    replica->group = lw_group_open(&options);
}

void replica_free(lw_replica *replica) {
    lw_memory *memory = replica->env->memory;
    replica_open_close(replica);
    replica_merge_close(replica);
    lw_free(memory, replica->load);
    if (replica->group != NULL) {
        lw_group_close(replica->group);
    }
    lw_map_reset(&replica->committing);
    lw_buffer_reset(&replica->descriptor_bytes);
    lw_free(memory, replica);
}

lw_replica *replica_make(const lw_replica_options *options) {
    lw_memory *memory = options->env->memory;
    lw_replica *made = lw_allocate_zero(memory, sizeof(*made));
    made->options = *options;
    made->env = options->env;
    made->locks = options->locks;
    made->latches.slots = options->latch_slots;
    made->marks.keys = options->key_marks;
    made->open_by_start = made->open_sessions = lw_map_in(memory);
    made->committing = lw_map_in(memory);
    made->descriptor_bytes = made->absorbs_shard = lw_buffer_in(memory);
    made->descriptor.id = options->shard;
    return made;
}

lw_status lw_replica_open(const lw_replica_options *options, lw_replica **replica) {
    lw_replica *opened = replica_make(options);
    lw_status status = open_tree(opened);
    if (status != LW_OK) {
        replica_free(opened);
        return status;
    }
    *replica = opened;
    return LW_OK;
}

lw_status lw_replica_open_waiting(const lw_replica_options *options,
                                  const lw_shard_descriptor *shard, lw_replica **replica) {
    lw_replica *opened = replica_make(options);
    lw_buffer bytes = lw_buffer_in(opened->env->memory);
    lw_topology_encode(shard, 1, &bytes);
    lw_status status = replica_take_descriptor(opened, lw_buffer_view(&bytes));
    lw_buffer_reset(&bytes);
    if (status != LW_OK) {
        replica_free(opened);
        return status;
    }
    replica_open_group(opened, 0, 0);
    *replica = opened;
    return LW_OK;
}

lw_status lw_replica_replay(lw_replica *replica, const lw_log_record *record) {
    LW_ASSERT(record->group == replica->options.shard);
    LW_ASSERT(replica->log == NULL);
    return lw_group_replay(replica->group, record);
}

/* ---- closing -------------------------------------------------------------------------------- */

/* Refuses what comes. What it knows of locks stays. */
static void stop(lw_replica *replica) {
    replica->closing = true;
    lw_queue_wake_all(&replica->stop);
    lw_queue_wake_all(&replica->asked);
    lw_queue_wake_all(&replica->doomed.waiting);
    lw_queue_wake_all(&replica->roles_changed);
    if (replica->group != NULL) {
        lw_group_stop(replica->group);
    }
}

LW_YIELDS static void await_idle(lw_replica *replica) {
    while (replica->calls != NULL || replica->background_count > 0) {
        lw_queue_wait(&replica->idle);
    }
    LW_ASSERT(replica->latches.count == 0);
}

void lw_replica_stop(lw_replica *replica) {
    stop(replica);
    lw_lock_table_clear(replica->locks);
}

void lw_replica_close(lw_replica *replica) {
    lw_replica_stop(replica);
    await_idle(replica);
    replica_free(replica);
}

void lw_replica_retire(lw_replica *replica) {
    stop(replica);
    replica_send_home(replica);
    await_idle(replica);
}

void lw_replica_discard(lw_replica *replica) {
    LW_ASSERT(replica->closing && replica->calls == NULL && replica->background_count == 0);
    replica_free(replica);
}

/* ---- looking -------------------------------------------------------------------------------- */

void lw_replica_flushed(lw_replica *replica, uint64_t index) {
    lw_group_flushed(replica->group, index);
}

void lw_replica_store_died(lw_replica *replica, const lw_error *reason) {
    *lw_error_slot() = *reason;
    replica_die(replica);
}

bool lw_replica_leads(const lw_replica *replica) {
    return replica->serving;
}

const lw_shard_descriptor *lw_replica_shard(const lw_replica *replica) {
    return &replica->descriptor;
}

void lw_replica_descriptor(const lw_replica *replica, lw_shard_descriptor *descriptor) {
    const lw_replica_options *options = &replica->options;
    *descriptor = replica->descriptor;
    if (replica->group == NULL) {
        return;
    }
    descriptor->leader = lw_group_leader(replica->group);
    if (descriptor->leader != 0 && descriptor->leader != options->node &&
        options->address != NULL) {
        descriptor->leader_address = options->address(options->argument, descriptor->leader);
    }
}

void lw_replica_figures_get(const lw_replica *replica, lw_replica_figures *figures) {
    *figures = replica->figures;
    figures->term = lw_group_term(replica->group);
    figures->applied_index = replica->tree == NULL ? 0 : lw_tree_applied(replica->tree);
    figures->latched = replica->latches.count;
    figures->open = replica->open_by_start.count;
    figures->serving = replica->serving ? replica->leadership : 0;
    figures->marked = replica->marks.everywhere;
    figures->waiting = replica->latch_waiting + replica->lock_waiting;
}

uint64_t lw_replica_read_up_to(const lw_replica *replica, lw_bytes key) {
    return lw_read_marks_of(&replica->marks, key);
}

lw_tree *lw_replica_tree(const lw_replica *replica) {
    return replica->tree;
}

const lw_group *lw_replica_group(const lw_replica *replica) {
    return replica->group;
}

void lw_replica_group_figures(const lw_replica *replica, lw_group_figures *figures) {
    *figures = (lw_group_figures){0};
    if (replica->group != NULL) {
        lw_group_figures_get(replica->group, figures);
    }
}
