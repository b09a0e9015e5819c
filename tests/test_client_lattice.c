/* SPDX-License-Identifier: Apache-2.0 */
/* Clients of several nodes: who is asked, what is made of the answers, and that whatever a client
 * says of its transactions is true, wherever leaders move and whichever node dies or falls silent
 * in whatever it does. */
#include "tests/client_lattice.h"

/* ---- stories -------------------------------------------------------------------------------- */

#define ALL "node0:7871,node1:7871,node2:7871"

typedef void client_story(lattice *in, lw_client *client);

typedef struct told_story {
    lattice in;
    client_story *story;
    const char *addresses;
    uint32_t timeout_ms;
} told_story;

static told_story telling;

static void story_main(void *argument) {
    lattice *in = argument;
    lw_client *client = lattice_client(in, telling.addresses, telling.timeout_ms);
    telling.story(in, client);
    lw_close(client);
    in->working--;
}

static void tell_to(client_story *story, const char *addresses, uint32_t timeout_ms) {
    telling = (told_story){.story = story, .addresses = addresses, .timeout_ms = timeout_ms};
    lattice_begin(&telling.in, 1, NULL);
    lattice_run(&telling.in, story_main);
    char failure[256];
    memcpy(failure, telling.in.bench.failure, sizeof(failure));
    lattice_end(&telling.in);
    if (failure[0] != 0) {
        fail_msg("not as expected: %s", failure);
    }
}

static void tell(client_story *story) {
    tell_to(story, ALL, 10000);
}

static void check(lattice *in, lw_client *client, bool holds, const char *what) {
    if (!holds && in->bench.failure[0] == 0) {
        (void)snprintf(in->bench.failure, sizeof(in->bench.failure), "%.70s (%.170s)", what,
                       lw_client_error(client));
    }
}

/* Puts keys of both shards in one transaction, or of one. */
LW_YIELDS static lw_status put(lw_client *client, const char *one, const char *other,
                               const char *value) {
    lw_txn *txn = NULL;
    LW_TRY(lw_begin(client, NULL, &txn));
    lw_status status = lw_put(txn, lw_text(one), lw_text(value));
    if (status == LW_OK && other != NULL) {
        status = lw_put(txn, lw_text(other), lw_text(value));
    }
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    lw_env_sleep(client->env, 5 * BENCH_MS); /* what it sent behind is done as well */
    return status;
}

LW_YIELDS static bool holds(lw_client *client, const char *key, const char *wanted) {
    lw_txn *txn = NULL;
    lw_bytes value = {0};
    bool same = lw_begin(client, NULL, &txn) == LW_OK &&
                lw_get(txn, lw_text(key), &value) == LW_OK && lw_equal(value, lw_text(wanted));
    lw_txn_close(txn);
    return same;
}

static uint64_t now_ms(const lattice *in) {
    return lw_env_now(in->env) / BENCH_MS;
}

LW_YIELDS static void learning_story(lattice *in, lw_client *client) {
    check(in, client, put(client, "a", "z", "1") == LW_OK, "one address is enough");
    check(in, client, client->contacts.count >= LATTICE_NODES, "it hears of all nodes");
    uint64_t session = lw_contacts_of(&client->contacts, in->nodes[0].id)->link.session;
    check(in, client,
          session != 0 &&
              lw_contacts_of(&client->contacts, in->nodes[1].id)->link.session == session,
          "and is of one session on all");
    check(in, client, holds(client, "a", "1") && holds(client, "z", "1"), "it is written");
    uint32_t before = in->asked[LW_MESSAGE_GET];
    check(in, client, holds(client, "a", "1") && holds(client, "z", "1"), "it is read again");
    check(in, client, in->asked[LW_MESSAGE_GET] == before + 2, "and each leader is asked at once");
    lattice_do(&in->nodes[0], lattice_kill_now);
    lattice_move(in, 0, 2);
    check(in, client, put(client, "a", NULL, "2") == LW_OK, "the address it was given may be gone");
    check(in, client, holds(client, "a", "2"), "it is written all the same");
}
static void one_address_is_enough_to_find_all_nodes(void **state) {
    (void)state;
    tell_to(learning_story, "node0:7871", 10000);
    tell_to(learning_story, "node9:7871,node0:7871", 10000);
}

LW_YIELDS static void following_story(lattice *in, lw_client *client) {
    char value[16];
    for (uint32_t round = 0; round < 60; round++) {
        in->hints = round < 20 ? HINTS_RIGHT : round < 40 ? HINTS_NONE : HINTS_IN_A_CIRCLE;
        lattice_move(in, 0, (int)(round % LATTICE_NODES));
        lattice_move(in, 1, (int)(round / 2 % LATTICE_NODES));
        (void)snprintf(value, sizeof(value), "%u", round);
        uint64_t began_ms = now_ms(in);
        check(in, client, put(client, "a", "z", value) == LW_OK, "it follows");
        check(in, client, holds(client, "a", value), "to the one");
        check(in, client, holds(client, "z", value), "and to the other");
        check(in, client, now_ms(in) - began_ms < 100, "without waiting for long");
    }
}
static void it_follows_the_leaders_with_hints_of_any_kind(void **state) {
    (void)state;
    tell(following_story);
}

LW_YIELDS static void leaderless_story(lattice *in, lw_client *client) {
    check(in, client, put(client, "a", "z", "1") == LW_OK, "it writes");
    lattice_move(in, 0, LATTICE_NOBODY);
    lw_txn *txn = NULL;
    lw_bytes value;
    lw_txn_options options = {.timeout_ms = 700};
    check(in, client, lw_begin(client, &options, &txn) == LW_OK, "it begins");
    uint64_t began_ms = now_ms(in);
    uint32_t before = in->asked[LW_MESSAGE_GET];
    check(in, client, lw_get(txn, lw_text("a"), &value) == LW_TIMEOUT, "nobody leads");
    uint32_t asked_count = in->asked[LW_MESSAGE_GET] - before;
    check(in, client, now_ms(in) - began_ms < 750, "until the deadline");
    check(in, client, asked_count > 6 && asked_count < 60, "it asks now and then");
    check(in, client, strstr(lw_client_error(client), ":7871") != NULL, "it says whom");
    lw_txn_close(txn);
    check(in, client, holds(client, "z", "1"), "the other shard is not concerned");
    lattice_move(in, 0, 2);
    check(in, client, holds(client, "a", "1"), "it is there again");
}
static void a_shard_without_a_leader_is_asked_for_until_the_deadline(void **state) {
    (void)state;
    tell(leaderless_story);
}

LW_YIELDS static void all_down_story(lattice *in, lw_client *client) {
    for (int index = 0; index < LATTICE_NODES; index++) {
        lattice_do(&in->nodes[index], lattice_kill_now);
    }
    uint64_t began_ms = now_ms(in);
    check(in, client, lw_ping(client) == LW_UNAVAILABLE, "nobody is there");
    check(in, client, now_ms(in) - began_ms < 50, "which shows at once if nobody ever was");
    lattice_do(&in->nodes[2], lattice_boot_now);
    lattice_move(in, 0, 2);
    lattice_move(in, 1, 2);
    check(in, client, put(client, "a", "z", "1") == LW_OK, "the one that is there suffices");
    lattice_do(&in->nodes[2], lattice_kill_now);
    began_ms = now_ms(in);
    check(in, client, lw_ping(client) == LW_TIMEOUT, "now it is waited for");
    check(in, client, now_ms(in) - began_ms >= 1000, "until the deadline");
    check(in, client, strstr(lw_client_error(client), ":7871") != NULL, "it says whom it asked");
    lattice_do(&in->nodes[1], lattice_boot_now);
    lattice_move(in, 0, 1);
    lattice_move(in, 1, 1);
    check(in, client, holds(client, "a", "1") && holds(client, "z", "1"), "it comes back");
}
static void all_nodes_down(void **state) {
    (void)state;
    tell_to(all_down_story, ALL, 1000);
}

LW_YIELDS static void silent_story(lattice *in, lw_client *client) {
    check(in, client, put(client, "a", "z", "1") == LW_OK, "it writes");
    lattice_do(&in->nodes[0], lattice_pause_now);
    lattice_move(in, 0, 2);
    uint64_t began_ms = now_ms(in);
    check(in, client, put(client, "a", "z", "2") == LW_OK, "it goes elsewhere");
    check(in, client, now_ms(in) - began_ms < 2500, "soon");
    began_ms = now_ms(in);
    check(in, client, put(client, "a", "z", "3") == LW_OK, "and stays there");
    check(in, client, now_ms(in) - began_ms < 50, "at once");
}
static void a_node_that_falls_silent_is_left(void **state) {
    (void)state;
    tell(silent_story);
}

LW_YIELDS static void slow_story(lattice *in, lw_client *client) {
    check(in, client, put(client, "a", "z", "1") == LW_OK, "it writes");
    in->nodes[0].slow_ms = 4000;
    uint32_t before = in->asked[LW_MESSAGE_GET];
    uint64_t began_ms = now_ms(in);
    check(in, client, holds(client, "a", "1"), "it waits for who takes his time");
    check(in, client, now_ms(in) - began_ms >= 4000, "as long as it takes");
    check(in, client, in->asked[LW_MESSAGE_GET] == before + 1, "and asks nobody else");
    check(in, client, in->asked[LW_MESSAGE_PING] > 0, "but whether he is still there");
}
static void a_slow_node_is_waited_for(void **state) {
    (void)state;
    tell(slow_story);
}

LW_YIELDS static void parallel_story(lattice *in, lw_client *client) {
    check(in, client, put(client, "a", "z", "1") == LW_OK, "it writes");
    for (int index = 0; index < LATTICE_NODES; index++) {
        in->nodes[index].slow_ms = 100;
    }
    lw_txn *txn = NULL;
    lw_lookup lookups[] = {{.key = lw_text("a")}, {.key = lw_text("z")}};
    check(in, client, lw_begin(client, NULL, &txn) == LW_OK, "it begins");
    uint64_t began_ms = now_ms(in);
    check(in, client, lw_get_many(txn, lookups, 2) == LW_OK, "it reads");
    check(in, client, now_ms(in) - began_ms < 250, "from both at once, after a timestamp");
    check(in, client,
          lw_equal(lookups[0].value, lw_text("1")) && lw_equal(lookups[1].value, lw_text("1")),
          "what is there");
    lw_txn_close(txn);
    began_ms = now_ms(in);
    check(in, client, put(client, "a", "z", "2") == LW_OK, "it writes");
    check(in, client, now_ms(in) - began_ms < 350, "to both at once");
}
static void several_nodes_are_asked_at_once(void **state) {
    (void)state;
    tell(parallel_story);
}

LW_YIELDS static void lock_story(lattice *in, lw_client *client) {
    lw_client *other = lattice_client(in, ALL, 2000);
    lw_txn *txn = NULL, *next = NULL;
    lw_txn_options options = {.locking = LW_PESSIMISTIC};
    check(in, client, put(client, "a", "z", "1") == LW_OK, "it writes");
    for (int commits = 0; commits < 2; commits++) {
        check(in, client, lw_begin(client, &options, &txn) == LW_OK, "it begins");
        check(in, client, lw_put(txn, lw_text("a"), lw_text("2")) == LW_OK, "it locks here");
        check(in, client, lw_put(txn, lw_text("z"), lw_text("2")) == LW_OK, "and there");
        uint32_t here = in->nodes[0].rollbacks, there = in->nodes[1].rollbacks;
        check(in, client, (commits ? lw_commit(txn) : lw_rollback(txn)) == LW_OK, "it ends");
        check(in, client,
              commits ||
                  (in->nodes[0].rollbacks == here + 1 && in->nodes[1].rollbacks == there + 1),
              "each of the two nodes hears of it");
        uint64_t began_ms = now_ms(in);
        check(in, other, lw_begin(other, &options, &next) == LW_OK, "another begins");
        check(in, other, lw_put(next, lw_text("a"), lw_text("3")) == LW_OK, "and locks here");
        check(in, other, lw_put(next, lw_text("z"), lw_text("3")) == LW_OK, "and there");
        check(in, other, now_ms(in) - began_ms < 500, "without waiting");
        lw_txn_close(next);
        lw_txn_close(txn);
    }
    lw_close(other);
}
static void pessimistic_locks_are_let_go_on_every_node(void **state) {
    (void)state;
    tell(lock_story);
}

LW_YIELDS static void alias_story(lattice *in, lw_client *client) {
    in->hints = HINTS_NONE;
    for (int round = 0; round < 30; round++) {
        lattice_move(in, 0, round % LATTICE_NODES);
        check(in, client, put(client, "a", "z", "1") == LW_OK, "it writes on and on");
    }
    check(in, client, lw_world_marked(in->bench.world, "client.two_addresses_of_a_node") > 0,
          "it notices");
    check(in, client, lw_world_marked(in->bench.world, "session.taken_over") < 3,
          "and does not take its own connections over again and again");
}
static void two_addresses_of_a_node_are_one_node(void **state) {
    (void)state;
    tell_to(alias_story, "node0:7871,host:8000,host:8001,node1:7871", 5000);
}

/* A commit is carried out by a node that loses the leadership meanwhile, and nobody leads before
 * the deadline. */
LW_YIELDS static void doubt_story(lattice *in, lw_client *client) {
    check(in, client, put(client, "a", NULL, "old") == LW_OK, "it writes");
    in->trap_kind = LW_MESSAGE_COMMIT_NOW;
    in->trap = TRAP_MOVES;
    in->leaderless = true;
    check(in, client, put(client, "a", NULL, "new") == LW_UNDETERMINED, "nobody knows");
    char token[80];
    uint64_t committed = 0;
    (void)snprintf(token, sizeof(token), "%s", lw_undetermined_token(client));
    lattice_move(in, 0, 2);
    check(in, client, lw_txn_outcome(client, token, &committed) == LW_OK && committed != 0,
          "until somebody leads");
    check(in, client, holds(client, "a", "new"), "it was carried out");
}
static void a_commit_without_a_word_is_undetermined(void **state) {
    (void)state;
    tell_to(doubt_story, ALL, 1500);
}

/* ---- addresses ------------------------------------------------------------------------------ */

static lw_status open_with(const char *addresses, char text[LW_ERROR_TEXT_SIZE]) {
    lw_client_options options = {.address = addresses};
    lw_client *client = NULL;
    lw_status status = lw_open(&options, &client);
    (void)snprintf(text, LW_ERROR_TEXT_SIZE, "%s", lw_client_error(client));
    lw_close(client);
    return status;
}

static void a_list_of_addresses_is_checked(void **state) {
    (void)state;
    char text[LW_ERROR_TEXT_SIZE], many[16 * (LW_ADDRESS_COUNT_MAX + 1)] = "";
    assert_int_equal(open_with("a:1", text), LW_OK);
    assert_int_equal(open_with("a:1,b:2,a:1", text), LW_OK); /* once more does no harm */
    static const char *const wrong[] = {"", ",", "a:1,", "a:1,,b:2", "a:1,b", "a:1,:2", "a:1,b:"};
    for (size_t index = 0; index < sizeof(wrong) / sizeof(*wrong); index++) {
        bool ends_well = strcmp(wrong[index], "a:1,") == 0; /* as lists may be made */
        assert_int_equal(open_with(wrong[index], text), ends_well ? LW_OK : LW_INVALID_ARGUMENT);
        assert_true(ends_well || strstr(text, "HOST:PORT") != NULL);
    }
    for (int index = 0; index <= LW_ADDRESS_COUNT_MAX; index++) {
        size_t size = strlen(many);
        (void)snprintf(many + size, sizeof(many) - size, "%sh%d:1", index > 0 ? "," : "", index);
    }
    assert_int_equal(open_with(many, text), LW_INVALID_ARGUMENT);
    assert_true(strstr(text, "65 addresses are more than the limit of 64") != NULL);
}

/* ---- a node dies in the middle of anything -------------------------------------------------- */

/* A transaction that takes the way in which requests of the kind are made. */
LW_YIELDS static lw_status go_through(lattice *in, lw_client *client, lw_message_kind kind) {
    lw_txn *txn = NULL;
    lw_bytes key, value;
    lw_scan *scan = NULL;
    bool locks = kind == LW_MESSAGE_LOCK || kind == LW_MESSAGE_ROLLBACK;
    lw_txn_options options = {.locking = locks ? LW_PESSIMISTIC : LW_OPTIMISTIC};
    bool one_shard = kind == LW_MESSAGE_COMMIT_NOW;
    (void)in;
    LW_TRY(lw_begin(client, &options, &txn));
    lw_status status = LW_OK;
    if (kind == LW_MESSAGE_SCAN) {
        status = lw_scan_open(txn, NULL, &scan);
        while (status == LW_OK && (status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        }
        status = status == LW_NOT_FOUND ? LW_OK : status;
        lw_scan_close(scan);
    } else if (kind != LW_MESSAGE_PREWRITE && !one_shard && !locks) {
        status = lw_get(txn, lw_text("b"), &value); /* in a shard that it also writes */
        status = status == LW_NOT_FOUND ? LW_OK : status;
    }
    if (status == LW_OK) {
        status = lw_put(txn, lw_text("a"), lw_text("new"));
    }
    if (status == LW_OK && !one_shard) {
        status = lw_put(txn, lw_text("z"), lw_text("new"));
    }
    if (status == LW_OK && kind == LW_MESSAGE_ROLLBACK) {
        status = lw_rollback(txn);
    } else if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    return status;
}

static lw_message_kind dying_kind;
static trap dying_trap;

LW_YIELDS static void dying_story(lattice *in, lw_client *client) {
    check(in, client, put(client, "a", "z", "old") == LW_OK, "it writes");
    in->trap_kind = dying_kind;
    in->trap = dying_trap;
    uint64_t began_ms = now_ms(in);
    lw_status status = go_through(in, client, dying_kind);
    char what[80];
    (void)snprintf(what, sizeof(what), "request of kind %d, trap %d: it succeeds", (int)dying_kind,
                   (int)dying_trap);
    bool conflict = status == LW_CONFLICT && dying_kind == LW_MESSAGE_LOCK; /* locks are hints */
    check(in, client, status == LW_OK || conflict, what);
    check(in, client, now_ms(in) - began_ms < 6000, "in time");
    if (dying_kind != LW_MESSAGE_ROLLBACK && status == LW_OK) {
        check(in, client, holds(client, "a", "new"), "and is there");
        check(in, client, dying_kind == LW_MESSAGE_COMMIT_NOW || holds(client, "z", "new"),
              "all of it");
    }
}

static void a_node_dies_in_the_middle_of_anything(void **state) {
    (void)state;
    static const lw_message_kind kinds[] = {
        LW_MESSAGE_TIMESTAMP, LW_MESSAGE_GET,    LW_MESSAGE_SCAN, LW_MESSAGE_COMMIT_NOW,
        LW_MESSAGE_PREWRITE,  LW_MESSAGE_COMMIT, LW_MESSAGE_LOCK, LW_MESSAGE_ROLLBACK};
    uint32_t sprung = 0;
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(*kinds); kind++) {
        for (int how = TRAP_DIES_BEFORE; how <= TRAP_MOVES; how++) {
            dying_kind = kinds[kind];
            dying_trap = (trap)how;
            tell(dying_story);
            sprung += telling.in.trapped;
        }
    }
    assert_true(sprung >= 24);
}

/* ---- whatever a client says is true --------------------------------------------------------- */

enum { CLIENTS = 4, ROUNDS = 40, KEYS = 6, NOTES_MAX = CLIENTS * ROUNDS };

static const char *const keys_of_all[KEYS] = {"a", "b", "c", "x", "y", "z"};

typedef struct note {
    lw_status told;
    bool sent; /* its commit */
    uint64_t read_at, committed;
    uint32_t read_key, write_keys[2], write_count;
    char value[16], read[16]; /* what it wrote, and what it read; "" nothing */
    char token[80];
} note;

static struct {
    lattice in;
    note notes[NOTES_MAX];
    uint32_t note_count, committed_count;
    uint64_t latest; /* the highest commit timestamp that anybody was told */
    bool troubled;
} running;

static void fault(const char *what) {
    expect(&running.in.bench, false, what);
}

static void copy_value(char to[16], lw_bytes value) {
    (void)snprintf(to, 16, "%.*s", (int)value.size, (const char *)value.data);
}

/* Reads a key, writes one or two. */
LW_YIELDS static lw_status work(lw_client *client, lw_txn *txn, note *made, uint64_t *latest) {
    lw_env *env = client->env;
    lw_bytes value;
    made->read_key = (uint32_t)lw_env_random_below(env, KEYS);
    lw_status status = lw_get(txn, lw_text(keys_of_all[made->read_key]), &value);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    made->read_at = lw_read_timestamp(txn);
    if (made->read_at <= *latest) {
        fault("a snapshot begins below what was acknowledged before it");
    }
    if (status == LW_OK) {
        copy_value(made->read, value);
    }
    uint32_t first = (uint32_t)lw_env_random_below(env, KEYS);
    uint32_t count = 1 + (uint32_t)lw_env_random_below(env, 2);
    for (uint32_t index = 0; index < count; index++) {
        made->write_keys[index] = (first + 3 * index) % KEYS;
        LW_TRY(lw_put(txn, lw_text(keys_of_all[made->write_keys[index]]), lw_text(made->value)));
        made->write_count++;
    }
    made->sent = true;
    return lw_commit(txn);
}

LW_YIELDS static void transact(lw_client *client, note *made) {
    lw_env *env = client->env;
    lw_txn_options options = {.timeout_ms = 500 + (uint32_t)lw_env_random_below(env, 4000),
                              .locking = lw_env_random_below(env, 3) == 0 ? LW_PESSIMISTIC
                                                                          : LW_OPTIMISTIC};
    lw_txn *txn = NULL;
    uint64_t began_ms = now_ms(&running.in), latest = running.latest;
    if (lw_begin(client, &options, &txn) != LW_OK) {
        fault("a transaction cannot begin");
        return;
    }
    made->told = work(client, txn, made, &latest);
    (void)snprintf(made->token, sizeof(made->token), "%s", lw_txn_token(txn));
    if (made->told == LW_OK) {
        made->committed = lw_commit_timestamp(txn);
        running.latest = made->committed > running.latest ? made->committed : running.latest;
        running.committed_count++;
    }
    lw_txn_close(txn);
    if (now_ms(&running.in) - began_ms > options.timeout_ms + 1500) {
        fault("a transaction outlasts its deadline");
    }
}

static void client_main(void *argument) {
    lattice *in = argument;
    lw_client *client = lattice_client(in, ALL, 5000);
    for (int round = 0; round < ROUNDS && in->bench.failure[0] == 0; round++) {
        note *made = &running.notes[running.note_count++];
        (void)snprintf(made->value, sizeof(made->value), "%u", running.note_count);
        transact(client, made);
        lw_env_sleep(in->env, lw_env_random_below(in->env, 100 * BENCH_MS));
    }
    lw_close(client);
    in->working--;
}

/* ---- trouble -------------------------------------------------------------------------------- */

static void heal(lattice *in) {
    for (int index = 0; index < LATTICE_NODES; index++) {
        lattice_boot(&in->nodes[index]);
        in->nodes[index].slow_ms = 0;
        lw_world_cut(in->bench.world, in->nodes[index].host, in->client_host, false);
    }
    for (uint32_t slot = 0; slot < LATTICE_SHARDS; slot++) {
        if (in->leaders[slot] == LATTICE_NOBODY) {
            lattice_move(in, slot, 0);
        }
    }
}

/* One thing goes wrong, or right again. Called between steps. */
static void trouble(void *argument) {
    lattice *in = argument;
    if (!running.troubled) {
        heal(in);
        return;
    }
    lw_chance chance = lw_world_chance(in->bench.world, "trouble");
    chance.state += lw_world_now(in->bench.world);
    lattice_node *at = &in->nodes[lw_chance_below(&chance, LATTICE_NODES)];
    uint32_t slot = (uint32_t)lw_chance_below(&chance, LATTICE_SHARDS);
    switch (lw_chance_below(&chance, 10)) {
    case 0:
        lattice_kill(at);
        break;
    case 1:
    case 2:
        lattice_boot(at);
        break;
    case 3:
        lw_world_cut(in->bench.world, at->host, in->client_host, true);
        break;
    case 4:
    case 5:
        lw_world_cut(in->bench.world, at->host, in->client_host, false);
        break;
    case 6:
        at->slow_ms = lw_chance_below(&chance, 2) * lw_chance_below(&chance, 800);
        break;
    case 7:
        in->hints = (lattice_hints)lw_chance_below(&chance, 3);
        break;
    case 8:
        lattice_move(in, slot, LATTICE_NOBODY);
        break;
    default:
        break;
    }
    if (lw_chance_percent(&chance, 60)) {
        lattice_move(in, slot, (int)lw_chance_below(&chance, LATTICE_NODES));
    }
    lw_world_at(in->bench.world,
                lw_world_now(in->bench.world) + (1 + lw_chance_below(&chance, 300)) * BENCH_MS,
                trouble, in);
}

/* ---- judging -------------------------------------------------------------------------------- */

/* What became of those of whom that is not known, and of all others as they were told. */
LW_YIELDS static void judge_fates(lw_client *client) {
    for (uint32_t index = 0; index < running.note_count; index++) {
        note *one = &running.notes[index];
        uint64_t committed = 0;
        if (one->token[0] == 0) {
            continue; /* its commit was never sent */
        }
        lw_status fate = lw_txn_outcome(client, one->token, &committed);
        if (fate != LW_OK && fate != LW_NOT_FOUND) {
            fault("what became of a transaction cannot be learned");
        } else if (one->told == LW_OK && (fate != LW_OK || committed != one->committed)) {
            fault("it was told that it committed, and did not, or not then");
        } else if (one->told != LW_OK && one->told != LW_UNDETERMINED && fate == LW_OK) {
            fault("it was told that it failed, and committed");
        }
        one->committed = fate == LW_OK ? committed : 0;
    }
}

/* What a key holds at or below a timestamp. */
static const char *version(uint32_t key, uint64_t timestamp) {
    uint64_t newest = 0;
    const char *value = "";
    for (uint32_t index = 0; index < running.note_count; index++) {
        const note *one = &running.notes[index];
        bool writes = (one->write_count > 0 && one->write_keys[0] == key) ||
                      (one->write_count > 1 && one->write_keys[1] == key);
        if (writes && one->committed > newest && one->committed <= timestamp) {
            newest = one->committed;
            value = one->value;
        }
    }
    return value;
}

LW_YIELDS static void judge_version(lw_client *client, uint32_t key, uint64_t timestamp) {
    lw_txn_options options = {.at_timestamp = timestamp, .timeout_ms = 8000};
    lw_txn *txn = NULL;
    lw_bytes value = {0};
    char found[16] = "";
    if (lw_begin(client, &options, &txn) != LW_OK) {
        fault("the past cannot be read");
        return;
    }
    lw_status status = lw_get(txn, lw_text(keys_of_all[key]), &value);
    if (status == LW_OK) {
        copy_value(found, value);
    }
    lw_txn_close(txn);
    if ((status != LW_OK && status != LW_NOT_FOUND) ||
        strcmp(found, version(key, timestamp)) != 0) {
        fault("a key does not hold what was committed to it");
    }
}

static void judge_main(void *argument) {
    lattice *in = argument;
    lw_client *client = lattice_client(in, "node1:7871", 10000);
    judge_fates(client);
    for (uint32_t index = 0; index < running.note_count; index++) {
        const note *one = &running.notes[index];
        for (uint32_t key = 0; key < one->write_count && one->committed != 0; key++) {
            judge_version(client, one->write_keys[key], one->committed);
            judge_version(client, one->write_keys[key], one->committed - 1);
        }
        if (one->read_at != 0 && strcmp(one->read, version(one->read_key, one->read_at)) != 0) {
            fault("a read missed a commit, or saw one too early");
        }
        if (one->committed != 0 &&
            strcmp(one->read, version(one->read_key, one->committed - 1)) != 0) {
            fault("what a transaction read had changed when it committed");
        }
    }
    lw_close(client);
    in->working--;
}

/* What was not as expected with a seed. */
static void run_random(uint64_t seed, const char *bug, char failure[256]) {
    memset(&running, 0, sizeof(running));
    lattice *in = &running.in;
    lattice_begin(in, seed, bug);
    running.troubled = true;
    in->working = CLIENTS;
    for (int index = 0; index < CLIENTS; index++) {
        lw_env_start(in->env, "client", client_main, in);
    }
    lw_world_at(in->bench.world, lw_world_now(in->bench.world), trouble, in);
    while (in->working > 0 && lw_world_step(in->bench.world)) {
    }
    expect(&in->bench, in->working == 0, "all clients come to an end");
    running.troubled = false;
    bench_pass_ms(&in->bench, 1000);
    lattice_run(in, judge_main);
    memcpy(failure, in->bench.failure, sizeof(in->bench.failure));
    lattice_end(in);
}

static void whatever_a_client_says_is_true(void **state) {
    (void)state;
    uint32_t committed = 0;
    for (uint64_t seed = 1; seed <= 25; seed++) {
        char failure[256];
        run_random(seed, NULL, failure);
        committed += running.committed_count;
        if (failure[0] != 0) {
            fail_msg("with seed %llu not as expected: %s", (unsigned long long)seed, failure);
        }
    }
    assert_true(committed > 500);
}

static void planted_bugs_show(void **state) {
    (void)state;
    static const char *const bugs[] = {"client.doubt_is_failure", "txn.no_idempotence"};
    for (size_t bug = 0; bug < sizeof(bugs) / sizeof(*bugs); bug++) {
        char failure[256] = "";
        for (uint64_t seed = 1; seed <= 100 && failure[0] == 0; seed++) {
            run_random(seed, bugs[bug], failure);
        }
        if (failure[0] == 0) {
            fail_msg("the planted bug %s was not noticed", bugs[bug]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_is_enough_to_find_all_nodes),
        cmocka_unit_test(it_follows_the_leaders_with_hints_of_any_kind),
        cmocka_unit_test(a_shard_without_a_leader_is_asked_for_until_the_deadline),
        cmocka_unit_test(all_nodes_down),
        cmocka_unit_test(a_node_that_falls_silent_is_left),
        cmocka_unit_test(a_slow_node_is_waited_for),
        cmocka_unit_test(several_nodes_are_asked_at_once),
        cmocka_unit_test(pessimistic_locks_are_let_go_on_every_node),
        cmocka_unit_test(two_addresses_of_a_node_are_one_node),
        cmocka_unit_test(a_commit_without_a_word_is_undetermined),
        cmocka_unit_test(a_list_of_addresses_is_checked),
        cmocka_unit_test(a_node_dies_in_the_middle_of_anything),
        cmocka_unit_test(whatever_a_client_says_is_true),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
