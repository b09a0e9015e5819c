/* SPDX-License-Identifier: Apache-2.0 */
/* How the lattice's machines scale, far beyond what runs here: gossip, members, directory and
 * placement of 10, 100 and 300 nodes with 100 to 10,000 shards, on one clock, with a bus that takes
 * up to ten milliseconds. Nothing else of a node is there, and signatures are not checked (the
 * linker puts __wrap_lw_identity_verify in their place): what that costs is told apart.
 *
 *   bench_scale SVG    a table on standard output, the same as a plot in the file SVG */
#include "base/hash.h"
#include "lattice/placement_private.h"
#include "tests/gossip_story.h"

#include <time.h>

enum {
    SIZES = 3,
    VOTERS = 3,
    IDLE_BEATS = 8,
    OUTAGE_PERCENT = 1,
    CHANGES = 5,
    STEP_MS = 5,
    LIMIT_MS = 120000,
};

static const uint32_t node_counts[SIZES] = {10, 100, 300};
static const uint32_t shard_counts[SIZES] = {100, 1000, 10000};

typedef enum figure {
    IDLE_SENT,      /* bytes a node says in a second while nothing happens */
    IDLE_HEARD,     /* and is given to read */
    CHANGE_MS,      /* from one change until all know */
    DEATH_MS,       /* from the last of a dead node's shards being led by another, until all know */
    DEATH_BYTES,    /* that each node was given to read for it, heartbeats left out */
    NEWCOMER_MS,    /* until who knew no shard knows all */
    NEWCOMER_BYTES, /* that it was given to read */
    OUTAGE_MS,    /* from the end of an outage in which 1 % of the shards changed, until all know */
    OUTAGE_BYTES, /* that each node was given to read for it, heartbeats left out */
    DIRECTORY_BYTES, /* memory of a node's directory */
    JOIN_MOVED,      /* replicas that move when a node comes, in percent of its fair share */
    LEAVE_MOVED,     /* when one goes, in percent of what it held */
    SPREAD,          /* of the fullest node, in percent of the mean */
    FIGURES,
} figure;

static const struct {
    const char *name, *unit;
    double divisor;
} figures[FIGURES] = {
    [IDLE_SENT] = {"said, idle", "KB/s a node", 1e3},
    [IDLE_HEARD] = {"heard, idle", "KB/s a node", 1e3},
    [CHANGE_MS] = {"one change is known to all", "ms", 1},
    [DEATH_MS] = {"a dead node's shards are known", "ms", 1},
    [DEATH_BYTES] = {"heard after a death", "KB a node", 1e3},
    [NEWCOMER_MS] = {"a newcomer knows all shards", "s", 1e3},
    [NEWCOMER_BYTES] = {"a newcomer hears", "MB", 1e6},
    [OUTAGE_MS] = {"all are equal after an outage", "s", 1e3},
    [OUTAGE_BYTES] = {"heard after an outage", "KB a node", 1e3},
    [DIRECTORY_BYTES] = {"memory of the directory", "MB a node", 1e6},
    [JOIN_MOVED] = {"moved when a node comes", "% of its share", 1},
    [LEAVE_MOVED] = {"moved when a node goes", "% of its share", 1},
    [SPREAD] = {"replicas on the fullest node", "% of the mean", 1},
};

typedef double table[FIGURES][SIZES][SIZES]; /* by nodes, then shards */

/* Stands in for Ed25519: the linker's --wrap. */
bool __wrap_lw_identity_verify(const uint8_t *public_key, lw_bytes message,
                               const uint8_t *signature);
bool __wrap_lw_identity_verify(const uint8_t *public_key, lw_bytes message,
                               const uint8_t *signature) {
    return public_key != NULL && message.size > 0 && signature != NULL;
}

/* ---- gossip --------------------------------------------------------------------------------- */

static int by_node(const void *one, const void *other) {
    uint64_t a = ((const lw_shard_replica *)one)->node, b = ((const lw_shard_replica *)other)->node;
    return (a > b) - (a < b);
}

static lw_directory_row make_row(const gossip_world *world, uint32_t shard, uint64_t term,
                                 char keys[2][17]) {
    (void)snprintf(keys[0], 17, "key-%012u", shard);
    (void)snprintf(keys[1], 17, "key-%012u", shard + 1);
    uint32_t leader = (shard + (uint32_t)term) % world->count;
    lw_directory_row row = {.shard = {.id = lw_mix(shard + 1),
                                      .epoch = {1, 1},
                                      .start = lw_text(keys[0]),
                                      .end = lw_text(keys[1]),
                                      .leader = world->ids[leader],
                                      .replica_count = VOTERS},
                            .term = term};
    for (uint32_t replica = 0; replica < VOTERS; replica++) {
        row.shard.replicas[replica] =
            (lw_shard_replica){world->ids[(shard + replica) % world->count], LW_REPLICA_VOTER};
    }
    qsort(row.shard.replicas, VOTERS, sizeof(row.shard.replicas[0]), by_node);
    return row;
}

/* Another leads the shard from now on, and says so. */
static void change_leader(gossip_world *world, uint32_t shard, uint64_t term) {
    char keys[2][17];
    lw_directory_row row = make_row(world, shard, term, keys);
    uint32_t leader = gossip_index(world, row.shard.leader);
    lw_gossip_shard(world->nodes[leader], &row, true, world->now_ms);
}

static gossip_world *make_lattice(uint32_t node_count, uint32_t shard_count) {
    gossip_world *world = gossip_world_open(node_count, 7);
    world->delay_ms = 10;
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t index = 1; index < node_count; index++) {
            gossip_introduce(world, 0, index);
        }
    }
    for (uint32_t shard = 0; shard < shard_count; shard++) {
        char keys[2][17];
        lw_directory_row row = make_row(world, shard, 1, keys);
        for (uint32_t index = 0; index < node_count; index++) {
            lw_gossip_shard(world->nodes[index], &row, false, world->now_ms);
        }
    }
    return world;
}

typedef struct sum {
    uint64_t sent, heard, beats;
} sum;

static sum sum_of(const gossip_world *world) {
    sum all = {0};
    for (uint32_t index = 0; index < world->count; index++) {
        lw_gossip_figures one;
        lw_gossip_figures_get(world->nodes[index], &one);
        all.sent += one.bytes_sent;
        all.heard += one.bytes_received;
        all.beats += one.heartbeats_sent;
    }
    return all;
}

static double interval_ms(const gossip_world *world) {
    double slow = world->count * 1000.0 / LW_GOSSIP_BEATS_MAX;
    return slow > LW_GOSSIP_HEARTBEAT_MS ? slow : LW_GOSSIP_HEARTBEAT_MS;
}

/* Milliseconds until all know the same. */
static double settle(gossip_world *world) {
    uint64_t begin_ms = world->now_ms;
    while (!gossip_equal(world) && world->now_ms - begin_ms < LIMIT_MS) {
        gossip_run(world, STEP_MS);
    }
    return (double)(world->now_ms - begin_ms);
}

/* Bytes that a node heard since `before`, but for heartbeats, of which `beat_size` is each. */
static double heard_since(const gossip_world *world, const sum *before, double beat_size) {
    sum now = sum_of(world);
    double beats = (double)(now.beats - before->beats) * (world->count - 1) * beat_size;
    double heard = (double)(now.heard - before->heard) - beats;
    return heard < 0 ? 0 : heard / world->count;
}

static double measure_idle(gossip_world *world, double *sent, double *heard) {
    gossip_run(world, (uint64_t)(3 * interval_ms(world)));
    sum before = sum_of(world);
    uint64_t span_ms = (uint64_t)(IDLE_BEATS * interval_ms(world));
    gossip_run(world, span_ms);
    sum after = sum_of(world);
    *sent = (double)(after.sent - before.sent) / world->count / (double)span_ms * 1000;
    *heard = (double)(after.heard - before.heard) / world->count / (double)span_ms * 1000;
    return (double)(after.sent - before.sent) / (double)(after.beats - before.beats);
}

static double measure_change(gossip_world *world) {
    double sum_ms = 0;
    for (uint32_t round = 0; round < CHANGES; round++) {
        change_leader(world, round, 2);
        sum_ms += settle(world);
        gossip_run(world, 100);
    }
    return sum_ms / CHANGES;
}

/* What the last node led is led by others, all of it within a second. */
static void measure_death(gossip_world *world, uint32_t shard_count, double beat_size, table all,
                          uint32_t nodes, uint32_t shards) {
    sum before = sum_of(world);
    uint32_t count = shard_count / world->count + 1;
    for (uint32_t index = 0; index < count; index++) {
        change_leader(world, shard_count - 1 - index, 3);
        if (index % (count / 100 + 1) == 0) {
            gossip_run(world, 1000 / (count < 100 ? count : 100));
        }
    }
    all[DEATH_MS][nodes][shards] = settle(world);
    all[DEATH_BYTES][nodes][shards] = heard_since(world, &before, beat_size);
}

static void measure_newcomer(gossip_world *world, double beat_size, table all, uint32_t nodes,
                             uint32_t shards) {
    uint32_t last = world->count - 1;
    lw_gossip_close(world->nodes[last]);
    gossip_start(world, last, 2);
    gossip_introduce(world, 0, last);
    uint64_t begin_ms = world->now_ms;
    all[NEWCOMER_MS][nodes][shards] = settle(world);
    lw_gossip_figures own;
    lw_gossip_figures_get(world->nodes[last], &own);
    double beats = (double)(world->now_ms - begin_ms) / interval_ms(world) * last;
    all[NEWCOMER_BYTES][nodes][shards] = (double)own.bytes_received - beats * beat_size;
}

static void measure_outage(gossip_world *world, uint32_t shard_count, double beat_size, table all,
                           uint32_t nodes, uint32_t shards) {
    memset(world->deaf, true, sizeof(world->deaf));
    for (uint32_t index = 0; index < shard_count * OUTAGE_PERCENT / 100; index++) {
        change_leader(world, index * (100 / OUTAGE_PERCENT) + 50, 4);
    }
    gossip_run(world, (uint64_t)(4 * interval_ms(world)));
    memset(world->deaf, false, sizeof(world->deaf));
    sum before = sum_of(world);
    all[OUTAGE_MS][nodes][shards] = settle(world);
    all[OUTAGE_BYTES][nodes][shards] = heard_since(world, &before, beat_size);
}

static void measure_gossip(table all, uint32_t nodes, uint32_t shards) {
    uint32_t shard_count = shard_counts[shards];
    gossip_world *world = make_lattice(node_counts[nodes], shard_count);
    double beat_size =
        measure_idle(world, &all[IDLE_SENT][nodes][shards], &all[IDLE_HEARD][nodes][shards]);
    all[CHANGE_MS][nodes][shards] = measure_change(world);
    measure_death(world, shard_count, beat_size, all, nodes, shards);
    measure_outage(world, shard_count, beat_size, all, nodes, shards);
    measure_newcomer(world, beat_size, all, nodes, shards);
    all[DIRECTORY_BYTES][nodes][shards] =
        (double)lw_directory_size(lw_gossip_directory(world->nodes[0]));
    gossip_world_close(world);
}

/* ---- placement ------------------------------------------------------------------------------ */

static lw_placement_view *make_view(lw_memory *memory, uint32_t node_count) {
    lw_placement_view *view = lw_allocate_zero(memory, sizeof(*view));
    lw_placement_options options = {.self = 1, .calm = true};
    lw_placement_begin(view, &options, 0);
    for (uint32_t index = 0; index < node_count; index++) {
        lw_placement_node node = {.node = index + 1,
                                  .state = LW_MEMBER_UP,
                                  .linked = true,
                                  .settled = true,
                                  .loaded = true};
        lw_placement_add(view, &node);
    }
    return view;
}

static bool is_among(const placement_wanted *set, uint64_t node) {
    for (uint32_t index = 0; index < set->count; index++) {
        if (set->nodes[index] == node) {
            return true;
        }
    }
    return false;
}

/* Between a lattice and one with a node more. */
static void measure_placement(table all, uint32_t nodes, uint32_t shards) {
    lw_memory *memory = lw_memory_open();
    uint32_t node_count = node_counts[nodes], shard_count = shard_counts[shards];
    const lw_placement_view *few = make_view(memory, node_count);
    const lw_placement_view *more = make_view(memory, node_count + 1);
    uint32_t held[GOSSIP_NODES_MAX + 2] = {0}, moved = 0, fullest = 0;
    for (uint32_t shard = 0; shard < shard_count; shard++) {
        placement_wanted before, after;
        placement_want(few, lw_mix(shard + 1), NULL, 0, &before);
        placement_want(more, lw_mix(shard + 1), before.nodes, before.count, &after);
        for (uint32_t index = 0; index < before.count; index++) {
            uint32_t *count = &held[before.nodes[index]];
            fullest = ++*count > fullest ? *count : fullest;
            moved += !is_among(&after, before.nodes[index]);
        }
        held[node_count + 1] += is_among(&after, node_count + 1);
    }
    double replicas = (double)shard_count * VOTERS;
    all[JOIN_MOVED][nodes][shards] = moved / (replicas / (node_count + 1)) * 100;
    all[LEAVE_MOVED][nodes][shards] = moved * 100.0 / (moved > 0 ? held[node_count + 1] : 1);
    all[SPREAD][nodes][shards] = fullest / (replicas / node_count) * 100;
    lw_memory_close(memory);
}

/* ---- telling -------------------------------------------------------------------------------- */

static void print_table(table all) {
    printf("| | |");
    for (uint32_t cell = 0; cell < SIZES * SIZES; cell++) {
        printf(" %u / %u |", node_counts[cell / SIZES], shard_counts[cell % SIZES]);
    }
    printf("\n|---|---|");
    for (uint32_t cell = 0; cell < SIZES * SIZES; cell++) {
        printf("---|");
    }
    for (int row = 0; row < FIGURES; row++) {
        printf("\n| %s | %s |", figures[row].name, figures[row].unit);
        for (uint32_t cell = 0; cell < SIZES * SIZES; cell++) {
            printf(" %.3g |", all[row][cell / SIZES][cell % SIZES] / figures[row].divisor);
        }
    }
    printf("\n");
}

enum { PANEL_WIDTH = 300, PANEL_HEIGHT = 190, PANELS_A_ROW = 3, BAR = 24, PLOT = 120, HEAD = 60 };

static void draw_panel(FILE *svg, table all, int row) {
    static const char *const colours[SIZES] = {"#9ecae1", "#4292c6", "#084594"};
    int left = row % PANELS_A_ROW * PANEL_WIDTH + 20;
    int bottom = row / PANELS_A_ROW * PANEL_HEIGHT + HEAD + PLOT + 36;
    double highest = 0;
    for (uint32_t cell = 0; cell < SIZES * SIZES; cell++) {
        double value = all[row][cell / SIZES][cell % SIZES];
        highest = value > highest ? value : highest;
    }
    fprintf(svg, "<text x='%d' y='%d' class='name'>%s</text>\n", left, bottom - PLOT - 20,
            figures[row].name);
    fprintf(svg, "<text x='%d' y='%d' class='unit'>%s</text>\n", left, bottom - PLOT - 7,
            figures[row].unit);
    fprintf(svg, "<path d='M%d %dh%d' class='axis'/>\n", left, bottom, PANEL_WIDTH - 40);
    for (uint32_t nodes = 0; nodes < SIZES; nodes++) {
        int group = left + (int)nodes * (SIZES * BAR + 14) + 6;
        for (uint32_t shards = 0; shards < SIZES; shards++) {
            double value = all[row][nodes][shards];
            double height = highest > 0 ? value / highest * (PLOT - 24) : 0;
            int x = group + (int)shards * BAR;
            fprintf(svg,
                    "<rect x='%d' y='%.1f' width='%d' height='%.1f' fill='%s'/>"
                    "<text x='%d' y='%.1f' class='value'>%.3g</text>\n",
                    x, bottom - height, BAR - 2, height, colours[shards], x + BAR / 2 - 1,
                    bottom - height - 3, value / figures[row].divisor);
        }
        fprintf(svg, "<text x='%d' y='%d' class='value'>%u nodes</text>\n", group + SIZES * BAR / 2,
                bottom + 13, node_counts[nodes]);
    }
}

static void draw(FILE *svg, table all) {
    int rows = (FIGURES + PANELS_A_ROW - 1) / PANELS_A_ROW;
    fprintf(svg,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
            "font-family='sans-serif'>\n<style>.name{font-size:13px;font-weight:bold}"
            ".unit{font-size:11px;fill:#555}.value{font-size:9px;text-anchor:middle}"
            ".head{font-size:16px;font-weight:bold}.axis{stroke:#333}</style>\n"
            "<rect width='100%%' height='100%%' fill='white'/>\n"
            "<text x='20' y='26' class='head'>The machines of the lattice, simulated</text>\n"
            "<text x='20' y='46' class='unit'>bars, from light to dark: 100, 1,000 and 10,000 "
            "shards; each panel has a scale of its own</text>\n",
            PANELS_A_ROW * PANEL_WIDTH, rows * PANEL_HEIGHT + HEAD + 20);
    for (int row = 0; row < FIGURES; row++) {
        draw_panel(svg, all, row);
    }
    fprintf(svg, "</svg>\n");
}

int main(int argc, char **argv) {
    static table all;
    for (uint32_t cell = 0; cell < SIZES * SIZES; cell++) {
        measure_gossip(all, cell / SIZES, cell % SIZES);
        measure_placement(all, cell / SIZES, cell % SIZES);
        fprintf(stderr, "%u nodes, %u shards:", node_counts[cell / SIZES],
                shard_counts[cell % SIZES]);
        for (int row = 0; row < FIGURES; row++) {
            fprintf(stderr, " %.4g", all[row][cell / SIZES][cell % SIZES]);
        }
        fprintf(stderr, "\n");
    }
    print_table(all);
    FILE *svg = argc > 1 ? fopen(argv[1], "w") : NULL;
    if (svg != NULL) {
        draw(svg, all);
    }
    return svg == NULL || fclose(svg) != 0;
}
