/* SPDX-License-Identifier: Apache-2.0 */
/* Leading and following. A replica serves from the moment on that its node leads the group and has
 * applied everything of earlier terms, and what a leader has in memory is right:
 *
 *   1. in the root shard the oracle begins anew, above the ceiling that is in the shard's log
 *      (hazard O2)
 *   2. the locks in the tree are counted, transaction by transaction; their sessions have a grace
 *      to come back
 *   3. what the leadership begins with is applied. In any other shard a timestamp is drawn, which
 *      is above all that was given before: nobody has answered at or above it, or will elsewhere
 *      (hazard T4). Where the oracle is surely this node's, what it gave last will do
 *   4. read marks, and what is known to be written, begin there; nobody has a pessimistic lock
 *
 * When it leads no more all of this is forgotten in the same turn. Requests that are under way find
 * out when they go on: each remembers the leadership in which it came, and ends with
 * LW_UNAVAILABLE, as what it wrote may have happened. A replica that comes to lead again begins
 * with the first step. Fibers of its own go on where they were: they look at what there is, and
 * what they write is checked as any request's.
 *
 * Where this node alone decides, and has the oracle, it leads as soon as it starts, and serves when
 * that returns. */
#include "node/replica_state.h"

enum {
    FIRST_ENTRIES_SIZE = 1024, /* bytes that a leadership begins with, rounded up */
    LEAD_PAUSE_MS = 20,        /* until a step is tried again */
    DRAW_MS = 2000,
    CAMPAIGNS_MAX = 50,
    CAMPAIGN_PAUSE_MS = 20,
};
#define NS_PER_MS UINT64_C(1000000)

/* ---- telling others ------------------------------------------------------------------------- */

void replica_tell(lw_replica *replica) {
    const lw_replica_options *options = &replica->options;
    if (options->learned != NULL) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(replica, &shard);
        options->learned(options->argument, &shard);
    }
}

/* ---- following ------------------------------------------------------------------------------ */

static void stop_oracle(lw_replica *replica) {
    if (replica->options.shard == LW_ROOT_SHARD) {
        lw_timestamps_unlead(replica->options.timestamps);
    }
}

/* In one turn: nothing of the leadership is left. */
static void stop_leading(lw_replica *replica) {
    LW_MARK(replica->env, "replica.leads_no_more");
    replica->serving = false;
    replica->leadership = 0;
    stop_oracle(replica);
    if (!LW_BUG(replica->env, "replica.locks_outlive_leadership")) {
        const lw_shard_descriptor *shard = &replica->descriptor;
        lw_lock_table_clear_range(replica->locks, shard->start, shard->end);
    }
    replica_open_lay_down(replica);
    lw_queue_wake_all(&replica->doomed.waiting);
    lw_queue_wake_all(&replica->stop);
    lw_gc_roles_changed(replica->options.gc);
}

void replica_followed(void *argument, uint64_t term, uint64_t leader) {
    lw_replica *replica = argument;
    (void)term;
    (void)leader;
    if (replica->serving) {
        stop_leading(replica);
    } else {
        stop_oracle(replica);
    }
    lw_queue_wake_all(&replica->roles_changed);
    replica_tell(replica);
}

/* ---- the oracle ----------------------------------------------------------------------------- */

static bool may_give(void *argument) {
    const lw_replica *replica = argument;
    return lw_group_alone(replica->group) ||
           (replica->oracle_lease != 0 &&
            lw_group_lease_held(replica->group, replica->oracle_lease));
}

LW_YIELDS static lw_status confirm(void *argument, uint64_t deadline_ns) {
    lw_replica *replica = argument;
    return lw_group_read(replica->group, deadline_ns, &replica->oracle_lease);
}

/* ---- coming to lead ------------------------------------------------------------------------- */

static lw_status check_term(const lw_replica *replica, uint64_t term) {
    if (replica->dead) { /* the log's own words, not those for a request */
        *lw_error_slot() = replica->reason;
        return replica->reason.status;
    }
    if (replica->closing || lw_group_leads(replica->group) != term) {
        return lw_fail(LW_UNAVAILABLE, "shard %llu is led by another node, or by none yet",
                       (unsigned long long)replica->options.shard);
    }
    return LW_OK;
}

/* Whether others are to say what the oracle's time is, so that it does not begin at that of a wrong
 * wall clock (hazard O3). */
static bool asks_time(const lw_replica *replica) {
    const lw_replica_options *options = &replica->options;
    return options->learn_time != NULL && lw_timestamps_time_ms(options->timestamps) == 0 &&
           !LW_BUG(replica->env, "timestamps.time_not_asked");
}

LW_YIELDS static lw_status learn_time(lw_replica *replica, uint64_t term) {
    while (asks_time(replica)) {
        replica->options.learn_time(replica->options.argument, replica);
        LW_TRY(check_term(replica, term));
    }
    return LW_OK;
}

/* Steps 1 and 2. Returns the ceiling to make durable first. */
LW_YIELDS static lw_status prepare(lw_replica *replica, uint64_t term, uint64_t *ceiling) {
    *ceiling = 0;
    if (replica->options.shard == LW_ROOT_SHARD) {
        LW_TRY(learn_time(replica, term));
        LW_TRY(replica_load_ceiling(replica, ceiling));
        lw_timestamps_ground ground = {.keep = replica_keep_ceiling,
                                       .may_give = may_give,
                                       .confirm = confirm,
                                       .argument = replica};
        *ceiling = lw_timestamps_lead(replica->options.timestamps, *ceiling, &ground);
    }
    LW_TRY(replica_load_past(replica));
    replica_open_forget(replica);
    LW_TRY(replica_open_load(replica, replica->tree, lw_view(NULL, 0)));
    return replica_log_room(replica, FIRST_ENTRIES_SIZE + 2 * replica->descriptor_bytes.size,
                            false);
}

/* What a leadership begins with: the very first one with the descriptor, and in the root shard
 * every one with a ceiling (0: none). They leave in one write, with what the group itself begins
 * with if it has just started. */
LW_YIELDS static lw_status append_first(lw_replica *replica, uint64_t term, uint64_t ceiling) {
    lw_buffer empty = lw_buffer_in(replica->env->memory), raise = empty, shard = empty, key = empty;
    replica_proposal described = {.base = {.term = term}}, raised = described;
    bool describes = !replica->described;
    if (describes) {
        lw_record_meta_key(replica->descriptor.start, "shard", &key);
        lw_batch_put(&shard, lw_buffer_view(&key), lw_buffer_view(&replica->descriptor_bytes));
        replica_propose(replica, ENTRY_DESCRIPTOR, &shard, &described);
    }
    if (ceiling != 0) {
        replica_put_ceiling(replica, ceiling, &raise);
        replica_propose(replica, ENTRY_KEPT, &raise, &raised);
    }
    lw_status status = lw_group_settle(replica->group);
    if (describes && status == LW_OK) {
        status = replica_wait(replica, &described);
    }
    if (ceiling != 0 && status == LW_OK) {
        status = replica_wait(replica, &raised);
    }
    LW_ASSERT(described.base.index == 0 || described.base.ended);
    LW_ASSERT(raised.base.index == 0 || raised.base.ended);
    lw_buffer_reset(&raise);
    lw_buffer_reset(&shard);
    lw_buffer_reset(&key);
    return status;
}

/* Step 4. */
static void serve(lw_replica *replica, uint64_t term) {
    uint64_t given = lw_timestamps_last(replica->options.timestamps);
    if (!LW_BUG(replica->env, "replica.marks_of_before")) {
        lw_read_marks_raise_all(&replica->marks, given);
    }
    replica->written_before = given;
    replica->leadership = term;
    replica->led_ns = lw_env_now(replica->env);
    replica->serving = true;
    replica_open_sweep_leftovers(replica);
    replica_leave_joint(replica);
    replica_thaw(replica);
    lw_queue_wake_all(&replica->roles_changed);
    lw_gc_roles_changed(replica->options.gc);
    replica_tell(replica);
}

/* Steps 3 and 4. */
LW_YIELDS static lw_status begin(lw_replica *replica, uint64_t term, uint64_t ceiling) {
    lw_timestamps *timestamps = replica->options.timestamps;
    lw_status status = append_first(replica, term, ceiling);
    LW_TRY(check_term(replica, term));
    LW_TRY(status);
    if (ceiling != 0) {
        lw_timestamps_raised(timestamps, ceiling);
    } else if (!lw_timestamps_sure(timestamps)) {
        uint64_t fresh, until_ns = lw_env_now(replica->env) + DRAW_MS * NS_PER_MS;
        LW_TRY(lw_timestamps_take(timestamps, 1, until_ns, &fresh));
        LW_TRY(check_term(replica, term));
    }
    serve(replica, term);
    return LW_OK;
}

LW_YIELDS static lw_status lead(lw_replica *replica, uint64_t term) {
    uint64_t ceiling;
    LW_TRY(prepare(replica, term, &ceiling));
    LW_TRY(check_term(replica, term));
    return begin(replica, term, ceiling);
}

/* Until it serves, or does not lead any more. */
LW_YIELDS static void lead_main(void *argument) {
    lw_replica *replica = argument;
    uint64_t term;
    while (!replica->closing && !replica->dead && !replica->serving &&
           (term = lw_group_leads(replica->group)) != 0) {
        lw_status status = lead(replica, term);
        if (status == LW_CORRUPTION && !replica->dead) {
            status = replica_damaged(replica);
        }
        if (status != LW_OK && !replica->dead) {
            LW_MARK(replica->env, "replica.leads_later");
            stop_oracle(replica);
            uint64_t until_ns = lw_env_now(replica->env) + LEAD_PAUSE_MS * NS_PER_MS;
            (void)replica_background_sleep(replica, &replica->stop, until_ns);
        }
    }
    replica->coming_to_lead = false;
    replica_background_end(replica);
}

void replica_led(void *argument, uint64_t term) {
    lw_replica *replica = argument;
    LW_ASSERT(term != 0);
    if (replica->serving && replica->leadership != term) {
        stop_leading(replica);
    }
    if (!replica->serving && !replica->coming_to_lead && !replica->closing && !replica->dead) {
        replica->coming_to_lead = true;
        replica_background_start(replica, "lead", lead_main);
    }
}

/* ---- starting ------------------------------------------------------------------------------- */

bool replica_alone(const lw_replica *replica) {
    return lw_group_alone(replica->group);
}

/* Whether nobody else has to be heard before the replica serves. */
static bool at_once(const lw_replica *replica) {
    bool sure = replica->options.shard == LW_ROOT_SHARD
                    ? !asks_time(replica)
                    : lw_timestamps_sure(replica->options.timestamps);
    return replica_alone(replica) && sure;
}

/* All of it leaves in one write. */
LW_YIELDS static lw_status begin_at_once(lw_replica *replica, uint64_t ceiling) {
    replica->coming_to_lead = replica->starting = true;
    lw_group_start(replica->group);
    lw_status status = begin(replica, lw_group_leads(replica->group), ceiling);
    replica->coming_to_lead = replica->starting = false;
    return status;
}

/* It serves later; if this node alone decides, once it has a timestamp from elsewhere. */
static void begin_later(lw_replica *replica) {
    lw_group_start(replica->group);
    uint64_t term = lw_group_leads(replica->group);
    if (term != 0) {
        replica_led(replica, term);
    }
}

/* Of a child, by the node that leads its parent: as soon as the others have come to the split. */
LW_YIELDS static void campaign(lw_replica *replica) {
    for (uint32_t attempt = 1; attempt <= CAMPAIGNS_MAX && !replica->closing && !replica->dead &&
                               lw_group_leader(replica->group) == 0;
         attempt++) {
        lw_group_campaign(replica->group);
        uint64_t until_ns = lw_env_now(replica->env) + CAMPAIGN_PAUSE_MS * NS_PER_MS;
        (void)lw_env_wait(replica->env, &replica->roles_changed, until_ns);
    }
}

/* What it got of its parent's tree cannot be read. It takes entries and votes all the same, and is
 * repaired like any other; somebody else comes to lead it. */
static void begin_damaged(lw_replica *replica) {
    lw_error reason = *lw_error_slot();
    LW_MARK(replica->env, "replica.child_damaged");
    begin_later(replica);
    *lw_error_slot() = reason;
    (void)!replica_damaged(replica);
}

lw_status replica_begin_child(lw_replica *replica, bool leads) {
    if (!at_once(replica)) {
        lw_status status = replica_load_past(replica);
        if (status == LW_CORRUPTION && !LW_BUG(replica->env, "replica.damaged_child_ends_all")) {
            begin_damaged(replica);
            return LW_OK;
        }
        LW_TRY(status);
        begin_later(replica);
        if (leads) {
            campaign(replica);
        }
        return LW_OK;
    }
    LW_TRY(replica_log_room(replica, FIRST_ENTRIES_SIZE, false));
    return begin_at_once(replica, 0);
}

lw_status lw_replica_start(lw_replica *replica, lw_log *log) {
    LW_ASSERT(replica->log == NULL);
    replica->log = log;
    replica->halted = lw_group_halted_at(replica->group) != 0;
    if (replica->halted || !at_once(replica)) {
        lw_status status = replica_load_past(replica);
        lw_error reason = *lw_error_slot();
        begin_later(replica);
        *lw_error_slot() = reason;
        return status;
    }
    uint64_t ceiling;
    LW_TRY(prepare(replica, 0, &ceiling));
    return begin_at_once(replica, ceiling);
}

bool lw_replica_started(const lw_replica *replica) {
    return replica->log != NULL;
}

void lw_replica_start_waiting(lw_replica *replica, lw_log *log) {
    LW_ASSERT(replica->log == NULL && replica->tree == NULL);
    replica->log = log;
    lw_group_start(replica->group);
}
