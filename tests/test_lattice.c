/* SPDX-License-Identifier: Apache-2.0 */
/* node/lattice: what a node does among others, with everything that belongs to a node. */
#include "node/lattice_state.h"
#include "tests/lattice_world.h"

static lw_member_state state_of(house *asked, const house *about) {
    const lw_member *member =
        lw_members_find(lw_gossip_members(asked->node->lattice->gossip), house_id(about));
    return member == NULL ? 0 : member->state;
}

static bool event_seen(house *at, const char *name, uint64_t node) {
    lw_buffer body = lw_buffer_in(at->env->memory), reply;
    lw_events_request_encode(0, &body);
    assert_int_equal(house_ask(at, LW_MESSAGE_EVENTS, lw_buffer_view(&body), &reply), LW_OK);
    lw_reader reader;
    uint32_t count;
    bool seen = false;
    assert_int_equal(lw_report_open(lw_buffer_view(&reply), &reader, &count), LW_OK);
    while (count-- > 0) {
        lw_event_row row;
        assert_int_equal(lw_event_row_next(&reader, &row), LW_OK);
        seen = seen || (row.node == node && lw_equal(row.name, lw_text(name)));
    }
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return seen;
}

static const char *planted; /* NULL: nothing */

static town *open_three(uint64_t seed) {
    town *in = town_open(seed);
    for (uint32_t number = 0; number < 3; number++) {
        house *self = house_boot(in, number);
        if (self->node == NULL) {
            fail_msg("node %u did not start: %s", number, self->ended.text);
        }
    }
    return in;
}

/* ---- company -------------------------------------------------------------------------------- */

static void alone_a_node_starts_nothing(void **state) {
    (void)state;
    town *in = town_open(1);
    house *alpha = house_boot(in, 0);
    assert_non_null(alpha->node);
    town_run(in, 60 * SECOND);
    uint64_t at_rest = lw_world_hash(in->world);
    town_run(in, 600 * SECOND); /* garbage collection has nothing to do either */
    assert_int_equal(lw_world_hash(in->world), at_rest);
    assert_false(alpha->node->lattice->running);
    assert_null(alpha->node->lattice->bus);
    town_close(in);
}

static void three_nodes_hold_what_one_held(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        town *in = open_three(seed);
        (void)town_settle(in, 1, 3, 30);
        for (uint32_t number = 0; number < 3; number++) {
            house *self = &in->houses[number];
            assert_int_equal(house_shards(self), 1);
            assert_int_equal(self->node->lattice->bus->state, LW_BUS_UP);
            for (uint32_t other = 0; other < 3; other++) {
                assert_int_equal(state_of(self, &in->houses[other]), LW_MEMBER_UP);
            }
        }
        assert_true(event_seen(&in->houses[0], "joined", house_id(&in->houses[2])));
        assert_true(event_seen(&in->houses[0], "add", house_id(&in->houses[2])) ||
                    event_seen(&in->houses[0], "add", house_id(&in->houses[1])));
        town_close(in);
    }
}

/* A request may come back when the shards are closed already. */
static void what_clients_asked_for_is_told_to_the_end(void **state) {
    (void)state;
    town *in = open_three(8);
    lw_lattice *lattice = in->houses[0].node->lattice;
    lw_shards *shards = lattice->shards;
    lw_buffer body = lw_buffer_in(in->houses[0].env->memory);
    uint64_t other = house_id(&in->houses[1]);
    lw_transfer_request_encode(&(lw_transfer_request){.node = other}, &body);
    lw_request request = {
        .kind = LW_MESSAGE_TRANSFER, .shard = LW_ROOT_SHARD, .body = lw_buffer_view(&body)};
    lattice->shards = NULL;
    lw_lattice_asked(lattice, lw_text("people"), &request);
    lattice->shards = shards;
    assert_true(event_seen(&in->houses[0], "transfer", other));
    lw_buffer_reset(&body);
    town_close(in);
}

static void without_a_bus_they_come_together_too(void **state) {
    (void)state;
    town *in = town_open(4);
    in->without_bus = true;
    for (uint32_t number = 0; number < 3; number++) {
        assert_non_null(house_boot(in, number)->node);
    }
    (void)town_settle(in, 1, 3, 30);
    for (uint32_t number = 0; number < 3; number++) {
        assert_int_equal(in->houses[number].node->lattice->gossip == NULL, false);
        assert_int_equal(lattice_company(in->houses[number].node->lattice), 2);
    }
    town_close(in);
}

static void shards_and_leaders_spread(void **state) {
    (void)state;
    static const char *const keys[] = {"b", "c", "d", "e", "f"};
    town *in = open_three(5);
    (void)town_settle(in, 1, 3, 30);
    for (size_t index = 0; index < sizeof(keys) / sizeof(keys[0]); index++) {
        house_split(&in->houses[index % 3], keys[index]);
    }
    (void)town_settle(in, 6, 3, 60);
    town_run(in, 60 * SECOND);
    for (uint32_t number = 0; number < 3; number++) {
        assert_int_equal(house_shards(&in->houses[number]), 6);
        assert_int_equal(house_leads(&in->houses[number]), 2);
        assert_int_equal(lw_gossip_directory(in->houses[number].node->lattice->gossip)->count, 6);
    }
    town_close(in);
}

/* Also where nothing is held. */
static void every_node_knows_where_all_shards_are(void **state) {
    (void)state;
    town *in = open_three(15);
    (void)town_settle(in, 1, 3, 30);
    house_split(&in->houses[0], "g");
    house_split(&in->houses[0], "p");
    house *delta = house_boot(in, 3);
    assert_int_equal(house_tell(delta, LW_MESSAGE_DRAIN, 0, true), LW_OK);
    town_run(in, 20 * SECOND);
    assert_int_equal(house_shards(delta), 0);
    lw_buffer reply;
    assert_int_equal(house_ask(delta, LW_MESSAGE_TOPOLOGY, (lw_bytes){0}, &reply), LW_OK);
    lw_reader reader;
    uint32_t count;
    char last[8] = "";
    assert_int_equal(lw_topology_open(lw_buffer_view(&reply), &reader, &count), LW_OK);
    assert_int_equal(count, 3);
    while (count-- > 0) {
        lw_shard_descriptor shard;
        assert_int_equal(lw_topology_next(&reader, &shard), LW_OK);
        assert_true(lw_equal(shard.start, lw_text(last)));
        assert_true(
            lw_equal(shard.leader_address, lw_lattice_address(delta->node->lattice, shard.leader)));
        assert_true(shard.leader != 0 && shard.leader_address.size > 0);
        (void)snprintf(last, sizeof(last), "%.*s", (int)shard.end.size,
                       (const char *)shard.end.data);
    }
    assert_string_equal(last, "");
    lw_buffer_reset(&reply);
    town_close(in);
}

/* Nor does a node that holds nothing need a bus for that: links do. */
static void without_a_bus_every_node_knows_where_shards_are(void **state) {
    (void)state;
    town *in = town_open(16);
    in->without_bus = true;
    for (uint32_t number = 0; number < 3; number++) {
        assert_non_null(house_boot(in, number)->node);
    }
    (void)town_settle(in, 1, 3, 30);
    house *delta = house_boot(in, 3);
    house_split(&in->houses[0], "g");
    house_split(&in->houses[0], "p");
    assert_int_equal(house_tell(delta, LW_MESSAGE_DRAIN, 0, true), LW_OK);
    town_run(in, 20 * SECOND);
    assert_int_equal(house_shards(delta), 0);
    const lw_directory *directory = lw_gossip_directory(delta->node->lattice->gossip);
    assert_int_equal(directory->count, 3);
    for (uint32_t index = 0; index < 3; index++) {
        lw_directory_row row;
        lw_directory_at(directory, index, &row);
        assert_int_equal(row.shard.replica_count, 3);
    }
    town_close(in);
}

/* ---- restarts and deaths -------------------------------------------------------------------- */

static void after_a_restart_all_know_each_other_again(void **state) {
    (void)state;
    town *in = open_three(6);
    (void)town_settle(in, 1, 3, 30);
    for (uint32_t number = 0; number < 3; number++) {
        lw_host_crash(in->houses[number].host);
        in->houses[number].node = NULL;
    }
    town_run(in, 5 * SECOND);
    for (uint32_t number = 3; number-- > 0;) { /* the founder last: nobody asks it anything */
        assert_non_null(house_boot(in, number)->node);
    }
    (void)town_settle(in, 1, 3, 30);
    for (uint32_t number = 0; number < 3; number++) {
        assert_int_equal(lattice_company(in->houses[number].node->lattice), 2);
        assert_true(lw_gossip_connected(in->houses[number].node->lattice->gossip));
    }
    town_close(in);
}

/* As containers do. Each knows of the others only where they were, and the founder's new address.
 */
static void all_come_back_at_other_addresses(void **state) {
    (void)state;
    town *in = town_open(16);
    in->without_bus = true; /* which would tell in this world, where it is nowhere */
    if (planted != NULL) {
        lw_world_plant(in->world, planted);
    }
    for (uint32_t number = 0; number < 3; number++) {
        assert_non_null(house_boot(in, number)->node);
    }
    (void)town_settle(in, 1, 3, 30);
    for (uint32_t number = 0; number < 3; number++) {
        house *self = &in->houses[number];
        lw_host_crash(self->host);
        self->node = NULL;
        strcpy(strchr(self->address, ':'), ":7500");
    }
    for (uint32_t number = 3; number-- > 0;) {
        assert_non_null(house_boot(in, number)->node);
    }
    (void)town_settle(in, 1, 3, 30);
    for (uint32_t number = 0; number < 3; number++) {
        for (uint32_t other = 0; other < 3; other++) {
            assert_true(number == other ||
                        lw_peers_up(in->houses[number].node->peers, house_id(&in->houses[other])));
        }
    }
    town_close(in);
}

LW_YIELDS static void damage_main(void *argument) {
    lw_env *env = argument;
    lw_handle file;
    uint64_t size = 0;
    assert_int_equal(lw_file_open(env, "data/LATTICE", 0, &file), LW_OK);
    assert_int_equal(lw_file_size(env, file, &size), LW_OK);
    assert_true(size > 300); /* three records */
    assert_int_equal(lw_file_write(env, file, size / 2, lw_text("?!"), LW_WRITE_DURABLE), LW_OK);
    lw_file_close(env, file);
}

static void a_damaged_file_is_told(void **state) {
    (void)state;
    town *in = open_three(14);
    (void)town_settle(in, 1, 3, 30);
    house *self = &in->houses[2];
    lw_host_kill(self->host);
    lw_env *env = lw_host_boot(self->host);
    lw_env_start(env, "damage", damage_main, env);
    town_run(in, SECOND);
    lw_host_kill(self->host);
    assert_null(house_boot(in, 2)->node);
    assert_int_equal(self->ended.status, LW_CORRUPTION);
    assert_non_null(strstr(self->ended.text, "data/LATTICE is damaged"));
    town_close(in);
}

static void what_a_dead_node_held_is_rebuilt_on_another(void **state) {
    (void)state;
    town *in = open_three(7);
    (void)town_settle(in, 1, 3, 30);
    assert_non_null(house_boot(in, 3)->node);
    town_run(in, 60 * SECOND);
    uint32_t victim = 0;
    while (house_shards(&in->houses[victim]) == 0 || house_leads(&in->houses[victim]) == 1) {
        victim++;
    }
    uint64_t lost = house_id(&in->houses[victim]);
    lw_host_crash(in->houses[victim].host);
    in->houses[victim].node = NULL;
    town_run(in, 10 * SECOND); /* not yet dead */
    uint32_t holders = 0;
    for (uint32_t number = 0; number < 4; number++) {
        holders += house_shards(&in->houses[number]);
    }
    assert_int_equal(holders, 2);
    town_run(in, 30 * SECOND);
    (void)town_settle(in, 1, 3, 30);
    holders = 0;
    for (uint32_t number = 0; number < 4; number++) {
        holders += house_shards(&in->houses[number]);
        if (house_leads(&in->houses[number]) == 1) {
            assert_true(event_seen(&in->houses[number], "dead", lost));
            assert_true(event_seen(&in->houses[number], "replace", 0) ||
                        in->houses[number].node->lattice->steps_done >= 2);
        }
    }
    assert_int_equal(holders, 3);
    town_close(in);
}

static void a_broken_bus_moves_nothing_and_kills_nobody(void **state) {
    (void)state;
    town *in = open_three(8);
    (void)town_settle(in, 1, 3, 30);
    for (uint32_t number = 0; number < 3; number++) {
        lw_sim_bus_stop(in->world, in->houses[number].host, true);
    }
    town_run(in, 100 * SECOND);
    for (uint32_t number = 0; number < 3; number++) {
        house *self = &in->houses[number];
        house *other = &in->houses[(number + 1) % 3];
        assert_int_equal(self->node->lattice->bus->state, LW_BUS_DEGRADED);
        assert_false(event_seen(self, "dead", house_id(other)));
        assert_true(event_seen(self, "quiet", house_id(other)));
    }
    assert_true(town_whole(in, 1, 3));
    for (uint32_t number = 0; number < 3; number++) {
        lw_sim_bus_stop(in->world, in->houses[number].host, false);
    }
    town_run(in, 10 * SECOND);
    assert_true(lw_gossip_connected(in->houses[0].node->lattice->gossip));
    town_close(in);
}

/* ---- draining and leaving ------------------------------------------------------------------- */

static void a_drained_node_stays_empty_over_a_restart(void **state) {
    (void)state;
    town *in = open_three(9);
    assert_non_null(house_boot(in, 3)->node);
    (void)town_settle(in, 1, 3, 60);
    town_run(in, 20 * SECOND);
    uint32_t drained = 0;
    while (house_shards(&in->houses[drained]) == 0) {
        drained++;
    }
    house *self = &in->houses[drained], *other = &in->houses[(drained + 1) % 4];
    assert_int_equal(house_tell(other, LW_MESSAGE_DRAIN, house_id(self), true), LW_OK);
    for (int second = 0; second < 60 && house_shards(self) > 0; second++) {
        town_run(in, SECOND);
    }
    assert_int_equal(house_shards(self), 0);
    (void)town_settle(in, 1, 3, 30);
    lw_host_kill(self->host);
    assert_non_null(house_boot(in, drained)->node);
    town_run(in, 20 * SECOND);
    assert_int_equal(state_of(other, self), LW_MEMBER_DRAINING);
    assert_int_equal(house_shards(self), 0);
    assert_int_equal(house_tell(self, LW_MESSAGE_DRAIN, 0, false), LW_OK);
    town_run(in, 60 * SECOND);
    assert_int_equal(state_of(other, self), LW_MEMBER_UP);
    assert_int_equal(house_shards(self), 1); /* it is the best place again */
    town_close(in);
}

static void one_that_leaves_stops_once_it_is_empty(void **state) {
    (void)state;
    town *in = open_three(10);
    assert_non_null(house_boot(in, 3)->node);
    (void)town_settle(in, 1, 3, 60);
    house *self = &in->houses[2], *other = &in->houses[1];
    uint64_t id = house_id(self);
    assert_int_equal(house_tell(self, LW_MESSAGE_LEAVE, 0, false), LW_OK);
    for (int second = 0; second < 90 && self->node != NULL; second++) {
        town_run(in, SECOND);
    }
    assert_null(self->node);
    assert_non_null(strstr(self->ended.text, "has left its lattice for good"));
    (void)town_settle(in, 1, 3, 30);
    assert_int_equal(lw_members_find(lw_gossip_members(other->node->lattice->gossip), id)->state,
                     LW_MEMBER_GONE);
    lw_host_kill(self->host);
    assert_null(house_boot(in, 2)->node);
    assert_int_equal(self->ended.status, LW_REFUSED);
    town_close(in);
}

/* Three nodes, and a fourth that holds nothing, which says that it is gone: none of the others
 * writes that down before they lose power. */
static town *open_with_one_that_leaves(uint64_t *id) {
    town *in = open_three(23);
    if (planted != NULL) {
        lw_world_plant(in->world, planted);
    }
    house *self = house_boot(in, 3);
    assert_non_null(self->node);
    (void)town_settle(in, 1, 3, 60);
    assert_int_equal(house_shards(self), 0);
    *id = house_id(self);
    for (uint32_t index = 0; index < 3; index++) {
        lw_host_pause(in->houses[index].host, 60 * SECOND);
    }
    assert_int_equal(house_tell(self, LW_MESSAGE_LEAVE, 0, false), LW_OK);
    town_run(in, 100 * MS);
    assert_true(lw_world_marked(in->world, "lattice.left") > 0);
    if (self->node == NULL) {
        lw_host_kill(self->host); /* as its owner does */
    }
    for (uint32_t index = 0; index < 3; index++) {
        lw_host_crash(in->houses[index].host);
    }
    return in;
}

static void one_that_leaves_is_not_forgotten_if_all_others_lose_power(void **state) {
    (void)state;
    uint64_t id;
    town *in = open_with_one_that_leaves(&id);
    const house *self = &in->houses[3];
    town_run(in, 2 * SECOND);
    for (uint32_t index = 0; index < 3; index++) {
        assert_non_null(house_boot(in, index)->node);
    }
    (void)town_settle(in, 1, 3, 10);
    town_run(in, 5 * SECOND); /* less than a dead one is waited for */
    assert_null(self->node);
    assert_int_equal(self->ended.status, LW_OK);
    for (uint32_t index = 0; index < 3; index++) {
        lw_lattice *lattice = in->houses[index].node->lattice;
        assert_int_equal(lw_members_find(lw_gossip_members(lattice->gossip), id)->state,
                         LW_MEMBER_GONE);
        assert_false(lw_peers_up(in->houses[index].node->peers, id));
    }
    town_close(in);
}

static void one_that_loses_power_as_it_leaves_says_so_again(void **state) {
    (void)state;
    uint64_t id;
    town *in = open_with_one_that_leaves(&id);
    lw_host_crash(in->houses[3].host);
    for (uint32_t index = 0; index < 4; index++) {
        (void)house_boot(in, index);
    }
    town_run(in, 10 * SECOND);
    assert_null(in->houses[3].node);
    assert_int_equal(in->houses[3].ended.status, LW_OK);
    assert_int_equal(lattice_company(in->houses[0].node->lattice), 2);
    town_close(in);
}

static void one_that_leaves_ends_though_nobody_answers(void **state) {
    (void)state;
    uint64_t id;
    town *in = open_with_one_that_leaves(&id);
    town_run(in, 20 * SECOND);
    assert_non_null(in->houses[3].node);
    town_run(in, 15 * SECOND);
    assert_null(in->houses[3].node);
    assert_int_equal(in->houses[3].ended.status, LW_OK);
    town_close(in);
}

static void one_that_is_lost_can_be_taken_out(void **state) {
    (void)state;
    town *in = open_three(11);
    assert_non_null(house_boot(in, 3)->node);
    (void)town_settle(in, 1, 3, 60);
    house *lost = &in->houses[3], *other = &in->houses[1];
    uint64_t id = house_id(lost);
    assert_int_equal(house_tell(other, LW_MESSAGE_LEAVE, id, true), LW_REFUSED); /* it is there */
    assert_int_equal(house_tell(lost, LW_MESSAGE_LEAVE, id, true), LW_REFUSED);  /* and says so */
    assert_int_equal(state_of(other, lost), LW_MEMBER_UP);
    lw_host_crash(lost->host);
    lost->node = NULL;
    town_run(in, 10 * SECOND);
    assert_int_equal(house_tell(other, LW_MESSAGE_LEAVE, id, true), LW_OK);
    town_run(in, SECOND);
    (void)town_settle(in, 1, 3, 30);
    assert_int_equal(lattice_company(in->houses[0].node->lattice), 2);
    lw_peer_card card = {.node_id = id};
    bool gone = false;
    assert_int_equal(lw_lattice_admit(in->houses[0].node->lattice, &card, &gone), LW_REFUSED);
    assert_true(gone);
    (void)house_boot(in, 3);
    town_run(in, 10 * SECOND);
    assert_null(lost->node);
    town_close(in);
}

static void who_does_not_answer_keeps_no_newcomer_waiting(void **state) {
    (void)state;
    town *in = town_open(14);
    if (planted != NULL) {
        lw_world_plant(in->world, planted);
    }
    assert_non_null(house_boot(in, 0)->node);
    town_run(in, SECOND);
    assert_non_null(house_boot(in, 1)->node);
    lw_host_pause(in->houses[1].host, 60 * SECOND);
    in->join = "beta:7400,gamma:7400,alpha:7400";
    uint64_t began_ns = lw_world_now(in->world);
    assert_non_null(house_boot(in, 2)->node);
    assert_true(lw_world_now(in->world) - began_ns < 2 * SECOND);
    town_close(in);
}

LW_YIELDS static void stopping_main(void *argument) {
    house *self = argument;
    lw_node *node = self->node;
    self->node = NULL;
    lw_node_close(node);
    self->ended.status = LW_NOT_FOUND; /* there is none any more */
}

/* Whether another one leads while something that it waits for keeps a leader from stopping. */
static bool leads_no_more_when_it_stops(const char *bug) {
    town *in = open_three(16);
    lw_world_plant(in->world, "shards.nothing_handed_over");
    if (bug != NULL) {
        lw_world_plant(in->world, bug);
    }
    (void)town_settle(in, 1, 3, 60);
    uint32_t leader = 0, others = 0;
    while (house_leads(&in->houses[leader]) == 0) {
        leader++;
    }
    house *self = &in->houses[leader];
    lw_lattice *lattice = self->node->lattice;
    lattice_job_begin(lattice);
    (void)lw_env_start(self->env, "stop", stopping_main, self);
    town_run(in, 5 * SECOND);
    for (uint32_t index = 0; index < 3; index++) {
        others += index != leader ? house_leads(&in->houses[index]) : 0;
    }
    lattice_job_end(lattice);
    town_run(in, SECOND);
    town_close(in);
    return others > 0;
}

static void one_that_stops_leads_no_more(void **state) {
    (void)state;
    assert_true(leads_no_more_when_it_stops(NULL));
    assert_false(leads_no_more_when_it_stops("node.leads_while_it_stops"));
}

/* Three shards, the root shard too, and their leaders stop one after the other: so much sooner than
 * anybody would be elected all are led again. */
static void one_that_stops_hands_over_what_it_leads(void **state) {
    (void)state;
    town *in = open_three(17);
    if (planted != NULL) {
        lw_world_plant(in->world, planted);
    }
    (void)town_settle(in, 1, 3, 60);
    house_split(&in->houses[0], "h");
    house_split(&in->houses[0], "q");
    (void)town_settle(in, 3, 3, 60);
    for (uint32_t index = 0; index < 3; index++) {
        house *self = &in->houses[index];
        (void)lw_env_start(self->env, "stop", stopping_main, self);
        town_run(in, 200 * MS);
        assert_true(town_whole(in, 3, 3));
        assert_int_equal(house_leads(self), 0);
        lw_host_kill(self->host);
        assert_non_null(house_boot(in, index)->node);
        town_run(in, 5 * SECOND); /* so long nobody who has just started helps to elect */
        (void)town_settle(in, 3, 3, 60);
    }
    town_close(in);
}

/* The others seem to be there, so the ceiling of the timestamps cannot come down, nor anybody lead.
 */
static void who_stops_waits_for_nobody_for_long(void **state) {
    (void)state;
    town *in = open_three(19);
    (void)town_settle(in, 1, 3, 60);
    uint32_t leader = 0;
    while (house_leads(&in->houses[leader]) == 0) {
        leader++;
    }
    house *self = &in->houses[leader];
    for (uint32_t step = 1; step < 3; step++) {
        lw_host_pause(in->houses[(leader + step) % 3].host, 60 * SECOND);
    }
    (void)lw_env_start(self->env, "stop", stopping_main, self);
    town_run(in, 1100 * MS);
    assert_int_equal(self->ended.status, LW_NOT_FOUND);
    town_close(in);
}

/* Of the events of a node those that say that it leads: how many there are, of how many shards, and
 * whether one is the root shard's. */
static void leads_told(house *self, uint32_t *events, uint32_t *shards, bool *root) {
    lw_buffer body = lw_buffer_in(self->env->memory), reply;
    lw_events_request_encode(0, &body);
    assert_int_equal(house_ask(self, LW_MESSAGE_EVENTS, lw_buffer_view(&body), &reply), LW_OK);
    lw_reader reader = lw_reader_of(lw_buffer_view(&reply));
    for (uint32_t count = lw_read_array(&reader); count > 0; count--) {
        lw_event_row row;
        char text[LW_REPORT_TEXT_MAX];
        assert_int_equal(lw_event_row_next(&reader, &row), LW_OK);
        if (!lw_equal(row.name, lw_text("leader"))) {
            continue;
        }
        (void)snprintf(text, sizeof(text), "%.*s", (int)row.text.size, (const char *)row.text.data);
        assert_int_equal(row.node, house_id(self));
        assert_non_null(strstr(text, "in term "));
        const char *more = strstr(text, "; and ");
        *shards += 1 + (more == NULL ? 0 : (uint32_t)strtoul(more + 6, NULL, 10));
        *events += 1;
        *root = *root || row.shard == LW_ROOT_SHARD;
    }
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
}

/* All that was led by one node is told of by those who lead it now, each in two events at most. */
static void who_leads_instead_of_a_dead_node_is_told(void **state) {
    (void)state;
    town *in = open_three(18);
    static const char *const keys[] = {"c", "f", "i", "l", "o", "r", "u", "x"};
    (void)town_settle(in, 1, 3, 60);
    for (uint32_t index = 0; index < 8; index++) {
        house_split(&in->houses[index % 3], keys[index]);
    }
    (void)town_settle(in, 9, 3, 60);
    town_run(in, 60 * SECOND); /* they spread, and all of that is told */
    uint32_t leader = 0, events[2] = {0}, shards[2] = {0};
    bool root[2] = {false};
    while (!lw_replica_leads(lw_shards_at(in->houses[leader].node->shards, 0))) {
        leader++;
    }
    for (uint32_t step = 1; step < 3; step++) {
        leads_told(&in->houses[(leader + step) % 3], &events[0], &shards[0], &root[0]);
    }
    uint32_t led = house_leads(&in->houses[leader]);
    assert_true(led > 1);
    lw_host_crash(in->houses[leader].host);
    in->houses[leader].node = NULL;
    (void)town_settle(in, 9, 3, 20);
    town_run(in, 12 * SECOND);
    for (uint32_t step = 1; step < 3; step++) {
        leads_told(&in->houses[(leader + step) % 3], &events[1], &shards[1], &root[1]);
    }
    assert_true(shards[1] - shards[0] >= led);
    assert_true(events[1] - events[0] <= 5);
    assert_true(root[1]);
    town_close(in);
}

static void the_only_node_cannot_leave(void **state) {
    (void)state;
    town *in = town_open(12);
    house *alpha = house_boot(in, 0);
    assert_int_equal(house_tell(alpha, LW_MESSAGE_LEAVE, 0, false), LW_REFUSED);
    assert_int_equal(house_tell(alpha, LW_MESSAGE_DRAIN, 0, true), LW_REFUSED);
    assert_int_equal(house_tell(alpha, LW_MESSAGE_DRAIN, 77, true), LW_NOT_FOUND);
    town_close(in);
}

static void a_plan_says_why_nothing_moves(void **state) {
    (void)state;
    town *in = open_three(13);
    (void)town_settle(in, 1, 3, 30);
    town_run(in, 10 * SECOND);
    uint32_t rows = 0;
    for (uint32_t number = 0; number < 3; number++) {
        house *self = &in->houses[number];
        lw_buffer reply;
        lw_reader reader;
        uint32_t count;
        assert_int_equal(house_ask(self, LW_MESSAGE_PLAN, (lw_bytes){0}, &reply), LW_OK);
        assert_int_equal(lw_report_open(lw_buffer_view(&reply), &reader, &count), LW_OK);
        for (; count > 0; count--, rows++) {
            lw_plan_row row;
            assert_int_equal(lw_plan_row_next(&reader, &row), LW_OK);
            assert_true(lw_equal(row.step, lw_text("nothing")));
            assert_true(lw_equal(row.reason, lw_text("3 voters where they should be")));
            assert_int_equal(row.wanted_count, 3);
            assert_true(row.wanted[0] != 0 && row.wanted[1] != row.wanted[2]);
        }
        lw_buffer_reset(&reply);
    }
    assert_int_equal(rows, 1);
    town_close(in);
}

/* ---- cures taken out ------------------------------------------------------------------------ */

/* A node stops, is dialled all the same, and loses power without a word: who waits for its answer
 * hears of the next run before it would have given up. */
static void comes_back_from_a_stop_of(uint64_t stop_ns) {
    town *in = town_open(91);
    if (planted != NULL) {
        lw_world_plant(in->world, planted);
    }
    house *alpha = house_boot(in, 0), *beta = house_boot(in, 1);
    assert_non_null(alpha->node);
    assert_non_null(beta->node);
    town_run(in, 10 * SECOND);
    uint64_t id = house_id(beta);
    assert_true(lw_peers_up(alpha->node->peers, id));
    lw_host_pause(beta->host, 60 * SECOND);
    town_run(in, stop_ns);
    assert_false(lw_peers_up(alpha->node->peers, id));
    lw_host_crash(beta->host);
    assert_non_null(house_boot(in, 1)->node);
    town_run(in, stop_ns < 4 * SECOND ? 2 * SECOND : SECOND);
    assert_true(lw_peers_up(alpha->node->peers, id));
    town_close(in);
}

static void who_comes_back_from_a_stop_is_linked_at_once(void **state) {
    (void)state;
    comes_back_from_a_stop_of(4 * SECOND);
}

/* ... also if the dialling began only just before. */
static void who_comes_back_from_a_short_stop_is_linked_soon(void **state) {
    (void)state;
    for (uint64_t tenths = 20; tenths < 30; tenths++) {
        comes_back_from_a_stop_of(tenths * SECOND / 10);
    }
}

/* ... also by one that has not heard yet of the run that stopped. */
static void who_comes_back_from_a_stop_is_linked_by_one_that_has_just_started(void **state) {
    (void)state;
    town *in = town_open(92);
    house *alpha = house_boot(in, 0), *beta = house_boot(in, 1);
    town_run(in, 10 * SECOND);
    lw_host_pause(beta->host, 60 * SECOND);
    lw_host_crash(alpha->host);
    alpha = house_boot(in, 0);
    town_run(in, SECOND);
    lw_host_crash(beta->host);
    beta = house_boot(in, 1);
    town_run(in, SECOND);
    assert_true(lw_peers_up(alpha->node->peers, house_id(beta)));
    town_close(in);
}

static void planted_bugs_show(void **state) {
    planted = "peers.stale_link_awaited";
    assert_true(unit_story_fails(who_comes_back_from_a_stop_is_linked_at_once, state));
    planted = "node.waits_for_the_silent";
    assert_true(unit_story_fails(who_does_not_answer_keeps_no_newcomer_waiting, state));
    planted = "peers.seeks_nobody";
    assert_true(unit_story_fails(all_come_back_at_other_addresses, state));
    planted = "lattice.leaves_unheard";
    assert_true(unit_story_fails(one_that_leaves_is_not_forgotten_if_all_others_lose_power, state));
    planted = "shards.nothing_handed_over";
    assert_true(unit_story_fails(one_that_stops_hands_over_what_it_leads, state));
    planted = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_a_node_starts_nothing),
        cmocka_unit_test(three_nodes_hold_what_one_held),
        cmocka_unit_test(what_clients_asked_for_is_told_to_the_end),
        cmocka_unit_test(without_a_bus_they_come_together_too),
        cmocka_unit_test(shards_and_leaders_spread),
        cmocka_unit_test(every_node_knows_where_all_shards_are),
        cmocka_unit_test(without_a_bus_every_node_knows_where_shards_are),
        cmocka_unit_test(after_a_restart_all_know_each_other_again),
        cmocka_unit_test(all_come_back_at_other_addresses),
        cmocka_unit_test(a_damaged_file_is_told),
        cmocka_unit_test(what_a_dead_node_held_is_rebuilt_on_another),
        cmocka_unit_test(a_broken_bus_moves_nothing_and_kills_nobody),
        cmocka_unit_test(a_drained_node_stays_empty_over_a_restart),
        cmocka_unit_test(one_that_leaves_stops_once_it_is_empty),
        cmocka_unit_test(one_that_leaves_is_not_forgotten_if_all_others_lose_power),
        cmocka_unit_test(one_that_loses_power_as_it_leaves_says_so_again),
        cmocka_unit_test(one_that_leaves_ends_though_nobody_answers),
        cmocka_unit_test(one_that_is_lost_can_be_taken_out),
        cmocka_unit_test(who_does_not_answer_keeps_no_newcomer_waiting),
        cmocka_unit_test(who_comes_back_from_a_stop_is_linked_by_one_that_has_just_started),
        cmocka_unit_test(one_that_stops_leads_no_more),
        cmocka_unit_test(one_that_stops_hands_over_what_it_leads),
        cmocka_unit_test(who_stops_waits_for_nobody_for_long),
        cmocka_unit_test(who_leads_instead_of_a_dead_node_is_told),
        cmocka_unit_test(the_only_node_cannot_leave),
        cmocka_unit_test(a_plan_says_why_nothing_moves),
        cmocka_unit_test(who_comes_back_from_a_stop_is_linked_at_once),
        cmocka_unit_test(who_comes_back_from_a_short_stop_is_linked_soon),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("lattice", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
