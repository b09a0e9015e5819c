/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/watch.h"

#include "node/group.h"
#include "node/shards.h"
#include "sim/run.h"
#include "txn/lock_table.h"

#include <inttypes.h>
#include <stdarg.h>

enum { LOOK_MS = 7 };

/* A replica that is looked at. */
typedef struct sight {
    lw_sim_trial *run;
    uint32_t place; /* of the node */
    uint64_t node;
    lw_sim_shard_past *shard;
    lw_sim_replica_past *past;
    const lw_replica *replica;
    lw_group_figures figures;
} sight;

void lw_sim_watch_broken(lw_sim_trial *it, uint32_t node, uint64_t shard, const char *what,
                         const char *format, ...) {
    char text[200], of[40] = "", line[300];
    if (it->watch.broken) {
        return;
    }
    it->watch.broken = true;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (shard != 0) {
        (void)snprintf(of, sizeof(of), ", shard %" PRIu64 ":", shard);
    }
    (void)snprintf(line, sizeof(line), "%s%s %s at %" PRIu64 " ms", it->nodes[node].name, of, text,
                   lw_world_now(it->world) / LW_SIM_NS_PER_MS);
    lw_sim_broken(it, what, line);
}

#define BROKEN(it, ...) lw_sim_watch_broken((it)->run, (it)->place, (it)->shard->shard, __VA_ARGS__)

static lw_sim_shard_past *past_of(lw_sim_watch *watch, uint64_t shard) {
    for (uint32_t index = 0; index < watch->shard_count; index++) {
        if (watch->shards[index].shard == shard) {
            return &watch->shards[index];
        }
    }
    LW_ASSERT(watch->shard_count < LW_SIM_WATCHED_MAX);
    lw_sim_shard_past *added = &watch->shards[watch->shard_count++];
    *added = (lw_sim_shard_past){.shard = shard};
    return added;
}

/* ---- one replica ---------------------------------------------------------------------------- */

/* A vote that somebody counts on stands for the whole term. In term 0 nobody votes. */
static bool vote_is_kept(const lw_sim_replica_past *past, uint64_t term, uint64_t vote) {
    return past->voted_term == 0 || term > past->voted_term ||
           (term == past->voted_term && vote == past->voted_for);
}

/* What the log still had. What came since from others is no excuse. */
static void judge_restart(const sight *it) {
    const lw_sim_replica_past *past = it->past;
    const lw_group_recovered recovered = lw_group_recovery(lw_replica_group(it->replica));
    const lw_group_recovered *found = &recovered;
    if (found->term < past->led || !vote_is_kept(past, found->term, found->vote)) {
        BROKEN(it, "durability",
               "came back in term %" PRIu64 " with a vote for %016" PRIx64 ", had led in %" PRIu64
               " and voted for %016" PRIx64 " in %" PRIu64,
               found->term, found->vote, past->led, past->voted_for, past->voted_term);
    }
    if (found->last_index < past->applied) {
        BROKEN(it, "durability", "came back with entries up to %" PRIu64 ", had applied %" PRIu64,
               found->last_index, past->applied);
    }
    if (found->last_index >= past->applied && found->last_term < past->applied_term) {
        BROKEN(it, "durability",
               "came back with a last entry of term %" PRIu64 ", had applied one of term %" PRIu64,
               found->last_term, past->applied_term);
    }
    if (found->term == past->acknowledged_term && found->last_index < past->acknowledged) {
        BROKEN(it, "durability",
               "came back with entries up to %" PRIu64 ", had acknowledged %" PRIu64
               " (now %" PRIu64 ", applied %" PRIu64 ")",
               found->last_index, past->acknowledged, it->figures.last_index, past->applied);
    }
}

/* What was acknowledged to a leader stays as long as nobody else leads. */
static void judge_acknowledged(const sight *it) {
    const lw_sim_replica_past *past = it->past;
    const lw_group_figures *now = &it->figures;
    if (now->term == past->acknowledged_term && now->last_index < past->acknowledged) {
        BROKEN(it, "log matching", "has entries up to %" PRIu64 ", had acknowledged %" PRIu64,
               now->last_index, past->acknowledged);
    }
}

static void judge_vote(const sight *it) {
    const lw_sim_replica_past *past = it->past;
    const lw_group_figures *now = &it->figures;
    if (!vote_is_kept(past, now->term, now->vote)) {
        BROKEN(it, "election safety",
               "in term %" PRIu64 ", voted for %016" PRIx64 "; it had voted for %016" PRIx64
               " in term %" PRIu64,
               now->term, now->vote, past->voted_for, past->voted_term);
    }
}

/* Nobody is elected as long as somebody has a lease. */
static void judge_lease(const sight *it) {
    lw_sim_shard_past *shard = it->shard;
    const lw_group_figures *now = &it->figures;
    uint64_t look = it->run->watch.looks;
    if (now->leased && lw_replica_leads(it->replica)) {
        if (shard->led_at == look && now->term < shard->term) {
            BROKEN(it, "leases",
                   "serves under a lease of term %" PRIu64 ", and %s leads in %" PRIu64, now->term,
                   it->run->nodes[shard->led_by].name, shard->term);
        }
        shard->leased_at = look;
        shard->leased_by = it->place;
        shard->leased_term = now->term;
    }
    if (shard->leased_at == look && shard->leased_term < now->term) {
        BROKEN(it, "leases", "leads in term %" PRIu64 ", and %s serves under a lease of %" PRIu64,
               now->term, it->run->nodes[shard->leased_by].name, shard->leased_term);
    }
    if (now->term == shard->term) {
        shard->led_at = look;
        shard->led_by = it->place;
    }
}

/* ---- what is committed ---------------------------------------------------------------------- */

static void judge_entry(const sight *it, const lw_sim_committed *entry) {
    const lw_group_figures *now = &it->figures;
    bool must_have = now->leading && now->term > entry->known_term;
    uint64_t term;
    if (must_have && now->last_index < entry->index) {
        BROKEN(it, "leader completeness",
               "leads in term %" PRIu64 " with entries up to %" PRIu64 ", and %" PRIu64
               " was committed in term %" PRIu64,
               now->term, now->last_index, entry->index, entry->known_term);
    } else if ((must_have || entry->index <= now->committed_index) &&
               lw_group_term_at(lw_replica_group(it->replica), entry->index, &term) &&
               term != entry->term) {
        BROKEN(it, "log matching",
               "has an entry %" PRIu64 " of term %" PRIu64 ", and one of term %" PRIu64
               " was committed there",
               entry->index, term, entry->term);
    }
}

/* Those that it had not been held to yet; all of them once its term or its role is another. They
 * stand in the order of their indexes. */
static void judge_new_entries(const sight *it) {
    const lw_sim_shard_past *shard = it->shard;
    const lw_group_figures *now = &it->figures;
    lw_sim_compared *seen = &it->past->compared;
    bool anew = seen->term != now->term || seen->leading != now->leading ||
                seen->committed > now->committed_index;
    uint64_t kept =
        shard->entry_count < LW_SIM_WATCHED_ENTRIES ? shard->entry_count : LW_SIM_WATCHED_ENTRIES;
    for (uint64_t number = shard->entry_count; number > shard->entry_count - kept; number--) {
        const lw_sim_committed *entry = &shard->entries[(number - 1) % LW_SIM_WATCHED_ENTRIES];
        if (!anew && number <= seen->count && entry->index <= seen->committed) {
            break;
        }
        judge_entry(it, entry);
    }
    *seen = (lw_sim_compared){.term = now->term,
                              .leading = now->leading,
                              .committed = now->committed_index,
                              .count = shard->entry_count};
}

static void judge_entries(const sight *it) {
    lw_sim_shard_past *shard = it->shard;
    const lw_group_figures *now = &it->figures;
    judge_new_entries(it);
    lw_sim_committed newest = {.index = now->committed_index, .known_term = now->term};
    const lw_sim_committed *last =
        &shard->entries[(shard->entry_count + LW_SIM_WATCHED_ENTRIES - 1) % LW_SIM_WATCHED_ENTRIES];
    if (newest.index > last->index &&
        lw_group_term_at(lw_replica_group(it->replica), newest.index, &newest.term)) {
        shard->entries[shard->entry_count++ % LW_SIM_WATCHED_ENTRIES] = newest;
    }
}

/* ---- who leads ------------------------------------------------------------------------------ */

/* Who has nobody else to tell leads at once, and serves once the log has it. */
static bool promises(const sight *it) {
    return !lw_group_alone(lw_replica_group(it->replica)) || lw_replica_leads(it->replica);
}

static void judge_leader(const sight *it) {
    lw_sim_shard_past *shard = it->shard;
    const lw_group_figures *now = &it->figures;
    if (now->term == shard->term && shard->leader != it->node) {
        BROKEN(it, "election safety", "two nodes lead in term %" PRIu64, now->term);
    }
    if (now->term > shard->term) {
        char text[48];
        (void)snprintf(text, sizeof(text), "shard %" PRIu64 " in term %" PRIu64, shard->shard,
                       now->term);
        lw_host_note(it->run->nodes[it->place].host, "leads", text);
        shard->term = now->term;
        shard->leader = it->node;
    }
    if (promises(it)) {
        it->past->led = now->term;
    }
    if (lw_replica_leads(it->replica) && now->term > shard->committed_term &&
        now->last_index < shard->committed) {
        BROKEN(it, "leader completeness",
               "serves in term %" PRIu64 " with entries up to %" PRIu64 ", and %" PRIu64
               " was committed in term %" PRIu64,
               now->term, now->last_index, shard->committed, shard->committed_term);
    }
    judge_lease(it);
    if (promises(it)) {
        it->past->voted_term = now->term;
        it->past->voted_for = it->node;
    }
}

/* What it counts on from others: votes while it stands, entries while it leads. */
static void note_promises(const sight *it) {
    for (uint32_t index = 0; index < it->figures.peer_count; index++) {
        const lw_group_peer *peer = &it->figures.peers[index];
        for (uint32_t place = 0; place < it->run->node_count; place++) {
            lw_sim_replica_past *past = &it->shard->replicas[place];
            const lw_sim_member *other = &it->run->nodes[place];
            if (other->id != peer->node || past->boot != other->boot) {
                continue; /* what it has promised since it came back is for the next look */
            }
            if (peer->granted) {
                past->voted_term = it->figures.term;
                past->voted_for = it->node;
            }
            if (it->figures.leading &&
                (past->acknowledged_term != it->figures.term || past->acknowledged < peer->match)) {
                past->acknowledged_term = it->figures.term;
                past->acknowledged = peer->match;
            }
        }
    }
}

/* ---- who serves ----------------------------------------------------------------------------- */

/* What it begins with, if it began since the last look. */
static void judge_service(const sight *it) {
    lw_sim_watch *watch = &it->run->watch;
    lw_replica_figures figures;
    lw_replica_figures_get(it->replica, &figures);
    bool looked = it->past->seen + 1 == watch->looks;
    bool began = looked && it->past->seen_serving == 0 && figures.serving != 0;
    if (began && it->shard->served != 0 && it->shard->served < figures.serving &&
        figures.marked < it->past->given_idle) {
        BROKEN(it, "read marks",
               "serves in term %" PRIu64 " as if nothing had been read above %" PRIu64
               ", and %" PRIu64 " had been given",
               figures.serving, figures.marked, it->past->given_idle);
    }
    if (figures.serving > it->shard->served) {
        it->shard->served = figures.serving;
    }
    bool ended = looked && it->past->seen_serving != 0 && figures.serving == 0;
    if (!it->figures.leading) {
        it->past->given_idle = watch->given_before;
    }
    it->past->seen = watch->looks;
    it->past->seen_serving = figures.serving;
    lw_lock_view lock;
    const lw_lock_table *locks = lw_shards_locks(lw_sim_shards_of(&it->run->nodes[it->place]));
    lw_shard_descriptor shard;
    lw_replica_descriptor(it->replica, &shard);
    if (ended && lw_lock_table_count(locks) > 0 &&
        lw_lock_table_page(locks, shard.start, shard.end, 1, &lock) > 0) {
        BROKEN(it, "locks", "has locks of transactions, and does not serve");
    }
}

/* Whether a replica that followed when it was last looked at is as it was then, and still keeps
 * what others count on: then there is nothing to hold it to. Who votes for itself may be electing.
 */
static bool rests(const sight *it, const lw_group_pulse *now) {
    const lw_sim_replica_past *past = it->past;
    const lw_group_pulse *before = &past->pulse;
    bool same = now->term == before->term && now->vote == before->vote &&
                now->last_index == before->last_index &&
                now->committed_index == before->committed_index &&
                now->applied_index == before->applied_index;
    bool looked = past->boot == it->run->nodes[it->place].boot &&
                  past->seen + 1 == it->run->watch.looks && past->seen_serving == 0;
    bool keeps = past->voted_term < now->term ||
                 (past->voted_term == now->term && past->voted_for == now->vote);
    keeps =
        keeps && (past->acknowledged_term != now->term || past->acknowledged <= now->last_index);
    return same && looked && keeps && !now->leading && now->vote != it->node;
}

static void look_at_replica(lw_sim_trial *run, uint32_t place, const lw_replica *replica) {
    const lw_sim_member *node = &run->nodes[place];
    const lw_group *group = lw_replica_group(replica);
    lw_group_pulse pulse = {.term = 0};
    sight it = {.run = run, .place = place, .node = node->id, .replica = replica};
    it.shard = past_of(&run->watch, lw_replica_shard(replica)->id);
    it.past = &it.shard->replicas[place];
    if (group != NULL) {
        lw_group_pulse_get(group, &pulse);
    }
    if (group != NULL && lw_replica_tree(replica) != NULL && rests(&it, &pulse)) {
        it.past->seen = run->watch.looks;
        it.past->given_idle = run->watch.given_before;
        return;
    }
    lw_replica_group_figures(replica, &it.figures);
    if (lw_replica_tree(replica) == NULL || it.figures.last_index == 0) {
        *it.past = (lw_sim_replica_past){0}; /* it is new here, or was taken away meanwhile */
        return;
    }
    if (it.past->boot != 0 && it.past->boot != node->boot && !run->flips) {
        judge_restart(&it);
    }
    if (!run->flips) { /* else it may have come anew between two looks */
        judge_vote(&it);
        judge_acknowledged(&it);
    }
    it.past->boot = node->boot;
    it.past->pulse = pulse;
    if (it.figures.applied_index > it.past->applied) {
        it.past->applied = it.figures.applied_index;
        (void)lw_group_term_at(lw_replica_group(replica), it.past->applied, &it.past->applied_term);
    }
    if (it.figures.leading) {
        judge_leader(&it);
    }
    note_promises(&it);
    judge_service(&it);
    if (lw_replica_group(replica) != NULL) {
        judge_entries(&it);
    }
    if (it.figures.committed_index > it.shard->committed) {
        it.shard->committed = it.figures.committed_index;
        it.shard->committed_term = it.figures.term;
    }
}

/* ---- one node ------------------------------------------------------------------------------- */

static void judge_ranges(lw_sim_trial *run, uint32_t place, const lw_shards *shards) {
    const lw_shard_descriptor *before = NULL;
    for (uint32_t index = 0; index < lw_shards_count(shards); index++) {
        const lw_replica *replica = lw_shards_at(shards, index);
        if (lw_replica_tree(replica) == NULL) {
            continue; /* its range is what others say */
        }
        const lw_shard_descriptor *shard = lw_replica_shard(replica);
        if (before != NULL &&
            (before->end.size == 0 || lw_compare(before->end, shard->start) > 0)) {
            sight it = {.run = run, .place = place, .shard = past_of(&run->watch, shard->id)};
            BROKEN(&it, "ranges", "overlaps shard %" PRIu64 " on the same node", before->id);
        }
        before = shard;
    }
}

/* Whether it holds nothing of the shard, not even what it cannot read. */
static bool is_absent(const lw_shards *shards, uint64_t shard) {
    return lw_shards_find(shards, shard) == NULL &&
           strcmp(lw_shards_condition(shards, shard), "damaged") != 0;
}

/* What it holds no more it owes no more. */
static void drop_absent(lw_sim_trial *run, uint32_t place, const lw_shards *shards) {
    for (uint32_t index = 0; index < run->watch.shard_count; index++) {
        lw_sim_shard_past *shard = &run->watch.shards[index];
        if (shard->replicas[place].boot != 0 && is_absent(shards, shard->shard)) {
            shard->replicas[place] = (lw_sim_replica_past){0};
        }
    }
}

static void look_at_node(lw_sim_trial *run, uint32_t place) {
    const lw_sim_member *node = &run->nodes[place];
    const lw_shards *shards = lw_sim_shards_of(node);
    if (shards == NULL) {
        return;
    }
    for (uint32_t index = 0; index < lw_shards_count(shards); index++) {
        look_at_replica(run, place, lw_shards_at(shards, index));
    }
    judge_ranges(run, place, shards);
    drop_absent(run, place, shards);
}

/* ---- looking -------------------------------------------------------------------------------- */

static void look_at_all(void *argument) {
    lw_sim_trial *it = argument;
    it->watch.looks++;
    for (uint32_t place = 0; place < it->node_count; place++) {
        look_at_node(it, place);
    }
    lw_sim_watch_members(it);
    lw_sim_watch_oracles(it);
}

void lw_sim_watch_look(lw_sim_trial *it) {
    look_at_all(it);
}

static void look(void *argument) {
    lw_sim_trial *it = argument;
    look_at_all(it);
    lw_sim_after(it, LOOK_MS, look);
}

void lw_sim_watch_begin(lw_sim_trial *it) {
    _Static_assert((int)LW_SIM_WATCHED_NODES_MAX == (int)LW_SIM_NODES_MAX, "all are watched");
    look(it);
    lw_world_watch_mark(it->world, "group.leads", look_at_all, it);
}

void lw_sim_watch_forget(lw_sim_trial *it, uint32_t node) {
    for (uint32_t index = 0; index < it->watch.shard_count; index++) {
        it->watch.shards[index].replicas[node] = (lw_sim_replica_past){0};
        it->watch.shards[index].holdings[node] = (lw_sim_holding){0};
    }
}

/* ---- an account ----------------------------------------------------------------------------- */

static void print_members(const lw_group_figures *figures, lw_buffer *text) {
    static const char *const roles[] = {"", "voter", "learner", "joining", "leaving"};
    for (uint32_t index = 0; index < figures->members.count; index++) {
        const lw_shard_replica *member = &figures->members.replicas[index];
        lw_buffer_print(text, " %016" PRIx64 " %s", member->node, roles[member->role]);
        for (uint32_t peer = 0; figures->leading && peer < figures->peer_count; peer++) {
            const lw_group_peer *of = &figures->peers[peer];
            if (of->node == member->node) {
                lw_buffer_print(text, " (match %" PRIu64 "%s%s)", of->match,
                                of->reachable ? "" : ", unreachable",
                                of->in_snapshot ? ", snapshot" : "");
            }
        }
    }
}

static void print_replica(const lw_replica *replica, lw_buffer *text) {
    lw_group_figures figures;
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    lw_replica_group_figures(replica, &figures);
    lw_buffer_print(text,
                    "  shard %" PRIu64 " epoch %" PRIu64 ".%" PRIu64 "%s%s%s%s term %" PRIu64
                    " leader %016" PRIx64 " last %" PRIu64 " committed %" PRIu64 " applied %" PRIu64
                    " of",
                    shard.id, shard.epoch.range_version, shard.epoch.config_version,
                    lw_replica_tree(replica) == NULL ? " no tree" : "",
                    lw_replica_leads(replica) ? " serves" : "", figures.leading ? " leads" : "",
                    figures.halted ? " halted" : "", figures.term, figures.leader,
                    figures.last_index, figures.committed_index, figures.applied_index);
    print_members(&figures, text);
    lw_buffer_append(text, lw_text("\n"));
}

void lw_sim_watch_print(const lw_sim_trial *it, lw_buffer *text) {
    lw_buffer_print(
        text, "nodes of %zu KiB, %u voters a shard, dead after %" PRIu64 " ms, operators %s\n",
        it->memory_size / 1024, it->voters, it->dead_after_ms, it->operator_done ? "done" : "busy");
    static const char *const states[] = {"down",   "opening", "serving",
                                         "failed", "closing", "closed"};
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_sim_member *node = &it->nodes[place];
        lw_buffer_print(text, "%s %016" PRIx64 " %s%s%s%s\n", node->name, node->id,
                        states[node->state], node->drained ? ", drained" : "",
                        node->leaving ? ", leaving" : "", node->out ? ", out" : "");
        const lw_shards *shards = lw_sim_shards_of(node);
        for (uint32_t index = 0; shards != NULL && index < lw_shards_count(shards); index++) {
            print_replica(lw_shards_at(shards, index), text);
        }
    }
}
