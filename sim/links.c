/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/links.h"

enum {
    TROUBLE_MS = 14000,
    LINKED_MS = 25000, /* of peace, within which all are linked */
    LOOK_MS = 20,
    BOOT_PERCENT = 8, /* of the looks at a node that is down */
    CRASH_MS = 2500,  /* mean times between what strikes */
    PAUSE_MS = 4000,
    DIES_PERCENT = 40, /* of those that stop */
    CUT_MS = 3000,
    COPY_MS = 3000,
    COPY_STAYS_MS = 3500,
    CUT_MIN_MS = 500,
    CUT_MAX_MS = 9000,
    MOVE_MS_MAX = 9000,
    SILENCE_MS = 4500,         /* after which a node that is watched is known to be silent */
    ONE_WAY_MS = 3000,         /* within which one that has a link from a node has one to it */
    STRANGER_SIZE = 16 * 1024, /* that each of so many strangers may take, */
    OWN_SIZE = 1024 * 1024,    /* and the node besides */
};

/* ---- a run is drawn ---------------------------------------------------------------------------
 */

static void make_process(lw_sim_links *of, uint32_t place, uint32_t as, const char *host,
                         const char *name, uint32_t port) {
    links_node *node = &of->nodes[place];
    *node = (links_node){.of = of,
                         .place = place,
                         .as = as,
                         .host = lw_world_host(of->of->world, host),
                         .port = port};
    links_identity(&of->key, as, &node->identity);
    node->id = node->identity.node_id;
    (void)snprintf(node->address, sizeof(node->address), "%s:%u", name, (unsigned)port);
}

static void draw_run(lw_sim_links *of, lw_chance *chance) {
    of->watched = lw_chance_percent(chance, 70);
    of->between = lw_chance_percent(chance, 50);
    of->floods = lw_chance_percent(chance, 40);
    of->garbage = lw_chance_percent(chance, 60);
    of->joins = lw_chance_percent(chance, 50);
    of->copies = lw_chance_percent(chance, 50);
    of->cuts = lw_chance_percent(chance, 60);
    of->moves = !of->between && lw_chance_percent(chance, 40);
    of->pairs = lw_chance_percent(chance, 40);
    of->changes = lw_chance_percent(chance, 50);
}

void lw_sim_links_begin(lw_sim_trial *it) {
    lw_memory *memory = lw_memory_open();
    lw_chance chance = lw_world_chance(it->world, "links");
    lw_sim_links *of = lw_allocate_zero(memory, sizeof(*of));
    it->links = of;
    of->of = it;
    of->memory = memory;
    of->node_count = it->node_count < LINKS_NODES_MAX ? it->node_count : (uint32_t)LINKS_NODES_MAX;
    of->key.epoch = of->other_key.epoch = 1;
    memset(of->key.id, 7, sizeof(of->key.id));
    memset(of->key.key, 9, sizeof(of->key.key));
    memset(of->other_key.id, 7, sizeof(of->other_key.id));
    memset(of->other_key.key, 8, sizeof(of->other_key.key));
    for (uint32_t place = 0; place < of->node_count; place++) {
        make_process(of, place, place, it->nodes[place].name, it->nodes[place].name, LINKS_PORT);
    }
    make_process(of, LINKS_COPY, 0, "copy", "copy", LINKS_PORT);
    make_process(of, LINKS_PAIR, LINKS_PAIR, "pair", "127.0.0.1", 1);
    make_process(of, LINKS_PAIR + 1, LINKS_PAIR + 1, "pair", "localhost", 2);
    draw_run(of, &chance);
}

void lw_sim_links_end(lw_sim_trial *it) {
    if (it->links != NULL) {
        it->workload.committed = it->links->arrived;
        lw_memory_close(it->links->memory);
        it->links = NULL;
    }
}

/* ---- what strikes -----------------------------------------------------------------------------
 */

static links_node *draw_node(lw_sim_occasion *now) {
    lw_sim_links *of = now->of->links;
    return &of->nodes[lw_chance_below(&now->chance, of->node_count)];
}

static void end_process(links_node *node, bool power_loss) {
    if (lw_host_running(node->host)) {
        (power_loss ? lw_host_crash : lw_host_kill)(node->host);
    }
    node->env = NULL;
    node->peers = NULL;
    node->server = NULL;
}

static void crash(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_CRASHES);
    lw_sim_strike_after(&now, CRASH_MS, crash);
    links_node *node = draw_node(&now);
    bool power = lw_chance_percent(&now.chance, 50);
    if (!it->links->copying && lw_host_running(node->host) &&
        lw_sim_strikes(&now, LW_FAULT_CRASH, "node%u %s", (unsigned)node->place + 1,
                       power ? "loses power" : "is killed")) {
        end_process(node, power);
    }
}

static bool is_paused(const links_node *node) {
    return lw_host_paused_until(node->host) > lw_world_now(node->of->of->world);
}

/* Who stopped, and loses power before it goes on: what others sent it is lost, and they hear of
 * nothing. */
static void die(void *argument) {
    lw_sim_trial *it = argument;
    lw_sim_links *of = it->links;
    for (uint32_t place = 0; it->troubled && place < of->node_count; place++) {
        links_node *node = &of->nodes[place];
        if (node->dies == node->life && is_paused(node) && !of->copying) {
            end_process(node, true);
        }
    }
}

static void stop(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_PAUSES);
    lw_sim_strike_after(&now, PAUSE_MS, stop);
    links_node *node = draw_node(&now);
    uint64_t duration_ms = lw_chance_between(&now.chance, 1, 6000);
    bool dies = lw_chance_percent(&now.chance, DIES_PERCENT);
    if (lw_host_running(node->host) &&
        lw_sim_strikes(&now, LW_FAULT_PAUSE, "node%u for %u ms%s", (unsigned)node->place + 1,
                       (unsigned)duration_ms, dies ? ", and loses power meanwhile" : "")) {
        lw_host_pause(node->host, duration_ms * LW_SIM_NS_PER_MS);
        if (dies) {
            node->dies = node->life;
            lw_sim_after(it, lw_chance_below(&now.chance, duration_ms), die);
        }
    }
}

static void mend(void *argument) {
    lw_sim_links *of = ((lw_sim_trial *)argument)->links;
    for (uint32_t one = 0; one < of->node_count; one++) {
        for (uint32_t other = 0; other < one; other++) {
            lw_world_cut(of->of->world, of->nodes[one].host, of->nodes[other].host, false);
        }
    }
}

/* Without a word to anybody: what is sent is not answered. */
static void cut(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_CUTS);
    lw_sim_strike_after(&now, CUT_MS, cut);
    const links_node *one = draw_node(&now), *other = draw_node(&now);
    uint64_t ways = lw_chance_below(&now.chance, 3);
    uint64_t duration_ms = lw_chance_between(&now.chance, CUT_MIN_MS, CUT_MAX_MS);
    if (one == other || !lw_sim_strikes(&now, LW_FAULT_CUT, "node%u from node%u for %u ms",
                                        (unsigned)one->place + 1, (unsigned)other->place + 1,
                                        (unsigned)duration_ms)) {
        return;
    }
    if (ways != 1) {
        lw_world_cut_one_way(it->world, one->host, other->host, true);
    }
    if (ways != 2) {
        lw_world_cut_one_way(it->world, other->host, one->host, true);
    }
    lw_sim_after(it, duration_ms, mend);
}

/* ---- an old copy ------------------------------------------------------------------------------
 */

static void end_copy(void *argument) {
    lw_sim_links *of = ((lw_sim_trial *)argument)->links;
    end_process(&of->nodes[LINKS_COPY], true);
    of->copying = false;
}

/* Whether all others have heard the run of the node that is to end now. */
static bool is_known(const lw_sim_links *of, const links_node *node) {
    for (uint32_t place = 0; place < of->node_count; place++) {
        const links_node *other = &of->nodes[place];
        if (other != node &&
            (!links_up(other) || other->heard[node->place].incarnation != node->incarnation)) {
            return false;
        }
    }
    return links_up(node) && node->incarnation > 1;
}

static void copy(void *argument) {
    lw_sim_trial *it = argument;
    if (!it->troubled) {
        return;
    }
    lw_sim_links *of = it->links;
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_LOSSES);
    lw_sim_strike_after(&now, COPY_MS, copy);
    links_node *node = draw_node(&now), *old = &of->nodes[LINKS_COPY];
    if (of->copying || !is_known(of, node) ||
        !lw_sim_strikes(&now, LW_FAULT_FOLDER_COPIED, "an old copy of node%u is started",
                        (unsigned)node->place + 1)) {
        return;
    }
    of->copying = true;
    end_process(node, true);
    old->as = node->as;
    old->id = node->id;
    old->key_state = node->key_state;
    links_boot(old, node->incarnation - 1, false);
    lw_sim_after(it, COPY_STAYS_MS, end_copy);
}

/* ---- all come to other addresses --------------------------------------------------------------
 */

static void move(void *argument) {
    lw_sim_trial *it = argument;
    lw_sim_links *of = it->links;
    lw_sim_occasion now = lw_sim_next_occasion(it, LW_SIM_FILLS);
    if (!it->troubled || of->copying ||
        !lw_sim_strikes(&now, LW_FAULT_OUTAGE, "all come to other addresses")) {
        return;
    }
    for (uint32_t place = 0; place < of->node_count; place++) {
        links_node *node = &of->nodes[place];
        end_process(node, true);
        node->port++;
        (void)snprintf(node->address, sizeof(node->address), "%s:%u", it->nodes[place].name,
                       (unsigned)node->port);
    }
    for (uint32_t place = 0; place < of->node_count; place++) {
        links_boot(&of->nodes[place], of->nodes[place].incarnation + 1, true);
    }
}

/* ---- what is looked at ------------------------------------------------------------------------
 */

/* Whether a question comes there, and an answer back. */
static bool hears(const links_node *one, const links_node *other) {
    lw_world *world = one->of->of->world;
    uint64_t lag_ns;
    return links_up(other) && !is_paused(other) &&
           lw_world_reaches(world, one->host, other->host, &lag_ns) &&
           lw_world_reaches(world, other->host, one->host, &lag_ns);
}

/* Who stands between answers no pings, but closes as late as it likes. A link may come up while one
 * end does not hear the other any more: by the last of the greeting, which was late. */
static void judge_silence(lw_sim_links *of, uint32_t one, uint32_t other) {
    uint64_t now_ns = lw_world_now(of->of->world), *since_ns = &of->silent_ns[one][other];
    const links_node *from = &of->nodes[one], *to = &of->nodes[other];
    if (hears(from, to) || !links_up(from) || !lw_peers_up(from->peers, to->id)) {
        *since_ns = 0;
        return;
    }
    *since_ns = *since_ns == 0 ? now_ns : *since_ns;
    uint64_t begun_ns = *since_ns > from->awake_ns ? *since_ns : from->awake_ns;
    if (of->watched && !of->between && !is_paused(from) &&
        now_ns > begun_ns + SILENCE_MS * LW_SIM_NS_PER_MS) {
        lw_sim_broken_first(of->of, "silence",
                            "node%u takes node%u for up, which it cannot hear for %u ms", one + 1,
                            other + 1, (unsigned)((now_ns - *since_ns) / LW_SIM_NS_PER_MS));
    }
}

/* Who was dialled by a node dials it. What stands between, or is cut, or holds for seconds what a
 * connection carries, may keep one direction only. */
static void judge_one_way(lw_sim_links *of, uint32_t one, uint32_t other) {
    uint64_t now_ns = lw_world_now(of->of->world), *since_ns = &of->one_way_ns[one][other];
    const links_node *from = &of->nodes[one], *to = &of->nodes[other];
    if (of->between || of->cuts || !links_up(from) || !links_up(to) || is_paused(from) ||
        is_paused(to) || lw_peers_up(from->peers, to->id) || !lw_peers_up(to->peers, from->id)) {
        *since_ns = 0;
        return;
    }
    *since_ns = *since_ns == 0 ? now_ns : *since_ns;
    if (now_ns > *since_ns + ONE_WAY_MS * LW_SIM_NS_PER_MS &&
        lw_world_marked(of->of->world, lw_fault_mark(LW_FAULT_LATE_SEGMENT)) == 0) {
        lw_sim_broken_first(of->of, "one way",
                            "node%u has had a link from node%u for %u ms, and none to it", one + 1,
                            other + 1, (unsigned)((now_ns - *since_ns) / LW_SIM_NS_PER_MS));
    }
}

static void judge_node(lw_sim_links *of, uint32_t place) {
    links_node *node = &of->nodes[place];
    if (is_paused(node)) {
        node->awake_ns = lw_host_paused_until(node->host);
    }
    for (uint32_t other = 0; other < of->node_count; other++) {
        if (other != place) {
            judge_silence(of, place, other);
            judge_one_way(of, place, other);
        }
    }
    size_t most = OWN_SIZE + (size_t)LW_PEERS_STRANGERS_MAX * STRANGER_SIZE;
    if (links_up(node) && lw_memory_used(node->env->memory) > most) {
        lw_sim_broken_first(of->of, "memory", "node%u has %u KB in use", place + 1,
                            (unsigned)(lw_memory_used(node->env->memory) / 1024));
    }
}

static void judge_pair(lw_sim_links *of) {
    const links_node *one = &of->nodes[LINKS_PAIR], *other = one + 1;
    if (!links_up(one) || !links_up(other) || one->plain == other->plain) {
        return;
    }
    const links_node *plain = one->plain ? one : other, *sealed = one->plain ? other : one;
    if (lw_peers_up(plain->peers, sealed->id)) {
        lw_sim_broken_first(of->of, "plain links",
                            "one was made to a node that wants its links protected");
    }
}

/* ---- keeping ----------------------------------------------------------------------------------
 */

static void keep_pair(lw_sim_links *of) {
    lw_sim_trial *it = of->of;
    links_node *one = &of->nodes[LINKS_PAIR];
    if (lw_host_running(one->host)) {
        if (it->troubled && lw_chance_percent(&it->keeping, 1)) {
            end_process(one, false);
            end_process(one + 1, false);
        }
        return;
    }
    for (uint32_t place = LINKS_PAIR; place <= LINKS_PAIR + 1; place++) {
        of->nodes[place].plain = lw_chance_percent(&it->keeping, 50);
        links_boot(&of->nodes[place], of->nodes[place].incarnation + 1, false);
    }
}

static void look(void *argument) {
    lw_sim_trial *it = argument;
    lw_sim_links *of = it->links;
    for (uint32_t place = 0; place < of->node_count; place++) {
        links_node *node = &of->nodes[place];
        bool stands_in = of->copying && of->nodes[LINKS_COPY].as == place;
        if (!lw_host_running(node->host) && !stands_in &&
            (!it->troubled || lw_chance_percent(&it->keeping, BOOT_PERCENT))) {
            links_boot(node, node->incarnation + 1, false);
        }
        judge_node(of, place);
    }
    if (of->changes) {
        links_change_keys(of);
    }
    if (of->pairs) {
        keep_pair(of);
        judge_pair(of);
    }
    lw_sim_after(it, LOOK_MS, look);
}

/* ---- phases -----------------------------------------------------------------------------------
 */

static bool all_linked(const lw_sim_links *of) {
    for (uint32_t one = 0; one < of->node_count; one++) {
        for (uint32_t other = 0; other < of->node_count; other++) {
            if (one != other && (!links_up(&of->nodes[one]) ||
                                 !lw_peers_up(of->nodes[one].peers, of->nodes[other].id))) {
                return false;
            }
        }
    }
    return true;
}

static void begin_trouble(lw_sim_trial *it) {
    lw_sim_links *of = it->links;
    lw_sim_begin_faults(it);
    it->troubled = true;
    lw_sim_after(it, CRASH_MS, crash);
    lw_sim_after(it, PAUSE_MS, stop);
    if (of->cuts) {
        lw_sim_after(it, CUT_MS, cut);
    }
    if (of->copies) {
        lw_sim_after(it, COPY_MS, copy);
    }
    if (of->moves) {
        lw_chance chance = lw_world_chance(it->world, "moves");
        lw_sim_after(it, lw_chance_below(&chance, MOVE_MS_MAX), move);
    }
}

void lw_sim_links_run(lw_sim_trial *it) {
    lw_sim_links *of = it->links;
    begin_trouble(it);
    links_intrude(of);
    look(it);
    uint64_t end = lw_world_now(it->world) + TROUBLE_MS * LW_SIM_NS_PER_MS;
    while (it->result->failures.size == 0 && lw_world_now(it->world) < end) {
        (void)lw_world_run(it->world, lw_world_now(it->world) + LOOK_MS * LW_SIM_NS_PER_MS);
    }
    lw_sim_end_trouble(it);
    mend(it);
    uint64_t arrived = of->arrived;
    end = lw_world_now(it->world) + LINKED_MS * LW_SIM_NS_PER_MS;
    while (it->result->failures.size == 0 && lw_world_now(it->world) < end &&
           (!all_linked(of) || of->arrived < arrived + 10)) {
        (void)lw_world_run(it->world, lw_world_now(it->world) + LOOK_MS * LW_SIM_NS_PER_MS);
    }
    it->result->lively_ms = (lw_world_now(it->world) - it->peace_ns) / LW_SIM_NS_PER_MS;
    it->result->resumed_ms = it->result->lively_ms;
    if (!all_linked(of)) {
        lw_sim_broken_first(of->of, "liveness", "not all are linked within 25 s after the faults");
    }
}
