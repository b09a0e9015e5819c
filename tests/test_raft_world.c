/* SPDX-License-Identifier: Apache-2.0 */
/* The consensus core under every fault at once, thousands of seeds a run; and planted bugs, each of
 * which it must find. RAFT_SEED=n shows one run, RAFT_RUNS=n makes more of them. */
#include "tests/raft_world_trouble.h"

#include <stdlib.h>

/* ---- one run --------------------------------------------------------------------------------- */

static void client(world *w) {
    uint64_t id = percent(w, 80) ? any_leader(w) : between(w, 1, NODE_COUNT);
    if (id == 0 || !w->nodes[id].up || w->nodes[id].paused_until > w->now) {
        return;
    }
    node *n = &w->nodes[id];
    if (percent(w, 70)) {
        propose(w, id, (uint32_t)between(w, 1, 3), 0);
    } else if (n->ticket.round == 0) {
        uint64_t needs = w->acknowledged;
        if (lw_raft_read(&n->raft, clock_of(w, n), &n->ticket) == LW_OK) {
            n->ticket_needs = needs;
        } else {
            n->ticket.round = 0;
        }
    }
    settle(w, id);
}

static void link_changed(world *w, const event *e) {
    node *n = &w->nodes[e->node];
    n->cut_off[e->other] = e->flag;
    if (e->flag) {
        lw_raft_unreachable(&n->raft, e->other, clock_of(w, n));
    } else {
        lw_raft_reachable(&n->raft, e->other, clock_of(w, n));
    }
}

/* What happens to one life of one node, once that is awake. */
static void node_event(world *w, event *e) {
    node *n = &w->nodes[e->node];
    switch (e->kind) {
    case DELIVER:
        receive(w, e);
        break;
    case DISK_DONE:
        disk_done(w, e->node);
        break;
    case TICK:
        if (n->tick_at > w->now) {
            return; /* another one is scheduled */
        }
        n->tick_at = UINT64_MAX;
        lw_raft_tick(&n->raft, clock_of(w, n));
        break;
    case LOADED:
        loaded(w, e);
        break;
    case LINK:
        link_changed(w, e);
        break;
    case SNAPSHOT_ARRIVES:
        snapshot_arrives(w, e);
        break;
    case SNAPSHOT_DURABLE:
        snapshot_durable(w, e);
        break;
    case SNAPSHOT_ENDED:
        lw_raft_snapshot_sent(&n->raft, e->other, e->index, clock_of(w, n));
        break;
    case CLIENT:
    case NEMESIS:
    case BETRAYAL:
    case RESTART:
        LW_ASSERT(false);
    }
    settle(w, e->node);
}

static void one_event(world *w) {
    uint16_t slot = next_event(w);
    event e = w->events[slot];
    w->now = e.at;
    w->spare[w->spare_count++] = slot;
    if (e.kind == CLIENT && !w->silence) {
        client(w);
        schedule(w, CLIENT, 0, between(w, 0, w->calm ? 6 * MILLISECOND : w->client_gap));
    } else if (e.kind == NEMESIS && !w->calm) {
        nemesis(w);
        schedule(w, NEMESIS, 0, between(w, 0, w->trouble_gap));
    } else if (e.kind == BETRAYAL) {
        betray(w, e.other, e.index);
    } else if (e.kind == RESTART && !w->nodes[e.node].up) {
        node_start(w, e.node);
        tell_links(w, e.node, false);
    }
    node *n = &w->nodes[e.node];
    /* A message or a link's news is for whoever lives there now, the rest for who began it. */
    bool lives = n->up && (n->life == e.life || e.kind == DELIVER || e.kind == LINK ||
                           e.kind == SNAPSHOT_ARRIVES);
    if (e.kind == CLIENT || e.kind == NEMESIS || e.kind == BETRAYAL || e.kind == RESTART) {
        return;
    }
    if (!lives) {
        if (e.kind == SNAPSHOT_ARRIVES || e.kind == SNAPSHOT_DURABLE) {
            snapshot_answer(w, &e, 0);
        }
        return;
    }
    if (n->paused_until > w->now) {
        uint64_t life = e.life;
        event *later = schedule(w, e.kind, e.node, n->paused_until - w->now);
        if (later != NULL) {
            uint64_t at = later->at;
            uint64_t order = later->order;
            *later = e;
            later->at = at;
            later->order = order;
            later->life = life;
        }
        return;
    }
    node_event(w, &e);
}

static void run_until(world *w, uint64_t until) {
    while (w->failure[0] == '\0' && w->heap_count > 0 && w->events[w->heap[0]].at <= until) {
        one_event(w);
    }
    w->now = until;
}

static void world_open(world *w, uint64_t seed, uint64_t bugs) {
    lw_memory *memory = w->memory;
    bool verbose = w->verbose;
    memset(w, 0, offsetof(world, events));
    memset(&w->heap_count, 0, sizeof(world) - offsetof(world, heap_count));
    w->memory = memory;
    w->verbose = verbose;
    w->bytes = lw_buffer_in(memory);
    w->seed = seed;
    w->bugs = bugs;
    w->chance = lw_chance_of(seed, 1);
    for (uint32_t slot = 0; slot < EVENT_MAX; slot++) {
        w->spare[w->spare_count++] = (uint16_t)(EVENT_MAX - 1 - slot);
    }
    w->through_codec = seed % 8 == 0;
    w->quiesce_after = percent(w, 50) ? LW_RAFT_NEVER : between(w, 1, 4) * HEARTBEAT;
    for (uint32_t place = 0; place < TROUBLE_COUNT; place++) {
        w->preferred[place] = percent(w, 40) ? 0 : between(w, 1, 10);
    }
    w->preferred[3] += 3; /* links are mended */
    w->client_gap = (percent(w, 30) ? 300 : 6) * MILLISECOND;
    w->trouble_gap = between(w, 10, 80) * MILLISECOND;
    w->drift_ppm = percent(w, 30) ? 200000 : 20000;
    bool fast = percent(w, 50);
    w->delay_max = fast ? MILLISECOND : 5 * MILLISECOND;
    w->disk_max = fast ? MILLISECOND / 2 : 4 * MILLISECOND;
    lw_raft_config first = {0};
    uint64_t voters = percent(w, 10) ? 1 : between(w, 1, 2) * 2 + 1;
    for (uint64_t id = 1; id <= voters; id++) {
        set_member(&first, id, LW_RAFT_VOTER);
    }
    uint32_t config = add_config(w, &first);
    for (uint64_t id = 1; id <= NODE_COUNT; id++) {
        node *n = &w->nodes[id];
        n->drift_ppm = (int64_t)between(w, 0, 2 * w->drift_ppm) - (int64_t)w->drift_ppm;
        n->disk.start_config = id <= voters ? config : 0;
        node_start(w, id);
    }
    schedule(w, CLIENT, 0, 0);
    schedule(w, NEMESIS, 0, MILLISECOND * 200);
}

/* Once faults have ended: one leader, everybody has everything, and nobody has anything to do. */
static void check_healed(world *w) {
    uint64_t leader = 0;
    for (uint64_t id = 1; id <= NODE_COUNT; id++) {
        if (w->nodes[id].leads &&
            (leader == 0 || w->nodes[id].raft.term > w->nodes[leader].raft.term)) {
            leader = id;
        }
    }
    if (leader == 0) {
        world_fail(w, "nobody leads after all is healed");
        return;
    }
    const node *l = &w->nodes[leader];
    if (lw_raft_config_joint(&l->raft.config) || lw_raft_config_in_flight(&l->raft)) {
        world_fail(w, "members are still changing after all is healed");
    }
    for (uint32_t place = 0; place < l->raft.config.count; place++) {
        uint64_t id = l->raft.config.members[place].node;
        const node *n = &w->nodes[id];
        if (n->applied != l->raft.last_index || n->raft.leader != leader) {
            world_fail(w, "node %d applied %d of %d and follows %d, not %d", (int)id,
                       (int)n->applied, (int)l->raft.last_index, (int)n->raft.leader, (int)leader);
        }
        bool rests = lw_raft_deadline(&n->raft) == LW_RAFT_NEVER;
        w->rests += rests;
        if (w->quiesce_after != LW_RAFT_NEVER && !rests) {
            world_fail(w, "node %d is not silent, though idle", (int)id);
        }
    }
}

static void heal(world *w) {
    SAY(w, "---- all is healed");
    w->calm = true;
    w->loss_percent = 0;
    w->double_percent = 0;
    w->late_percent = 0;
    for (uint64_t id = 1; id <= NODE_COUNT; id++) {
        if (!w->nodes[id].up) {
            node_start(w, id);
        }
    }
    mend(w);
}

static void world_run(world *w, uint64_t seed, uint64_t bugs) {
    world_open(w, seed, bugs);
    uint64_t healed = percent(w, 80) ? 12 : 30;
    run_until(w, healed * ELECTION);
    heal(w);
    run_until(w, (healed + 8) * ELECTION);
    uint64_t before = w->acknowledged;
    run_until(w, (healed + 11) * ELECTION);
    if (w->acknowledged <= before) {
        world_fail(w, "nothing is committed after all is healed");
    }
    w->silence = true;
    run_until(w, (healed + 18) * ELECTION);
    if (w->failure[0] == '\0') {
        check_healed(w);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static world *new_world(lw_memory *memory) {
    world *w = lw_allocate_zero(memory, sizeof(world));
    w->memory = memory;
    return w;
}

static void all_promises_are_kept_under_faults(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    uint64_t runs = number("RAFT_RUNS", 200);
#else
    uint64_t runs = number("RAFT_RUNS", 1000);
#endif
    uint64_t first = number("RAFT_SEED", 0);
    bool one = getenv("RAFT_SEED") != NULL;
    lw_memory *memory = lw_memory_open();
    world *w = new_world(memory);
    w->verbose = one;
    uint64_t seen[7] = {0};
    for (uint64_t seed = first; seed < first + (one ? 1 : runs); seed++) {
        world_run(w, seed, 0);
        if (w->failure[0] != '\0') {
            fail_msg("RAFT_SEED=%llu: %s", (unsigned long long)seed, w->failure);
        }
        uint64_t happened[7] = {w->elections, w->changes,   w->snapshots, w->reads,
                                w->leases,    w->transfers, w->rests};
        for (uint32_t place = 0; place < 7; place++) {
            seen[place] += happened[place];
        }
    }
    printf("elections %llu, changes %llu, snapshots %llu, reads %llu, leases %llu, transfers %llu, "
           "rests %llu\n",
           (unsigned long long)seen[0], (unsigned long long)seen[1], (unsigned long long)seen[2],
           (unsigned long long)seen[3], (unsigned long long)seen[4], (unsigned long long)seen[5],
           (unsigned long long)seen[6]);
    lw_memory_close(memory);
}

/* ---- planted bugs ---------------------------------------------------------------------------- */

typedef struct hunt {
    lw_raft_bug bug;
    uint64_t first_seed; /* one that found it when it was last looked; others follow if not now */
} hunt;

/* CUTS_IGNORED, OLD_TERM_COUNTED, CONFIG_KEPT and OLD_HANDOVER need thousands of seeds, if these
 * are enough: test_raft.c and test_raft_members.c find them. */
static const hunt planted[] = {
    {LW_RAFT_BUG_UNSAVED_VOTE, 0},        {LW_RAFT_BUG_UNPERSISTED_ENTRIES, 0},
    {LW_RAFT_BUG_LEARNERS_COUNTED, 1},    {LW_RAFT_BUG_ONE_SET_COUNTED, 44},
    {LW_RAFT_BUG_VOTES_FREELY, 0},        {LW_RAFT_BUG_VOTES_AFTER_RESTART, 743},
    {LW_RAFT_BUG_LEASE_FROM_ANSWER, 161}, {LW_RAFT_BUG_LEASE_WITHOUT_DRIFT, 1526},
    {LW_RAFT_BUG_LEASE_IN_TRANSFER, 47},  {LW_RAFT_BUG_ANY_LOG_ELECTED, 1},
    {LW_RAFT_BUG_CUT_ALWAYS, 3},          {LW_RAFT_BUG_COMMIT_UNVERIFIED, 3},
    {LW_RAFT_BUG_READ_EARLY, 1},          {LW_RAFT_BUG_READ_UNCONFIRMED, 47},
    {LW_RAFT_BUG_MADE_ANEW_VOTES, 16},    {LW_RAFT_BUG_JOINS_BEHIND, 1},
};

/* In a child: says at which seed the bug was found, or ends with 0. A failed assertion finds it
 * too. */
static void hunt_bug(void *argument) {
    const hunt *one = argument;
    world *w = new_world(lw_memory_open());
    uint64_t count = number("RAFT_SURVEY", 200);
    for (uint64_t seed = one->first_seed; seed < one->first_seed + count; seed++) {
        fprintf(stderr, "\n%llu: ", (unsigned long long)seed);
        world_run(w, seed, 1ULL << one->bug);
        if (w->failure[0] != '\0') {
            fprintf(stderr, "%s", w->failure);
            _exit(1);
        }
    }
}

/* RAFT_SURVEY=n looks from seed 0 on, through n of them, and says where each bug is found. */
static void planted_bugs_are_found(void **state) {
    (void)state;
    static char text[1 << 20];
    bool survey = getenv("RAFT_SURVEY") != NULL;
    if (survey) {
        alarm(0);
    }
    for (uint32_t place = 0; place < sizeof(planted) / sizeof(planted[0]); place++) {
        hunt one = planted[place];
        one.first_seed = survey ? 0 : one.first_seed;
        bool found = unit_child(hunt_bug, &one, text, sizeof(text)) != 0;
        if (survey) {
            const char *line = strrchr(text, '\n');
            printf("bug %d, %s%s\n", (int)one.bug, found ? "seed " : "not found up to seed ",
                   line == NULL ? text : line + 1);
        } else if (!found) {
            fail_msg("bug %d is not found; look with RAFT_SURVEY=5000", (int)one.bug);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_promises_are_kept_under_faults),
        cmocka_unit_test(planted_bugs_are_found),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
