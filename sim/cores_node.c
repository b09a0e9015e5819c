/* SPDX-License-Identifier: Apache-2.0 */
/* Drives one core: what node/group.c is, without bytes. */
#include "sim/cores.h"

#include <inttypes.h>

enum {
    EFFECTS_MAX = 5000, /* of one event */
    SLOW_LOAD_PERCENT = 20,
    SLOW_LOAD_MS = 5,
    LESS_PERCENT = 5, /* of loads bring less than was asked for */
    CLOCK_BASE_MS = 1000,
    ANEW_MS = 2,     /* until one that was taken away begins again */
    COMPACT_MIN = 3, /* entries that are cut away at least */
};

/* ---- beginning ------------------------------------------------------------------------------- */

static lw_raft_options options_of(const lw_cores *world, uint64_t id) {
    const lw_cores_node *node = &world->nodes[id];
    const lw_cores_disk *disk = &node->disk;
    const lw_cores_habits *habits = &world->habits;
    lw_raft_options options = {.self = id,
                               .term = disk->term,
                               .vote = disk->vote,
                               .start_index = disk->start,
                               .start_term = disk->entries[disk->start].term,
                               .commit = disk->start,
                               .config = world->configs[disk->start_config],
                               .config_index = disk->start_config_index,
                               .votes_from = node->tombstone,
                               .seed = lw_mix(world->seed ^ (id << 32) ^ node->life),
                               .election_timeout_ns = habits->timeout,
                               .heartbeat_ns = habits->heartbeat,
                               .quiesce_after_ns = habits->quiesce_after,
                               .drift_ppm = habits->drift_ppm,
                               .entries_in_flight_max = habits->entries_in_flight_max,
                               .bytes_in_flight_max = habits->bytes_in_flight_max,
                               .entries_per_append_max = habits->entries_per_append_max};
#ifdef LW_SIMULATION
    options.bugs = world->bugs;
#endif
    return options;
}

static void draw_clock(lw_cores *world, lw_cores_node *node) {
    uint64_t most = world->habits.drift_ppm;
    uint64_t drawn = lw_cores_between(world, 0, 2 * most);
    if (world->habits.extreme_clocks) {
        drawn = drawn < most ? 0 : 2 * most;
    }
    node->drift_ppm = (int64_t)drawn - (int64_t)most;
    node->clock_base = lw_cores_between(world, 1, CLOCK_BASE_MS) * LW_CORES_MS;
    node->clock_since = world->now;
}

static bool replay(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    node->log[node->disk.start] = node->disk.entries[node->disk.start];
    node->config_at = node->disk.start_config_index;
    for (uint64_t index = node->disk.start + 1; index <= node->disk.last; index++) {
        const lw_cores_entry *entry = &node->disk.entries[index];
        node->log[index] = *entry;
        node->config_at = entry->config != 0 ? index : node->config_at;
        const lw_raft_config *config = entry->config != 0 ? &world->configs[entry->config] : NULL;
        if (lw_raft_replay(&node->raft, index, entry->term, entry->commit, config) != LW_OK) {
            lw_cores_fail(world, "replay", "node %" PRIu64 " cannot read its log: %s", id,
                          lw_error_slot()->text);
            return false;
        }
    }
    return true;
}

void lw_cores_start(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    node->life++;
    node->up = true;
    node->leads = false;
    node->ticket.round = 0;
    node->write_count = 0;
    node->disk_busy = false;
    node->tick_at = UINT64_MAX;
    node->paused_until = 0;
    node->applied = node->disk.start;
    node->checked = node->disk.start;
    memset(node->cut_off, 0, sizeof(node->cut_off));
    world->machines->result->boots++;
    draw_clock(world, node);
    lw_raft_options options = options_of(world, id);
    lw_raft_init(&node->raft, &options);
    if (!replay(world, id)) {
        return;
    }
    lw_raft_start(&node->raft, lw_cores_clock(world, node));
    lw_cores_note_of(
        world, id, "starts: term %" PRIu64 ", log %" PRIu64 " to %" PRIu64 ", commit %" PRIu64,
        node->raft.term, node->raft.start_index, node->raft.last_index, node->raft.commit);
    lw_cores_check_committed(world, id, false);
    lw_cores_settle(world, id);
}

void lw_cores_crash(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    lw_cores_note_of(world, id, "loses power", 0, 0, 0, 0);
    lw_cores_disk_crash(world, id);
    node->up = false;
    node->leads = false;
    node->life++;
}

/* Its log is taken away: it was told that it is no member any more. What stays is the term, or it
 * would answer whoever led before, and that it is not to vote for another in it. */
static void begin_anew(lw_cores *world, uint64_t id, uint64_t index) {
    lw_cores_node *node = &world->nodes[id];
    lw_cores_note_of(world, id, "is in no configuration since %" PRIu64, index, 0, 0, 0);
    world->counts[LW_CORES_REMOVED]++;
    lw_cores_check_removed(world, id, index);
    uint64_t term = node->raft.term;
    memset(&node->disk, 0, offsetof(lw_cores_disk, entries));
    node->disk.entries[0] = (lw_cores_entry){0};
    node->disk.term = term;
    node->disk.vote = id;
    node->tombstone = index;
    node->up = false;
    node->leads = false;
    node->life++;
    (void)lw_cores_schedule(world, LW_CORES_RESTART, id,
                            lw_cores_between(world, 0, ANEW_MS * LW_CORES_MS));
}

/* ---- the log --------------------------------------------------------------------------------- */

static uint64_t chain_of(const lw_cores_node *node, uint64_t index) {
    const lw_cores_entry *entry = &node->log[index];
    return lw_mix(node->log[index - 1].chain ^ lw_mix(entry->term ^ entry->value << 20));
}

/* Entries were put into the log from `first` on. */
static void follow_config(lw_cores_node *node, uint64_t first, uint32_t count) {
    if (first <= node->config_at) {
        uint64_t index = first - 1;
        while (index > node->disk.start && node->log[index].config == 0) {
            index--;
        }
        node->config_at = index > node->disk.start ? index : node->disk.start_config_index;
    }
    for (uint64_t index = first; index < first + count; index++) {
        node->config_at = node->log[index].config != 0 ? index : node->config_at;
    }
}

bool lw_cores_propose(lw_cores *world, uint64_t id, uint32_t count, uint32_t config) {
    lw_cores_node *node = &world->nodes[id];
    lw_raft_write write;
    if (node->raft.last_index + count >= LW_CORES_LOG_MAX) {
        return false;
    }
    uint64_t commit = node->raft.commit, before_index = node->raft.config_index;
    lw_raft_config before = node->raft.config;
    if (lw_raft_propose(&node->raft, count, config != 0 ? &world->configs[config] : NULL,
                        lw_cores_clock(world, node), &write) != LW_OK) {
        return false;
    }
    for (uint64_t index = write.first; index < write.first + count; index++) {
        node->log[index] = (lw_cores_entry){
            .term = write.term, .value = ++world->values, .commit = commit, .config = config};
        node->log[index].chain = chain_of(node, index);
    }
    follow_config(node, write.first, count);
    if (config != 0) {
        world->counts[LW_CORES_CHANGED]++;
        lw_cores_note_of(world, id, "proposes configuration %" PRIu64 " at %" PRIu64, config,
                         write.first, 0, 0);
        lw_cores_check_change(world, id, &world->configs[config], &before, before_index);
    }
    lw_cores_write_entries(world, id, &write);
    return true;
}

uint32_t lw_cores_add_config(lw_cores *world, const lw_raft_config *config) {
    if (world->config_count + 1 >= LW_CORES_CONFIGS_MAX) {
        return 0;
    }
    world->configs[++world->config_count] = *config;
    return world->config_count;
}

/* ---- messages -------------------------------------------------------------------------------- */

static const char *text_of(lw_raft_kind kind) {
    static const char *const texts[] = {
        [LW_RAFT_PREVOTE] =
            "hears from %" PRIu64 ": a pre-vote for term %" PRIu64 "? last %" PRIu64,
        [LW_RAFT_PREVOTE_REPLY] = "hears from %" PRIu64 ": pre-vote of term %" PRIu64
                                  ", entry %" PRIu64 ", says %" PRIu64,
        [LW_RAFT_VOTE] = "hears from %" PRIu64 ": a vote for term %" PRIu64 "? last %" PRIu64,
        [LW_RAFT_VOTE_REPLY] =
            "hears from %" PRIu64 ": vote of term %" PRIu64 ", entry %" PRIu64 ", says %" PRIu64,
        [LW_RAFT_APPEND] = "hears from %" PRIu64 ": leads term %" PRIu64 ", behind %" PRIu64
                           " come %" PRIu64 " entries",
        [LW_RAFT_ACKNOWLEDGE] =
            "hears from %" PRIu64 ": in term %" PRIu64 ", has %" PRIu64 ", agrees %" PRIu64,
        [LW_RAFT_HAND_OVER] = "hears from %" PRIu64 ": lead on from term %" PRIu64,
        [LW_RAFT_GONE] = "hears from %" PRIu64 ", in term %" PRIu64 ": is no member since %" PRIu64,
    };
    return texts[kind];
}

static void note_message(lw_cores *world, const lw_cores_event *event) {
    const lw_raft_message *message = &event->message;
    uint64_t last = message->kind == LW_RAFT_APPEND ? message->count : message->granted;
    lw_cores_note_of(world, event->node, text_of(message->kind), message->from, message->term,
                     message->index, last);
}

/* The entries that the core wants written, with the chain that follows from what is before them. */
static void put_entries(lw_cores *world, const lw_cores_event *event, const lw_raft_write *write) {
    lw_cores_node *node = &world->nodes[event->node];
    const lw_cores_entry *entries = &event->entries[write->first - event->message.index - 1];
    for (uint32_t place = 0; place < write->count; place++) {
        uint64_t index = write->first + place;
        node->log[index] = entries[place];
        node->log[index].chain = chain_of(node, index);
    }
    follow_config(node, write->first, write->count);
    lw_cores_write_entries(world, event->node, write);
}

static uint32_t configs_of(const lw_cores *world, const lw_cores_event *event,
                           lw_raft_config_entry *configs) {
    uint32_t count = 0;
    for (uint32_t place = 0; place < event->message.count; place++) {
        if (event->entries[place].config != 0) {
            configs[count++] =
                (lw_raft_config_entry){.index = event->message.index + 1 + place,
                                       .config = world->configs[event->entries[place].config]};
        }
    }
    return count;
}

void lw_cores_receive(lw_cores *world, lw_cores_event *event) {
    lw_cores_node *node = &world->nodes[event->node];
    if (world->habits.through_codec) {
        lw_cores_translate(world, event);
    }
    note_message(world, event);
    lw_raft_config_entry configs[LW_CORES_BATCH_MAX];
    event->message.config_count = configs_of(world, event, configs);
    event->message.configs = configs;
    bool led = node->raft.role == LW_RAFT_LEADER;
    uint64_t term = node->raft.term, last = node->raft.last_index;
    lw_raft_write write;
    lw_raft_receive(&node->raft, &event->message, lw_cores_clock(world, node), &write);
    if (write.count > 0 && led && node->raft.term == term) {
        lw_cores_fail(world, "append only", "leader %" PRIu64 " lets its log be changed",
                      event->node);
    }
    if (write.count > 0) {
        LW_ASSERT(write.first + write.count <= LW_CORES_LOG_MAX);
        world->counts[LW_CORES_CUT_OFF] += last >= write.first ? last + 1 - write.first : 0;
        put_entries(world, event, &write);
    }
    lw_cores_check_taken(world, event);
}

static void send_effect(lw_cores *world, uint64_t id, const lw_raft_message *message) {
    lw_cores_node *node = &world->nodes[id];
    if (message->count == 0) {
        lw_cores_transmit(world, message, NULL);
        return;
    }
    bool slow = lw_cores_percent(world, SLOW_LOAD_PERCENT);
    uint64_t delay = slow ? lw_cores_between(world, 0, SLOW_LOAD_MS * LW_CORES_MS) : 0;
    lw_cores_event *made = lw_cores_schedule(world, LW_CORES_LOADED, id, delay);
    if (made == NULL) {
        lw_raft_sent(&node->raft, message->to, message->term, 0, 0);
        return;
    }
    made->message = *message;
}

/* As a real driver: what was loaded may be less than was asked for, or nothing. */
void lw_cores_loaded(lw_cores *world, const lw_cores_event *event) {
    lw_cores_node *node = &world->nodes[event->node];
    lw_raft_message message = event->message;
    if (node->raft.role != LW_RAFT_LEADER || node->raft.term != message.term) {
        return;
    }
    if (lw_cores_percent(world, LESS_PERCENT)) {
        message.count = (uint32_t)lw_cores_between(world, 0, message.count);
    }
    bool gone = message.index < node->disk.start;
    lw_raft_sent(&node->raft, message.to, message.term, gone ? 0 : message.count,
                 message.count * sizeof(lw_cores_entry));
    if (!gone && message.count > 0) {
        lw_cores_transmit(world, &message, &node->log[message.index + 1]);
    }
}

/* ---- effects --------------------------------------------------------------------------------- */

static void apply(lw_cores *world, uint64_t id, uint64_t index) {
    lw_cores_node *node = &world->nodes[id];
    lw_cores_check_applied(world, id, index);
    node->applied = index;
    lw_raft_applied(&node->raft, index, 0, 0);
    uint64_t start = node->disk.start;
    if (!world->silent && start + COMPACT_MIN < index &&
        lw_cores_percent(world, world->habits.compact_percent)) {
        lw_cores_compact(world, id, lw_cores_between(world, start + 1, index));
    }
}

static void begin_to_lead(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    world->counts[LW_CORES_ELECTED]++;
    lw_cores_check_leader(world, id);
    (void)lw_cores_propose(world, id, 1, 0);
    for (uint64_t other = 1; other <= world->node_count; other++) {
        if (node->cut_off[other]) {
            lw_raft_unreachable(&node->raft, other, lw_cores_clock(world, node));
        }
    }
    if (!world->calm && lw_cores_percent(world, world->habits.hunt_percent)) {
        uint64_t delay = lw_cores_between(world, 0, world->habits.hunt_within);
        lw_cores_event *made = lw_cores_schedule(world, LW_CORES_HUNT, 0, delay);
        if (made != NULL) {
            made->other = id;
        }
    }
}

static void role_changed(lw_cores *world, uint64_t id, const lw_raft_effect *effect) {
    static const char *const texts[] = {
        [LW_RAFT_FOLLOWER] = "follows in term %" PRIu64 ", leader %" PRIu64,
        [LW_RAFT_CANDIDATE] = "stands, in term %" PRIu64,
        [LW_RAFT_LEADER] = "leads term %" PRIu64,
    };
    lw_cores_node *node = &world->nodes[id];
    lw_cores_note_of(world, id, texts[effect->role], effect->term, effect->leader, 0, 0);
    node->ticket.round = 0;
    node->leads = effect->role == LW_RAFT_LEADER;
    if (node->leads) {
        begin_to_lead(world, id);
    } else if (effect->role == LW_RAFT_FOLLOWER) {
        node->followed = effect->leader != 0 ? effect->leader : node->followed;
    } else if (!world->calm &&
               (id == world->unheard || lw_cores_percent(world, world->habits.unheard_percent))) {
        world->blocked[id][node->followed] = true;
    }
}

/* False: the node begins anew, its effects are void. */
static bool carry_out(lw_cores *world, uint64_t id, const lw_raft_effect *effect) {
    lw_cores_node *node = &world->nodes[id];
    switch (effect->kind) {
    case LW_RAFT_SAVE:
        lw_cores_write_save(world, id, effect->term, effect->vote);
        break;
    case LW_RAFT_SEND:
        send_effect(world, id, &effect->message);
        break;
    case LW_RAFT_COMMITTED:
        apply(world, id, effect->index);
        break;
    case LW_RAFT_ROLE:
        role_changed(world, id, effect);
        break;
    case LW_RAFT_READABLE:
        lw_cores_check_readable(world, id, effect->round);
        break;
    case LW_RAFT_SNAPSHOT:
        lw_cores_snapshot_begin(world, id, effect->node);
        break;
    case LW_RAFT_LEAVE_JOINT: {
        lw_raft_config left = lw_raft_config_left(&node->raft.config);
        (void)lw_cores_propose(world, id, 1, lw_cores_add_config(world, &left));
        break;
    }
    case LW_RAFT_REMOVED:
        begin_anew(world, id, effect->index);
        return false;
    }
    return true;
}

/* When the node's own clock will have come so far. */
static uint64_t wait_for_clock(const lw_cores *world, const lw_cores_node *node,
                               uint64_t deadline) {
    uint64_t now = lw_cores_clock(world, node);
    uint64_t wait = deadline > now ? deadline - now : 0;
    return wait * 1000000 / (uint64_t)(1000000 + node->drift_ppm) + 1;
}

void lw_cores_settle(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    lw_raft_effect effect;
    for (uint32_t count = 0; node->up && lw_raft_next(&node->raft, &effect); count++) {
        lw_cores_check_committed(world, id, true);
        if (count > EFFECTS_MAX) {
            lw_cores_fail(world, "bounds", "node %" PRIu64 " has effects without end", id);
        }
        if (world->machines->broken || !carry_out(world, id, &effect)) {
            return;
        }
    }
    lw_cores_check_node(world, id);
    uint64_t deadline = lw_raft_deadline(&node->raft);
    if (!node->up || deadline == LW_RAFT_NEVER) {
        return;
    }
    uint64_t wait = wait_for_clock(world, node, deadline);
    if (world->now + wait < node->tick_at &&
        lw_cores_schedule(world, LW_CORES_TICK, id, wait) != NULL) {
        node->tick_at = world->now + wait;
    }
}
