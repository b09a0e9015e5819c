/* SPDX-License-Identifier: Apache-2.0 */
/* What befalls the small world of tests/raft_world.h: crashes, links that break, pauses, members
 * that come and go, transfers; by chance, and some of it after one another. */
#ifndef LW_TESTS_RAFT_WORLD_TROUBLE_H
#define LW_TESTS_RAFT_WORLD_TROUBLE_H

#include "tests/raft_world.h"

/* News of a link that broke come sooner than of one that is whole again. */
static inline void set_link(world *w, uint64_t a, uint64_t b, bool down) {
    for (uint32_t side = 0; side < 2; side++) {
        uint64_t delay = between(w, 0, 15 * MILLISECOND) + (down ? 0 : 15 * MILLISECOND);
        event *made = schedule(w, LINK, side == 0 ? a : b, delay);
        if (made != NULL) {
            made->other = side == 0 ? b : a;
            made->flag = down;
        }
    }
}

static inline void tell_links(world *w, uint64_t id, bool down) {
    for (uint64_t other = 1; other <= NODE_COUNT; other++) {
        if (other != id) {
            set_link(w, id, other, down);
        }
    }
}

static inline void crash(world *w, uint64_t id) {
    if (!w->nodes[id].up) {
        return;
    }
    node_crash(w, id);
    tell_links(w, id, true);
    schedule(w, RESTART, id, between(w, 0, percent(w, 50) ? ELECTION / 10 : 2 * ELECTION));
}

static inline void partition(world *w) {
    uint64_t a = between(w, 1, NODE_COUNT);
    bool one_way = percent(w, 50);
    SAY(w, "%d is cut off%s", (int)a, one_way ? " one way" : "");
    for (uint64_t b = 1; b <= NODE_COUNT; b++) {
        if (b != a && percent(w, 70)) {
            w->blocked[a][b] = true;
            w->blocked[b][a] = !one_way;
            if (percent(w, 50)) {
                set_link(w, a, b, true);
            }
        }
    }
}

static inline void mend(world *w) {
    SAY(w, "links are mended");
    memset(w->blocked, 0, sizeof(w->blocked));
    for (uint64_t a = 1; a <= NODE_COUNT; a++) {
        for (uint64_t b = a + 1; b <= NODE_COUNT; b++) {
            set_link(w, a, b, false);
        }
    }
}

static inline uint64_t any_leader(world *w) {
    uint64_t from = between(w, 1, NODE_COUNT);
    for (uint64_t step = 0; step < NODE_COUNT; step++) {
        uint64_t id = (from + step - 1) % NODE_COUNT + 1;
        if (w->nodes[id].up && w->nodes[id].leads) {
            return id;
        }
    }
    return 0;
}

static inline void set_member(lw_raft_config *config, uint64_t id, lw_raft_membership membership) {
    uint32_t at = 0;
    while (at < config->count && config->members[at].node < id) {
        at++;
    }
    if (at == config->count || config->members[at].node != id) {
        memmove(&config->members[at + 1], &config->members[at],
                (config->count - at) * sizeof(config->members[0]));
        config->count++;
    }
    config->members[at] = (lw_raft_member){.node = id, .membership = membership};
}

static inline void remove_member(lw_raft_config *config, uint64_t id) {
    for (uint32_t at = 0; at < config->count; at++) {
        if (config->members[at].node == id) {
            config->count--;
            memmove(&config->members[at], &config->members[at + 1],
                    (config->count - at) * sizeof(config->members[0]));
        }
    }
}

/* A learner comes or goes, learners become voters, voters leave; the core says what may be. */
static inline void change_members(world *w) {
    uint64_t leader = any_leader(w);
    if (leader == 0 || lw_raft_config_joint(&w->nodes[leader].raft.config)) {
        return;
    }
    lw_raft_config config = w->nodes[leader].raft.config;
    bool voters_change = percent(w, 60);
    for (uint64_t id = 1; id <= NODE_COUNT; id++) {
        const lw_raft_member *member = lw_raft_config_find(&config, id);
        if (member == NULL) {
            if (percent(w, 40)) {
                set_member(&config, id, LW_RAFT_LEARNER);
            }
        } else if (member->membership == LW_RAFT_LEARNER) {
            if (voters_change && percent(w, 70) &&
                (lw_raft_caught_up(&w->nodes[leader].raft, id) ||
                 (w->bugs >> LW_RAFT_BUG_JOINS_BEHIND & 1) != 0)) {
                set_member(&config, id, LW_RAFT_JOINING);
            } else if (percent(w, 10)) {
                remove_member(&config, id);
            }
        } else if (voters_change && percent(w, 30)) {
            set_member(&config, id, LW_RAFT_LEAVING);
        }
    }
    /* Learners of this very entry are not known to it before: no voter may come so. */
    if (lw_raft_config_valid(&config)) {
        propose(w, leader, 1, add_config(w, &config));
    }
}

static inline void transfer(world *w) {
    uint64_t leader = any_leader(w);
    if (leader != 0) {
        node *n = &w->nodes[leader];
        uint64_t to = between(w, 1, NODE_COUNT);
        if (lw_raft_transfer(&n->raft, to, clock_of(w, n)) == LW_OK) {
            w->transfers++;
            SAY(w, "%d hands over to %d", (int)leader, (int)to);
        }
        settle(w, leader);
    }
}

static inline void pause_node(world *w) {
    node *n = &w->nodes[between(w, 1, NODE_COUNT)];
    n->paused_until = w->now + between(w, 1, 3 * ELECTION);
}

/* The leader keeps one or two others, who may then have what nobody else has. */
static inline void strand_leader(world *w) {
    uint64_t leader = any_leader(w);
    if (leader == 0) {
        return;
    }
    uint64_t kept = between(w, 1, NODE_COUNT);
    SAY(w, "%d is left with %d", (int)leader, (int)kept);
    for (uint64_t id = 1; id <= NODE_COUNT; id++) {
        if (id != leader && id != kept) {
            w->blocked[leader][id] = true;
            w->blocked[id][leader] = true;
        }
    }
    event *made = schedule(w, BETRAYAL, 0, between(w, ELECTION / 2, 2 * ELECTION));
    if (made != NULL) {
        made->other = leader;
        made->index = kept;
    }
}

static inline void betray(world *w, uint64_t leader, uint64_t kept) {
    if (w->calm || leader == kept || !w->nodes[leader].leads || !w->nodes[kept].up) {
        return;
    }
    SAY(w, "%d leaves %d alone", (int)kept, (int)leader);
    w->blocked[leader][kept] = true;
    w->blocked[kept][leader] = true;
    node_crash(w, kept);
    tell_links(w, kept, true);
    schedule(w, RESTART, kept, between(w, 0, ELECTION / 50));
}

static inline void crash_leader(world *w) {
    uint64_t leader = any_leader(w);
    if (leader != 0) {
        crash(w, leader);
    }
}

static inline void crash_any(world *w) {
    crash(w, between(w, 1, NODE_COUNT));
}

/* Something befalls the leader while its change is in flight. */
static inline void change_in_trouble(world *w) {
    strand_leader(w);
    change_members(w);
    if (percent(w, 30)) {
        crash_leader(w);
    }
}

static inline void stand_any(world *w) {
    node *n = &w->nodes[between(w, 1, NODE_COUNT)];
    if (n->up) {
        lw_raft_campaign(&n->raft, clock_of(w, n));
    }
}

static inline void vary_network(world *w) {
    w->loss_percent = (uint32_t)between(w, 0, 20);
    w->double_percent = (uint32_t)between(w, 0, 30);
    w->late_percent = (uint32_t)between(w, 0, 20);
}

static void (*const troubles[TROUBLE_COUNT])(world *w) = {
    crash_any, crash_leader,      partition, mend,       strand_leader, change_members,
    transfer,  change_in_trouble, stand_any, pause_node, vary_network,
};

/* Which troubles a seed prefers is chance too: some only happen where others do not interfere. */
static inline void nemesis(world *w) {
    uint64_t total = 0;
    for (uint32_t place = 0; place < TROUBLE_COUNT; place++) {
        total += w->preferred[place];
    }
    uint64_t choice = between(w, 0, total - 1);
    uint32_t place = 0;
    while (choice >= w->preferred[place]) {
        choice -= w->preferred[place++];
    }
    troubles[place](w);
    for (uint64_t each = 1; each <= NODE_COUNT; each++) {
        if (w->nodes[each].up) {
            settle(w, each);
        }
    }
}

#endif
