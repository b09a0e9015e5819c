/* SPDX-License-Identifier: Apache-2.0 */
/* node/peers against whoever stands between two nodes, or knocks without being one: bytes changed,
 * cut and played again at every place, greetings that are garbage, floods of strangers (hazards X1,
 * X2, X5, X8). */
#include "tests/peers_world.h"
#include "tests/planted_story.h"

/* ---- somebody between two nodes ----------------------------------------------------------- */

enum { DIRECTIONS = 2, RECORDED_MAX = 4096 };

/* Host delta: passes on what alpha says to beta, and what beta answers. It changes one byte, or
 * ends the connection there, and keeps a record. */
typedef struct middle {
    lattice *in;
    lw_env *env;
    int direction;    /* in which it meddles: 0 from alpha */
    uint64_t at;      /* the byte; UINT64_MAX: none */
    bool ends;        /* instead of changing it */
    uint32_t dialled; /* connections so far; it meddles with the first */
    bool meddled;
    uint8_t recorded[RECORDED_MAX]; /* of the first connection, from alpha */
    size_t recorded_size;
} middle;

typedef struct tube {
    middle *of;
    lw_handle from, to;
    int direction;
    bool first;
} tube;

LW_YIELDS static void tube_main(void *argument) {
    tube *one = argument;
    middle *of = one->of;
    uint8_t bytes[1024];
    uint64_t at = 0;
    for (;;) {
        size_t size = 0;
        if (lw_socket_receive(of->env, one->from, bytes, sizeof(bytes), 0, &size) != LW_OK ||
            size == 0) {
            break;
        }
        if (one->first && one->direction == 0) {
            size_t room = RECORDED_MAX - of->recorded_size;
            memcpy(of->recorded + of->recorded_size, bytes, size < room ? size : room);
            of->recorded_size += size < room ? size : room;
        }
        bool here =
            one->first && one->direction == of->direction && of->at >= at && of->at < at + size;
        if (here) {
            of->meddled = true;
            if (of->ends) {
                size = of->at - at;
            } else {
                bytes[of->at - at] ^= 0x40;
            }
        }
        at += size;
        if (lw_socket_send(of->env, one->to, lw_view(bytes, size), 0) != LW_OK ||
            (here && of->ends)) {
            break;
        }
    }
    lw_socket_close(of->env, one->to);
}

static void start_tube(middle *of, lw_handle from, lw_handle to, int direction, bool first) {
    tube *one = lw_allocate(of->env->memory, sizeof(*one));
    *one = (tube){.of = of, .from = from, .to = to, .direction = direction, .first = first};
    lw_env_start(of->env, "tube", tube_main, one);
}

LW_YIELDS static void middle_main(void *argument) {
    middle *of = argument;
    lw_handle listener, from, to;
    if (lw_socket_listen(of->env, "delta:7871", &listener, NULL) != LW_OK) {
        return;
    }
    while (lw_socket_accept(of->env, listener, &from) == LW_OK) {
        if (lw_socket_connect(of->env, "beta:7871", 0, &to) == LW_OK) {
            bool first = of->dialled++ == 0;
            start_tube(of, from, to, 0, first);
            start_tube(of, to, from, 1, first);
        }
    }
}

static middle stand_between(lattice *in, int direction, uint64_t at, bool ends) {
    return (middle){.in = in,
                    .env = lw_host_boot(in->nodes[3].host),
                    .direction = direction,
                    .at = at,
                    .ends = ends};
}

/* Alpha talks to beta through delta; true if there was a byte to meddle with. */
static bool talk(int direction, uint64_t at, bool ends) {
    lattice *in = open_quiet(at + 1);
    in->nodes[1].stated = "delta:7871";
    node *one = boot(in, 0), *other = boot(in, 1);
    static middle between;
    between = stand_between(in, direction, at, ends);
    lw_env_start(between.env, "middle", middle_main, &between);
    lw_peers_set(one->peers, id_of(other), "delta:7871");
    for (uint64_t number = 1; number <= 20; number++) {
        uint8_t counted[8];
        lw_put_u64(counted, number);
        run_for(in, 20 * MS);
        (void)lw_peers_send(one->peers, id_of(other), lw_view(counted, 8));
    }
    run_for(in, 2 * SECOND);
    /* What arrived was said, in this order, and once. */
    assert_int_equal(other->out_of_order, 0);
    assert_int_equal(other->bytes, 8 * other->messages);
    assert_true(other->sequence <= 20);
    assert_int_equal(one->impostor.status, LW_OK);
    assert_int_equal(other->impostor.status, LW_OK);
    /* And a second try goes through. */
    between.at = UINT64_MAX;
    run_for(in, 8 * SECOND);
    assert_true(up(one, other));
    say(one, other, "got it?");
    run_for(in, 100 * MS);
    assert_string_equal(other->last, "got it?");
    bool meddled = between.meddled;
    assert_true(!meddled || between.dialled > 1); /* it was noticed */
    close_lattice(in);
    return meddled;
}

static void every_byte_that_is_changed_on_the_way_is_noticed(void **state) {
    (void)state;
    for (int direction = 0; direction < DIRECTIONS; direction++) {
        uint64_t at = 0;
        while (talk(direction, at, false)) {
            at++;
        }
        assert_true(at > 250); /* the handshake, and some records */
    }
}

static void a_connection_may_end_behind_every_byte(void **state) {
    (void)state;
    for (int direction = 0; direction < DIRECTIONS; direction++) {
        uint64_t at = 0;
        while (talk(direction, at, true)) {
            at += 3;
        }
        assert_true(at > 250);
    }
}

/* ---- strangers ---------------------------------------------------------------------------- */

typedef struct stranger {
    lw_env *env;
    const char *address;
    lw_bytes says;
    uint64_t stays_ns;
    lw_buffer heard;
    bool connected, done;
} stranger;

LW_YIELDS static void stranger_main(void *argument) {
    stranger *one = argument;
    lw_handle socket = LW_NO_HANDLE;
    uint8_t bytes[512];
    size_t size = 0;
    one->heard = lw_buffer_in(one->env->memory);
    uint64_t deadline_ns = lw_env_now(one->env) + one->stays_ns;
    one->connected = lw_socket_connect(one->env, one->address, deadline_ns, &socket) == LW_OK;
    if (one->connected && lw_socket_send(one->env, socket, one->says, deadline_ns) == LW_OK) {
        while (lw_socket_receive(one->env, socket, bytes, sizeof(bytes), deadline_ns, &size) ==
                   LW_OK &&
               size > 0) {
            lw_buffer_append(&one->heard, lw_view(bytes, size));
        }
    }
    if (one->connected) {
        lw_socket_close(one->env, socket);
    }
    one->done = true;
}

static void knock(stranger *one, lw_env *env, const char *address, lw_bytes says,
                  uint64_t stays_ns) {
    *one = (stranger){.env = env, .address = address, .says = says, .stays_ns = stays_ns};
    lw_env_start(env, "stranger", stranger_main, one);
}

/* X1: what one connection said, said again on another, also to a later run of the node. */
static void what_was_recorded_is_worth_nothing_when_it_is_played_again(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    in->nodes[1].stated = "delta:7871";
    node *one = boot(in, 0), *other = boot(in, 1);
    static middle between;
    between = stand_between(in, 0, UINT64_MAX, false);
    lw_env_start(between.env, "middle", middle_main, &between);
    lw_peers_set(one->peers, id_of(other), "delta:7871");
    run_for(in, 100 * MS);
    say(one, other, "pay a hundred");
    run_for(in, 100 * MS);
    assert_int_equal(other->messages, 1);
    assert_true(between.recorded_size > 200);
    for (uint32_t round = 0; round < 2; round++) {
        stranger again;
        knock(&again, between.env, "beta:7871", lw_view(between.recorded, between.recorded_size),
              SECOND);
        run_for(in, 2 * SECOND);
        assert_true(again.connected);
        assert_int_equal(other->messages, 1);
        if (round == 0) {
            assert_true(up(one, other)); /* nor does it harm the true link */
            lw_host_kill(other->host);
            (void)boot(in, 1);
        }
    }
    close_lattice(in);
}

static void garbage_is_refused_and_forgotten(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    lw_env *env = lw_host_boot(in->nodes[3].host);
    lw_chance chance = lw_world_chance(in->world, "garbage");
    size_t before = lw_memory_used(other->env->memory);
    for (uint32_t round = 0; round < 200; round++) {
        uint8_t bytes[600] = "LW01";
        stranger knocker;
        lw_chance_fill(&chance, bytes + 4, sizeof(bytes) - 4);
        if (round % 2 == 0) { /* a good greeting, then garbage */
            lw_buffer greeting = lw_buffer_in(env->memory);
            lw_greeting said = {.protocol_min = 1,
                                .protocol_max = 1,
                                .kind = LW_GREETING_NODE,
                                .key_epoch = in->key.epoch};
            memcpy(said.cluster_id, in->key.id, sizeof(said.cluster_id));
            lw_greeting_encode(&said, &greeting);
            lw_step_encode(LW_STEP_NOISE, lw_view(bytes + 100, round), &greeting);
            memcpy(bytes, greeting.data, greeting.size);
            lw_buffer_reset(&greeting);
        }
        knock(&knocker, env, "beta:7871", lw_view(bytes, 4 + lw_chance_below(&chance, 590)),
              20 * SECOND);
        run_for(in, 12 * SECOND);
        assert_true(knocker.done);
        lw_buffer_reset(&knocker.heard);
    }
    lw_peers_figures figures;
    lw_peers_figures_get(other->peers, &figures);
    assert_true(figures.refused > 100);
    assert_true(lw_memory_used(other->env->memory) < before + 4096);
    acquaint(one, other);
    assert_true(up(one, other));
    close_lattice(in);
}

static void a_refusal_tells_the_other_side_why(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    (void)boot(in, 1);
    lw_env *env = lw_host_boot(in->nodes[3].host);
    stranger future;
    const uint8_t bytes[] = {'L', 'W', '0', '1', 4, 0, 7, 8, 1, 1};
    knock(&future, env, "beta:7871", lw_view(bytes, sizeof(bytes)), SECOND);
    run_for(in, 2 * SECOND);
    lw_bytes rest = lw_buffer_view(&future.heard), words;
    lw_step_kind kind;
    assert_int_equal(lw_step_take(&rest, &kind, &words), LW_OK);
    assert_int_equal(kind, LW_STEP_REFUSED);
    assert_non_null(memmem(words.data, words.size, "protocol 7 to 8", 15));
    close_lattice(in);
}

/* X8. */
static void a_flood_of_strangers_costs_little_and_keeps_nobody_out(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    static stranger flood[COUNT];
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    lw_env *env = lw_host_boot(in->nodes[3].host);
    size_t before = lw_memory_used(other->env->memory), most = 0;
    for (uint32_t index = 0; index < COUNT; index++) {
        knock(&flood[index], env, "beta:7871", lw_text("LW01"), 100 * SECOND);
        run_for(in, MS / 10);
        size_t used = lw_memory_used(other->env->memory);
        most = used > most ? used : most;
    }
    assert_true(most - before < (LW_PEERS_STRANGERS_MAX + 40) * 8192);
    acquaint(one, other); /* while they stand there */
    assert_true(up(one, other));
    assert_true(lw_world_marked(in->world, "peers.too_many_strangers") > 0);
    run_for(in, 11 * SECOND);
    uint32_t done = 0;
    for (uint32_t index = 0; index < COUNT; index++) {
        done += flood[index].done ? 1 : 0;
    }
    assert_int_equal(done, COUNT); /* nobody has more than 10 s */
    assert_true(lw_memory_used(other->env->memory) < before + 100000);
    close_lattice(in);
}

/* ---- a member gone mad -------------------------------------------------------------------- */

typedef struct mad {
    lattice *in;
    lw_env *env;
    lw_node_identity identity;
    lw_presence presence;
    lw_bytes frames; /* said after the handshake, as they are */
    uint64_t pings;  /* then so many pings, whose answers are not read */
    lw_status status;
    bool done;
} mad;

LW_YIELDS static lw_status shake(mad *one, lw_wire *wire, lw_buffer *said) {
    uint8_t psk[LW_SHARED_KEY_SIZE];
    lw_peer_card card;
    lw_greeting greeting = {.protocol_min = LW_PEER_PROTOCOL_MIN,
                            .protocol_max = LW_PEER_PROTOCOL_MAX,
                            .kind = LW_GREETING_NODE,
                            .key_epoch = one->in->key.epoch};
    lw_wire_kind kind;
    lw_bytes body;
    memcpy(greeting.cluster_id, one->in->key.id, sizeof(greeting.cluster_id));
    lw_lattice_node_key(&one->in->key, psk);
    LW_TRY(lw_handshake_begin(wire, &one->presence, &greeting, 0, psk, 0, said, &card));
    return lw_wire_next(wire, 0, &kind, &body);
}

LW_YIELDS static void mad_main(void *argument) {
    mad *one = argument;
    lw_wire wire;
    lw_handle socket = LW_NO_HANDLE;
    lw_buffer said = lw_buffer_in(one->env->memory);
    one->status = lw_socket_connect(one->env, "beta:7871", 0, &socket);
    if (one->status == LW_OK) {
        lw_wire_init(&wire, one->env, socket, (lw_bytes){0});
        one->status = shake(one, &wire, &said);
    }
    if (one->status == LW_OK) {
        lw_buffer_append(&wire.out, one->frames);
        for (uint64_t ping = 0; ping < one->pings; ping++) {
            uint8_t number[8] = {0};
            lw_wire_put(&wire, LW_WIRE_PING, lw_view(number, 8), (lw_bytes){0});
        }
        lw_wire_flush(&wire);
        if (one->pings > 0) {
            lw_env_sleep(one->env, 5 * SECOND);
        }
        lw_wire_kind kind;
        lw_bytes body;
        while (one->status == LW_OK && one->pings == 0) {
            one->status = lw_wire_next(&wire, lw_env_now(one->env) + 2 * SECOND, &kind, &body);
        }
        lw_wire_reset(&wire);
    }
    one->done = true;
}

static void go_mad(lattice *in, mad *one, lw_bytes frames, uint64_t pings) {
    node *delta = &in->nodes[3];
    *one = (mad){.in = in, .env = lw_host_boot(delta->host), .frames = frames, .pings = pings};
    make_identity(4, &in->key, &one->identity);
    lw_presence_init(&one->presence, one->env, &one->identity, in->key.id, 1, "delta:7871");
    lw_env_start(one->env, "mad", mad_main, one);
}

static void frames_that_make_no_sense_end_the_link(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        lw_status status; /* as the mad one sees it */
    } cases[] = {
        {"\0\0\0\0\0", 5, LW_UNAVAILABLE},         /* no such kind */
        {"\x09\0\0\0\0", 5, LW_UNAVAILABLE},       /* nor this */
        {"\1\xff\xff\xff\xff", 5, LW_UNAVAILABLE}, /* 4 GiB are not waited for */
        {"\2\3\0\0\0abc", 8, LW_UNAVAILABLE},      /* a request that is none */
        {"\2\7\0\0\0abcdefg", 12, LW_UNAVAILABLE}, /* ... */
        {"\3\0\0\0\0", 5, LW_UNAVAILABLE},         /* a reply comes the other way */
        {"\6\0\0\0\0", 5, LW_UNAVAILABLE},         /* so does a welcome */
        {"\x08\0\0\0\0", 5, LW_UNAVAILABLE},       /* and secrets */
        {"\7\0\0\0\0", 5, LW_UNAVAILABLE},         /* a refusal without words */
        {"\5\1\0\0\0x", 6, LW_TIMEOUT},            /* a pong that is none: nobody cares */
        {"\4\1\0\0\0x\4\0\0\0\0", 11, LW_TIMEOUT}, /* pings of any size are answered */
        {"\1\4\0\0\0word", 9, LW_TIMEOUT},         /* good */
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        lattice *in = open_quiet(1);
        node *one = boot(in, 0), *other = boot(in, 1);
        acquaint(one, other);
        mad member;
        go_mad(in, &member, lw_view(cases[index].bytes, cases[index].size), 0);
        run_for(in, 4 * SECOND);
        assert_true(member.done);
        assert_int_equal(member.status, cases[index].status);
        assert_true(up(one, other)); /* the others do not notice */
        assert_int_equal(other->impostor.status, LW_OK);
        close_lattice(in);
    }
}

static void who_does_not_read_answers_is_not_read_either(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    mad member;
    go_mad(in, &member, (lw_bytes){0}, 2000000);
    size_t most = 0;
    for (uint32_t step = 0; step < 400; step++) {
        run_for(in, 10 * MS);
        size_t used = lw_memory_used(other->env->memory);
        most = used > most ? used : most;
    }
    assert_true(most < 24 * 1024 * 1024);
    assert_true(lw_world_marked(in->world, "peers.reader_held_back") > 0);
    assert_true(up(one, other));
    run_for(in, 10 * SECOND);
    close_lattice(in);
}

static void a_member_cannot_ask_for_more_than_the_node_holds(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    lattice *in = open_quiet(1);
    node *other = boot(in, 1);
    other->quiet = true;
    lw_buffer frames = lw_buffer_in(lw_host_boot(in->nodes[2].host)->memory);
    for (uint64_t index = 0; index < COUNT; index++) {
        lw_request request = {.kind = LW_MESSAGE_GET, .id = index + 1, .shard = 1};
        size_t size_at = frames.size + 1;
        lw_buffer_append_u8(&frames, LW_WIRE_REQUEST);
        lw_buffer_append_u32(&frames, 0);
        lw_request_encode(&request, &frames);
        lw_put_u32(frames.data + size_at, (uint32_t)(frames.size - size_at - 4));
    }
    mad member;
    go_mad(in, &member, lw_buffer_view(&frames), 0);
    run_for(in, SECOND);
    assert_int_equal(other->waiting, 2 * LW_PEERS_ASKS_MAX);
    assert_true(lw_world_marked(in->world, "peers.too_many_requests") > 0);
    lw_queue_wake_all(&other->gate);
    run_for(in, 5 * SECOND);
    assert_int_equal(other->handled, 2 * LW_PEERS_ASKS_MAX);
    close_lattice(in);
}

/* ---- cures taken out ----------------------------------------------------------------------- */

static void planted_bugs_show(void **state) {
    static const planted_name bugs[] = {
        {"peers.strangers_unbounded", a_flood_of_strangers_costs_little_and_keeps_nobody_out},
    };
    planted_names_show(bugs, sizeof(bugs) / sizeof(bugs[0]), &peers_planted, state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_that_is_changed_on_the_way_is_noticed),
        cmocka_unit_test(a_connection_may_end_behind_every_byte),
        cmocka_unit_test(what_was_recorded_is_worth_nothing_when_it_is_played_again),
        cmocka_unit_test(garbage_is_refused_and_forgotten),
        cmocka_unit_test(a_refusal_tells_the_other_side_why),
        cmocka_unit_test(a_flood_of_strangers_costs_little_and_keeps_nobody_out),
        cmocka_unit_test(frames_that_make_no_sense_end_the_link),
        cmocka_unit_test(who_does_not_read_answers_is_not_read_either),
        cmocka_unit_test(a_member_cannot_ask_for_more_than_the_node_holds),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("peers, hostile", tests, unit_arm, NULL) != 0;
}
