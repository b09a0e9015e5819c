/* SPDX-License-Identifier: Apache-2.0 */
/* Convergence: what several nodes must have come to once nothing strikes any more. */
#include "node/group.h"
#include "node/shards.h"
#include "sim/run.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

enum { LEADS_SLACK = 8 }; /* hand-overs of each node */

/* ---- what every node says ------------------------------------------------------------------- */

typedef struct look {
    const lw_sim_trial *run;
    char *why;
} look;

static bool no(const look *at, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool no(const look *at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(at->why, LW_SIM_WHY_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

static const lw_shards *shards_at(const lw_sim_trial *it, uint32_t place) {
    const lw_sim_member *node = &it->nodes[place];
    return lw_sim_shards_of(node);
}

static bool all_serve(const look *at) {
    const lw_sim_trial *it = at->run;
    uint64_t digest = 0;
    uint32_t epoch = 0;
    const char *first = NULL;
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_sim_member *node = &it->nodes[place];
        if (node->out) {
            continue;
        }
        if (shards_at(it, place) == NULL) {
            return no(at, "%s does not serve", node->name);
        }
        if (it->bare != NULL) {
            continue; /* it has no lattice */
        }
        uint64_t its = lw_node_members_digest(node->node);
        if (first != NULL && its != digest) {
            return no(at, "%s and %s do not know the same members", first, node->name);
        }
        if (!lw_node_names_differ(node->node)) {
            return no(at, "%s knows two members of one name, or one without", node->name);
        }
        if (first != NULL && lw_node_key_epoch(node->node) != epoch) {
            return no(at, "%s and %s use different keys of the lattice", first, node->name);
        }
        digest = its;
        epoch = lw_node_key_epoch(node->node);
        first = node->name;
    }
    return true;
}

/* Voters that a shard is to have. */
static uint32_t wanted_voters(const lw_sim_trial *it) {
    uint32_t up = 0;
    for (uint32_t place = 0; place < it->node_count; place++) {
        up += !it->nodes[place].out;
    }
    uint32_t wanted = up < it->voters ? up : it->voters;
    return wanted % 2 == 0 && wanted > 0 ? wanted - 1 : wanted;
}

/* ---- one shard ------------------------------------------------------------------------------ */

static bool is_up(const lw_sim_trial *it, uint64_t node) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        if (it->nodes[place].id == node && !it->nodes[place].out) {
            return true;
        }
    }
    return false;
}

static bool members_are_right(const look *at, uint64_t shard, const lw_group_figures *led) {
    for (uint32_t index = 0; index < led->members.count; index++) {
        const lw_shard_replica *member = &led->members.replicas[index];
        if (member->role != LW_REPLICA_VOTER) {
            return no(at, "shard %" PRIu64 " is changing its members", shard);
        }
        if (!is_up(at->run, member->node)) {
            return no(at, "shard %" PRIu64 " counts on node %016" PRIx64 ", which is gone", shard,
                      member->node);
        }
    }
    uint32_t count = led->members.count == 0 ? 1 : led->members.count;
    if (count != wanted_voters(at->run)) {
        return no(at, "shard %" PRIu64 " has %u voters, and is to have %u", shard, count,
                  wanted_voters(at->run));
    }
    return true;
}

static bool is_member(const lw_group_figures *led, uint64_t node) {
    bool found = led->members.count == 0;
    for (uint32_t index = 0; index < led->members.count; index++) {
        found = found || led->members.replicas[index].node == node;
    }
    return found;
}

static bool replicas_are_right(const look *at, uint64_t shard, const lw_group_figures *led) {
    const lw_sim_trial *it = at->run;
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_shards *shards = shards_at(it, place);
        const lw_replica *replica = shards == NULL ? NULL : lw_shards_find(shards, shard);
        lw_group_figures figures = {0};
        if (replica != NULL) {
            lw_replica_group_figures(replica, &figures);
        }
        if ((replica != NULL) != (!it->nodes[place].out && is_member(led, it->nodes[place].id))) {
            return no(at, "%s %s shard %" PRIu64, it->nodes[place].name,
                      replica != NULL ? "still holds" : "does not hold", shard);
        }
        if (figures.halted) {
            return no(at, "%s has halted its replica of shard %" PRIu64, it->nodes[place].name,
                      shard);
        }
        if (replica != NULL &&
            (figures.applied_index != led->last_index || figures.last_index != led->last_index)) {
            return no(at, "%s has applied shard %" PRIu64 " up to %" PRIu64 " of %" PRIu64,
                      it->nodes[place].name, shard, figures.applied_index, led->last_index);
        }
    }
    return true;
}

/* The one that serves it; NULL and `why`: none, or two. */
static const lw_replica *server_of(const look *at, uint64_t shard) {
    const lw_replica *server = NULL;
    for (uint32_t place = 0; place < at->run->node_count; place++) {
        const lw_shards *shards = shards_at(at->run, place);
        const lw_replica *replica = shards == NULL ? NULL : lw_shards_find(shards, shard);
        if (replica == NULL || !lw_replica_leads(replica)) {
            continue;
        }
        if (server != NULL) {
            (void)no(at, "two nodes serve shard %" PRIu64, shard);
            return NULL;
        }
        server = replica;
    }
    if (server == NULL) {
        (void)no(at, "nobody serves shard %" PRIu64, shard);
    }
    return server;
}

typedef struct range {
    uint64_t shard;
    lw_bytes start, end;
} range;

static bool shard_is_right(const look *at, uint64_t shard, range *covers) {
    const lw_replica *server = server_of(at, shard);
    if (server == NULL) {
        return false;
    }
    lw_replica_figures figures;
    lw_group_figures led;
    uint64_t left;
    if (lw_replica_frozen(server, &left)) {
        return no(at, "shard %" PRIu64 " is frozen, to become part of shard %" PRIu64, shard, left);
    }
    lw_replica_figures_get(server, &figures);
    lw_replica_group_figures(server, &led);
    lw_shard_descriptor descriptor;
    lw_replica_descriptor(server, &descriptor);
    *covers = (range){.shard = shard, .start = descriptor.start, .end = descriptor.end};
    if (figures.open > 0) {
        return no(at, "%" PRIu64 " transactions have locks in shard %" PRIu64, figures.open, shard);
    }
    return members_are_right(at, shard, &led) && replicas_are_right(at, shard, &led);
}

static int by_start(const void *a, const void *b) {
    return lw_compare(((const range *)a)->start, ((const range *)b)->start);
}

static bool is_there(const lw_sim_trial *it, const lw_sim_rot *rot) {
    lw_buffer contents = lw_buffer_in(it->memory);
    bool there = lw_disk_contents(lw_host_disk(it->nodes[rot->place].host), LW_DISK_VOLATILE,
                                  rot->path, &contents);
    lw_buffer_reset(&contents);
    return there;
}

bool lw_sim_rots(const lw_sim_trial *it, uint32_t place) {
    for (uint32_t index = 0; index < it->rot_count; index++) {
        if (it->rots[index].place == place && is_there(it, &it->rots[index])) {
            return true;
        }
    }
    return false;
}

void lw_sim_forget_rots(lw_sim_trial *it, uint32_t place) {
    uint32_t kept = 0;
    for (uint32_t index = 0; index < it->rot_count; index++) {
        if (it->rots[index].place != place) {
            it->rots[kept++] = it->rots[index];
        }
    }
    it->rot_count = kept;
}

/* What has rotted was found, by whoever reads or by the scrub, and another file is in its place. */
static bool nothing_rots(const look *at) {
    for (uint32_t place = 0; place < at->run->node_count; place++) {
        if (lw_sim_rots(at->run, place)) {
            return no(at, "a file is still damaged on %s", at->run->nodes[place].name);
        }
    }
    return true;
}

/* ---- leads ---------------------------------------------------------------------------------- */

void lw_sim_count_leads(lw_sim_trial *it) {
    for (uint32_t place = 0; place < it->node_count; place++) {
        lw_sim_member *node = &it->nodes[place];
        const lw_node *serving = lw_sim_serving(node); /* not one that has just lost power */
        node->handed_boot = serving == NULL ? 0 : node->boot;
        node->handed = serving == NULL ? 0 : lw_node_handed(serving);
    }
}

/* Whoever led them when peace came, each shard but a few is handed over once at most until leaders
 * are spread. */
static bool leaders_settle(const look *at, uint64_t shard_count) {
    const lw_sim_trial *it = at->run;
    uint64_t handed = 0;
    for (uint32_t place = 0; place < it->node_count && it->bare == NULL; place++) {
        const lw_sim_member *node = &it->nodes[place];
        uint64_t before = node->boot == node->handed_boot ? node->handed : 0;
        const lw_node *serving = lw_sim_serving(node);
        handed += serving == NULL ? 0 : lw_node_handed(serving) - before;
    }
    return handed <= shard_count + LEADS_SLACK * it->node_count ||
           no(at, "leaders go to and fro: %" PRIu64 " hand-overs in peace, of %" PRIu64 " shards",
              handed, shard_count);
}

/* With room for the ranges of all shards. */
static bool converged(const lw_sim_trial *it, char *why, range *ranges) {
    look at = {.run = it, .why = why};
    uint32_t count = 0;
    if (!it->operator_done) {
        return no(&at, "operators have not had done what they asked");
    }
    if (!all_serve(&at) || !nothing_rots(&at)) {
        return false;
    }
    for (uint32_t index = 0; index < it->watch.shard_count; index++) {
        uint64_t shard = it->watch.shards[index].shard;
        if (lw_sim_watch_absent(it, shard)) {
            continue; /* part of another one; else its keys are in none, as is looked at below */
        }
        if (!shard_is_right(&at, shard, &ranges[count++])) {
            return false;
        }
    }
    qsort(ranges, count, sizeof(ranges[0]), by_start);
    for (uint32_t index = 0; index < count; index++) {
        bool begins = index == 0 ? ranges[0].start.size == 0
                                 : lw_compare(ranges[index - 1].end, ranges[index].start) == 0;
        bool ends = (ranges[index].end.size == 0) == (index == count - 1);
        if (!begins || !ends) {
            return no(&at, "a key is in the range of no shard, or of two, at shard %" PRIu64,
                      ranges[index].shard);
        }
    }
    return count > 0 ? leaders_settle(&at, count) : no(&at, "there is no shard");
}

bool lw_sim_converged(const lw_sim_trial *it, char why[LW_SIM_WHY_SIZE]) {
    range *ranges = lw_allocate(it->memory, (it->watch.shard_count + 1) * sizeof(*ranges));
    bool all = converged(it, why, ranges);
    lw_free(it->memory, ranges);
    return all;
}

/* ---- equal data ----------------------------------------------------------------------------- */

/* One replica, read by a fiber of its node. */
typedef struct reading {
    lw_tree *tree;
    lw_env *env;
    uint64_t shard;
    uint32_t place;
    uint64_t index, bounds, safepoint, hash, entries;
    lw_status status;
    bool moved; /* the safepoint, while it was compacted: nobody knows what that went by */
    bool done;
} reading;

struct lw_sim_comparison {
    struct lw_sim_comparison *before; /* whose fibers may still read */
    reading readings[LW_SIM_WATCHED_MAX * LW_SIM_NODES_MAX];
    uint32_t count;
};

/* A tree is split before the entry of the split counts as applied. */
static uint64_t hash_of_bounds(const lw_tree *tree) {
    uint32_t count;
    const lw_key_range *bounds = lw_tree_bounds(tree, &count);
    uint64_t hash = count;
    for (uint32_t index = 0; index < count; index++) {
        hash = lw_hash(lw_hash(hash, bounds[index].lower), bounds[index].upper);
    }
    return hash;
}

/* After a compaction what the safepoint lets go is gone everywhere alike. */
LW_YIELDS static lw_status read_replica(reading *self) {
    self->safepoint = lw_tree_safepoint(self->tree);
    LW_TRY(lw_tree_compact(self->tree));
    self->moved = lw_tree_safepoint(self->tree) != self->safepoint;
    self->index = lw_tree_applied(self->tree);
    self->bounds = hash_of_bounds(self->tree);
    lw_snapshot *snapshot = lw_snapshot_open(self->tree);
    lw_cursor *cursor = lw_cursor_open(snapshot, (lw_bytes){0}, (lw_bytes){0});
    lw_status status = lw_cursor_first(cursor);
    while (status == LW_OK && lw_cursor_valid(cursor)) {
        self->hash = lw_hash(self->hash, lw_cursor_key(cursor));
        self->hash = lw_hash(self->hash, lw_cursor_value(cursor));
        self->entries++;
        status = lw_cursor_next(cursor);
    }
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    return status;
}

LW_YIELDS static void reading_main(void *argument) {
    reading *self = argument;
    self->status = read_replica(self);
    self->done = true;
}

void lw_sim_compare_begin(lw_sim_trial *it) {
    struct lw_sim_comparison *all = lw_allocate(it->memory, sizeof(*all));
    all->before = it->comparison;
    all->count = 0;
    it->comparison = all;
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_shards *shards = shards_at(it, place);
        for (uint32_t index = 0; shards != NULL && index < lw_shards_count(shards); index++) {
            lw_shard_descriptor shard;
            const lw_replica *replica = lw_shards_at(shards, index);
            lw_replica_descriptor(replica, &shard);
            if (lw_replica_tree(replica) == NULL) {
                continue;
            }
            reading *one = &all->readings[all->count++];
            *one = (reading){.tree = lw_replica_tree(replica),
                             .env = it->nodes[place].env,
                             .shard = shard.id,
                             .place = place};
            lw_env_start(one->env, "reading", reading_main, one);
        }
    }
}

void lw_sim_compare_close(lw_sim_trial *it) {
    while (it->comparison != NULL) {
        struct lw_sim_comparison *last = it->comparison;
        it->comparison = last->before;
        lw_free(it->memory, last);
    }
}

/* Two replicas of a shard. */
static lw_sim_likeness likeness(const lw_sim_trial *it, const reading *one, const reading *other,
                                char why[LW_SIM_WHY_SIZE]) {
    if (one->status != LW_OK || other->status != LW_OK || one->moved || other->moved ||
        one->index != other->index || one->bounds != other->bounds ||
        one->safepoint != other->safepoint) {
        (void)snprintf(why, LW_SIM_WHY_SIZE,
                       "shard %" PRIu64 " was not read at one moment: %s at %" PRIu64
                       " above %" PRIu64 ", %s at %" PRIu64 " above %" PRIu64,
                       one->shard, it->nodes[one->place].name, one->index, one->safepoint,
                       it->nodes[other->place].name, other->index, other->safepoint);
        return LW_SIM_UNLIKE_MOMENTS;
    }
    if (one->hash != other->hash) {
        (void)snprintf(why, LW_SIM_WHY_SIZE,
                       "%s has %" PRIu64 " entries in shard %" PRIu64 " at index %" PRIu64
                       ", %s has %" PRIu64 ", not the same",
                       it->nodes[one->place].name, one->entries, one->shard, one->index,
                       it->nodes[other->place].name, other->entries);
        return LW_SIM_DIFFERENT;
    }
    return LW_SIM_ALIKE;
}

lw_sim_likeness lw_sim_compare_end(const lw_sim_trial *it, char why[LW_SIM_WHY_SIZE]) {
    const struct lw_sim_comparison *all = it->comparison;
    lw_sim_likeness worst = LW_SIM_ALIKE;
    for (uint32_t index = 0; index < all->count; index++) {
        if (!all->readings[index].done) {
            return LW_SIM_READING;
        }
    }
    for (uint32_t index = 0; index < all->count; index++) {
        for (uint32_t other = 0; other < index; other++) {
            const reading *one = &all->readings[index], *two = &all->readings[other];
            if (one->shard != two->shard || worst == LW_SIM_DIFFERENT) {
                continue;
            }
            lw_sim_likeness pair = likeness(it, two, one, why);
            worst = pair == LW_SIM_ALIKE ? worst : pair;
        }
    }
    return worst;
}
