/* SPDX-License-Identifier: Apache-2.0 */
/* What a run shows of itself for its page: how its nodes are and who leads, looked at between
 * events. */
#include "node/group.h"
#include "node/shards.h"
#include "sim/page.h"
#include "sim/run.h"

#include <inttypes.h>

enum { LOOK_MS = 10, TITLE_SIZE = 160, ABOUT_SIZE = 400 };

static void look_at_replicas(const lw_sim_trial *it, const lw_sim_member *node) {
    const lw_shards *shards = lw_sim_shards_of(node);
    uint32_t count = shards == NULL ? 0 : lw_shards_count(shards);
    for (uint32_t index = 0; index < count; index++) {
        const lw_replica *replica = lw_shards_at(shards, index);
        lw_shard_descriptor shard;
        lw_group_figures figures;
        lw_replica_descriptor(replica, &shard);
        lw_replica_group_figures(replica, &figures);
        lw_page_state_set(it->page, node->name, LW_PAGE_LEADING, shard.id, figures.term,
                          figures.leading);
    }
}

static void look(void *argument) {
    lw_sim_trial *it = argument;
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *node = &it->nodes[index];
        bool serves = node->state == LW_SIM_SERVING && lw_host_running(node->host);
        if (serves) {
            lw_page_state_set(it->page, node->name, LW_PAGE_STARTING, 0, 0, false);
        }
        lw_page_state_set(it->page, node->name, LW_PAGE_UP, 0, 0, serves);
        look_at_replicas(it, node);
    }
    lw_sim_after(it, LOOK_MS, look);
}

static void write_page(const lw_sim_trial *it, bool complete) {
    const lw_run_options *options = it->options;
    FILE *file = fopen(options->page, "w");
    if (file == NULL) {
        fprintf(stderr, "cannot write \"%s\"\n", options->page);
        return;
    }
    char title[TITLE_SIZE], about[ABOUT_SIZE];
    (void)snprintf(title, sizeof(title), "%s, seed %" PRIu64, options->scenario->name,
                   options->seed);
    (void)snprintf(about, sizeof(about),
                   "%s. Nodes: %u. Clients: %u. Acknowledged commits: %" PRIu64
                   ". Hash: %016" PRIx64 ".",
                   options->scenario->text, it->node_count, it->client_count,
                   it->workload.committed, lw_world_hash(it->world));
    lw_page_write(it->page, title, about, lw_buffer_view(&it->result->failures),
                  &it->workload.history, file);
    if (complete) {
        lw_page_finish(NULL, file);
    }
    (void)fclose(file);
}

/* An assertion failed: whoever waits for this process ends the page with its words. */
static void run_failed(void *argument) {
    write_page(argument, false);
}

void lw_sim_draw_begin(lw_sim_trial *it) {
    if (it->options->page == NULL) {
        return;
    }
    it->page = lw_page_open(it->memory, lw_world_clock(it->world));
    it->workload.page = it->page;
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_page_add_lane(it->page, it->nodes[index].name, true);
    }
    for (uint32_t index = 0; index < LW_SIM_CLIENTS_MAX; index++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "client%u", index);
        lw_page_add_lane(it->page, name, false);
    }
    lw_page_add_lane(it->page, "judge", false);
    lw_page_add_lane(it->page, "operator", false);
    lw_world_draw(it->world, it->page);
    lw_world_at_failure(it->world, run_failed, it);
    look(it);
}

void lw_sim_draw_end(lw_sim_trial *it) {
    if (it->page != NULL) {
        write_page(it, true);
        lw_world_draw(it->world, NULL);
        lw_world_at_failure(it->world, NULL, NULL);
        lw_page_close(it->page);
        it->page = it->workload.page = NULL;
    }
}
