/* SPDX-License-Identifier: Apache-2.0 */
/* The client library against a node of several shards, both in the simulated world: everything
 * works as with one shard, whatever the client knows of the shards and whenever they are split. */
#include "client/operate.h"
#include "tests/client_world.h"

/* Puts each letter of `keys` as a key, with itself as its value. */
LW_YIELDS static lw_status put_letters(lw_client *client, const char *keys) {
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    lw_status status = LW_OK;
    for (; *keys != 0 && status == LW_OK; keys++) {
        status = lw_put(txn, lw_view(keys, 1), lw_view(keys, 1));
    }
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    return status;
}

/* Whether a fresh transaction sees exactly the letters of `keys`, both ways. */
LW_YIELDS static bool sees(lw_client *client, const char *keys) {
    bool good = true;
    for (int backwards = 0; backwards <= 1; backwards++) {
        lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
        lw_scan_options options = {.backwards = backwards};
        lw_scan *scan = NULL;
        lw_bytes key, value;
        char seen[64] = {0};
        size_t count = 0, expected = strlen(keys);
        lw_status status = lw_scan_open(txn, &options, &scan);
        while (status == LW_OK && count < sizeof(seen) - 1 &&
               (status = lw_scan_next(scan, &key, &value)) == LW_OK) {
            seen[count++] = (char)key.data[0];
        }
        good = good && status == LW_NOT_FOUND && count == expected;
        for (size_t index = 0; index < expected && good; index++) {
            good = seen[index] == keys[backwards ? expected - 1 - index : index];
        }
        lw_scan_close(scan);
        lw_txn_close(txn);
    }
    return good;
}

/* ---- stories ----------------------------------------------------------------------------------
 */

LW_YIELDS static void read_over_shards(void *argument) {
    fixture *in = argument;
    OK(put_letters(in->client, "acegikmoq"));
    lw_txn *before = begin(in->client, LW_SNAPSHOT, LW_OPTIMISTIC);
    lw_bytes value;
    OK(lw_get(before, T("a"), &value));
    OK(split(in, "g"));
    OK(split(in, "m"));
    OK(split(in, "mm"));
    EXPECT(sees(in->client, "acegikmoq"));
    OK(lw_get(before, T("o"), &value));
    SAME(value, "o");
    lw_txn_close(before);
    lw_lookup lookups[] = {{.key = T("q")}, {.key = T("b")}, {.key = T("g")}, {.key = T("f")},
                           {.key = T("m")}, {.key = T("a")}, {.key = T("q")}};
    static const char *const expected[] = {"q", NULL, "g", NULL, "m", "a", "q"};
    lw_client *late = another(in, "another");
    lw_client *clients[] = {in->client, late};
    for (size_t which = 0; which < 2; which++) {
        lw_txn *txn = begin(clients[which], LW_STRICT, LW_OPTIMISTIC);
        OK(lw_get_many(txn, lookups, 7));
        for (size_t index = 0; index < 7; index++) {
            EXPECT(lookups[index].status == (expected[index] == NULL ? LW_NOT_FOUND : LW_OK));
            EXPECT(expected[index] == NULL || lw_equal(lookups[index].value, T(expected[index])));
        }
        lw_txn_close(txn);
    }
    EXPECT(sees(late, "acegikmoq"));
    lw_close(late);
    in->done = true;
}

static void what_is_split_is_read_as_one(void **state) {
    tell(*state, read_over_shards);
}

/* The first letter of the last key below `upper`. */
LW_YIELDS static lw_status last_below(lw_client *client, lw_bytes upper, char *letter) {
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    lw_scan_options options = {.backwards = 1, .upper = upper};
    lw_scan *scan = NULL;
    lw_bytes key, value;
    lw_status status = lw_scan_open(txn, &options, &scan);
    status = status == LW_OK ? lw_scan_next(scan, &key, &value) : status;
    *letter = status == LW_OK ? (char)key.data[0] : '?';
    lw_scan_close(scan);
    lw_txn_close(txn);
    return status;
}

/* A client forgets where a shard is when it hears nothing of it for long. */
LW_YIELDS static void scan_back_over_what_is_not_known(void *argument) {
    fixture *in = argument;
    const lw_bytes bounds[] = {T("e"), lw_view("d\0", 2), lw_view(NULL, 0)};
    static const char *const behind[] = {"d", "d", "f"};
    OK(put_letters(in->client, "abcdef"));
    OK(split(in, "e"));
    for (size_t index = 0; index < 3; index++) {
        char letter;
        EXPECT(sees(in->client, "abcdef"));
        lw_routes_forget(&in->client->routes, T(behind[index]));
        OK(last_below(in->client, bounds[index], &letter));
        EXPECT(letter == behind[index][0]);
    }
    in->done = true;
}

static void a_scan_goes_back_over_shards_that_are_not_known(void **state) {
    tell(*state, scan_back_over_what_is_not_known);
}

LW_YIELDS static void scan_while_it_splits(void *argument) {
    fixture *in = argument;
    OK(put_letters(in->client, "abcdefghijklmnopqrstuvwxyz"));
    for (int backwards = 0; backwards <= 1; backwards++) {
        lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
        lw_scan_options options = {.backwards = backwards, .upper = T("y"), .lower = T("b")};
        lw_scan *scan = NULL;
        lw_bytes key, value;
        OK(lw_put(txn, T("bb"), T("own")));
        OK(lw_put(txn, T("pp"), T("own")));
        OK(lw_delete(txn, T("q"), NULL));
        OK(lw_scan_open(txn, &options, &scan));
        char seen[64] = {0};
        size_t count = 0;
        lw_status status;
        while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
            seen[count++] = key.size == 1 ? (char)key.data[0] : '!';
            if (count == 3) {
                OK(split(in, backwards ? "e" : "k"));
                OK(split(in, backwards ? "pa" : "t"));
            }
        }
        EXPECT(status == LW_NOT_FOUND);
        SAME(T(seen), backwards ? "xwvutsr!ponmlkjihgfedc!b" : "b!cdefghijklmnop!rstuvwx");
        lw_scan_close(scan);
        OK(lw_rollback(txn));
        lw_txn_close(txn);
    }
    in->done = true;
}

static void a_scan_goes_on_over_splits(void **state) {
    tell(*state, scan_while_it_splits);
}

LW_YIELDS static void commit_over_shards(void *argument) {
    fixture *in = argument;
    OK(put_letters(in->client, "agm"));
    OK(split(in, "g"));
    OK(split(in, "m"));
    OK(put_letters(in->client, "bhn")); /* routed by what was before */
    OK(put_letters(in->client, "cio"));
    EXPECT(sees(in->client, "abcghimno"));
    lw_client *other = another(in, "another");
    lw_txn *mine = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    lw_txn *theirs = begin(other, LW_STRICT, LW_OPTIMISTIC);
    lw_bytes value;
    OK(lw_get(mine, T("h"), &value)); /* read in one shard, written in two others */
    OK(lw_get(theirs, T("h"), &value));
    OK(lw_put(theirs, T("h"), T("new")));
    OK(lw_put(theirs, T("b"), T("new")));
    OK(lw_commit(theirs));
    OK(lw_put(mine, T("d"), T("d")));
    OK(lw_put(mine, T("p"), T("p")));
    lw_env_sleep(in->env, second / 50); /* at once it might have gone before theirs, rightly */
    EXPECT(lw_commit(mine) == LW_CONFLICT);
    lw_txn_close(mine);
    lw_txn_close(theirs);
    EXPECT(sees(other, "abcghimno"));
    mine = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_get(mine, T("h"), &value));
    SAME(value, "new");
    OK(lw_get(mine, T("b"), &value));
    SAME(value, "new");
    lw_txn_close(mine);
    lw_close(other);
    in->done = true;
}

static void a_commit_over_shards_is_whole(void **state) {
    tell(*state, commit_over_shards);
}

LW_YIELDS static void phantoms_over_shards(void *argument) {
    fixture *in = argument;
    OK(put_letters(in->client, "agm"));
    OK(split(in, "g"));
    OK(split(in, "m"));
    static const char *const added[] = {"b", "h", "n"};
    for (size_t index = 0; index < 3; index++) {
        lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
        uint64_t deleted = 0;
        OK(lw_delete_range(txn, T("x"), T("z"), &deleted));
        lw_scan *scan = NULL;
        lw_bytes key, value;
        OK(lw_scan_open(txn, NULL, &scan));
        while (lw_scan_next(scan, &key, &value) == LW_OK) {
        }
        lw_scan_close(scan);
        lw_client *other = another(in, "another");
        OK(put_letters(other, added[index]));
        lw_close(other);
        OK(lw_put(txn, T("a"), T("x")));
        OK(lw_put(txn, T("m"), T("x")));
        lw_env_sleep(in->env, second / 50);
        EXPECT(lw_commit(txn) == LW_CONFLICT);
        lw_txn_close(txn);
    }
    EXPECT(sees(in->client, "abghmn"));
    in->done = true;
}

static void a_phantom_in_any_shard_is_a_conflict(void **state) {
    tell(*state, phantoms_over_shards);
}

LW_YIELDS static void split_before_commit(void *argument) {
    fixture *in = argument;
    OK(put_letters(in->client, "ag"));
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    lw_bytes value;
    OK(lw_get(txn, T("a"), &value));
    OK(lw_get(txn, T("g"), &value));
    OK(lw_put(txn, T("a"), T("x")));
    OK(lw_put(txn, T("g"), T("y")));
    OK(split(in, "c")); /* the client believes in one round still */
    OK(lw_commit(txn));
    EXPECT(lw_commit_timestamp(txn) > lw_read_timestamp(txn));
    lw_txn_close(txn);
    txn = begin(in->client, LW_STRICT, LW_PESSIMISTIC);
    OK(lw_get_for_update(txn, T("g"), &value));
    SAME(value, "y");
    OK(lw_get_for_update(txn, T("a"), &value));
    SAME(value, "x");
    OK(split(in, "b"));
    OK(lw_put(txn, T("b"), T("z")));
    OK(lw_put(txn, T("a"), T("z")));
    OK(lw_put(txn, T("g"), T("z")));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    EXPECT(sees(in->client, "abg"));
    in->done = true;
}

static void a_split_does_not_hinder_a_commit(void **state) {
    tell(*state, split_before_commit);
}

/* ---- answers that are lost --------------------------------------------------------------------
 */

/* Commits two letters in two shards while the world is cut; then tells by the token, and by what is
 * there, that either both are or none. `*committed`: which. */
LW_YIELDS static bool commit_in_the_dark(fixture *in, lw_host *from, lw_host *to,
                                         const char *letters, bool *committed) {
    lw_txn_options options = {.timeout_ms = 2000};
    lw_txn *txn = NULL;
    lw_bytes value;
    uint64_t timestamp = 0;
    bool good = lw_begin(in->client, &options, &txn) == LW_OK &&
                lw_get(txn, T("a"), &value) == LW_OK && /* a timestamp is at hand */
                lw_put(txn, lw_view(letters, 1), T("x")) == LW_OK &&
                lw_put(txn, lw_view(letters + 1, 1), T("x")) == LW_OK;
    lw_world_cut_one_way(in->world, from, to, true);
    good = good && lw_commit(txn) == LW_UNDETERMINED;
    lw_world_cut_one_way(in->world, from, to, false);
    lw_status outcome = lw_txn_outcome(in->client, lw_txn_token(txn), &timestamp);
    lw_txn_close(txn);
    *committed = outcome == LW_OK;
    good = good && (outcome == LW_OK || outcome == LW_NOT_FOUND);
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    for (int index = 0; index < 2; index++) {
        lw_status there = lw_get(txn, lw_view(letters + index, 1), &value);
        good = good && there == (*committed ? LW_OK : LW_NOT_FOUND);
    }
    lw_txn_close(txn);
    return good;
}

LW_YIELDS static void commit_and_lose_answers(void *argument) {
    fixture *in = argument;
    bool committed = false;
    OK(put_letters(in->client, "am"));
    OK(split(in, "m"));
    EXPECT(sees(in->client, "am"));
    EXPECT(commit_in_the_dark(in, in->node_host, in->client_host, "bn", &committed));
    EXPECT(committed); /* both prewrites came through, and nobody needed to say more */
    EXPECT(commit_in_the_dark(in, in->client_host, in->node_host, "co", &committed));
    EXPECT(!committed);
    in->done = true;
}

static void an_unknown_outcome_over_shards_can_be_asked_for(void **state) {
    tell(*state, commit_and_lose_answers);
}

static void crash_and_boot(void *argument) {
    fixture *in = argument;
    lw_host_crash(in->node_host);
    in->node = NULL;
    boot(in);
}

LW_YIELDS static void commit_and_crash(void *argument) {
    fixture *in = argument;
    OK(put_letters(in->client, "am"));
    OK(split(in, "m"));
    EXPECT(sees(in->client, "am"));
    for (uint32_t round = 0; round < 40; round++) {
        char value[8];
        (void)snprintf(value, sizeof(value), "%u", round);
        lw_txn_options options = {.timeout_ms = 1000};
        lw_txn *txn = NULL;
        uint64_t timestamp;
        OK(lw_begin(in->client, &options, &txn));
        OK(lw_put(txn, T("a"), T(value)));
        OK(lw_put(txn, T("m"), T(value)));
        lw_world_at(in->world, lw_world_now(in->world) + round * second / 20000, crash_and_boot,
                    in);
        lw_status status = lw_commit(txn);
        if (status == LW_UNDETERMINED) {
            status = lw_txn_outcome(in->client, lw_txn_token(txn), &timestamp);
            EXPECT(status == LW_OK || status == LW_NOT_FOUND);
        }
        lw_txn_close(txn);
        lw_env_sleep(in->env, second / 10);
        lw_lookup both[] = {{.key = T("a")}, {.key = T("m")}};
        txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
        OK(lw_get_many(txn, both, 2));
        EXPECT(lw_equal(both[0].value, both[1].value) || round == 0);
        EXPECT(lw_equal(both[0].value, T(value)) == (status == LW_OK));
        lw_txn_close(txn);
    }
    in->done = true;
}

static void a_crash_leaves_a_commit_over_shards_whole(void **state) {
    tell(*state, commit_and_crash);
}

/* ---- contention -------------------------------------------------------------------------------
 */

enum { MOVERS = 4, MOVES = 40, ACCOUNTS = 6 };

typedef struct mover {
    fixture *in;
    lw_client *client;
    uint32_t *running;
    uint64_t seed;
    bool good;
} mover;

typedef struct move {
    char from[2], to[2];
} move;

/* Moves one from an account to another. */
LW_YIELDS static lw_status move_one(lw_txn *txn, void *argument) {
    const move *it = argument;
    lw_bytes value;
    LW_TRY(lw_get(txn, T(it->from), &value));
    int64_t from = (int64_t)lw_get_u64(value.data);
    LW_TRY(lw_get(txn, T(it->to), &value));
    int64_t to = (int64_t)lw_get_u64(value.data);
    uint8_t less[8], more[8];
    lw_put_u64(less, (uint64_t)(from - 1));
    lw_put_u64(more, (uint64_t)(to + 1));
    LW_TRY(lw_put(txn, T(it->from), lw_view(less, 8)));
    return lw_put(txn, T(it->to), lw_view(more, 8));
}

LW_YIELDS static int64_t total(lw_client *client) {
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    lw_scan *scan = NULL;
    lw_bytes key, value;
    int64_t sum = 0;
    lw_status status = lw_scan_open(txn, NULL, &scan);
    while (status == LW_OK && (status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        sum += (int64_t)lw_get_u64(value.data);
    }
    lw_scan_close(scan);
    lw_txn_close(txn);
    return status == LW_NOT_FOUND ? sum : -1;
}

LW_YIELDS static void mover_main(void *argument) {
    mover *self = argument;
    self->good = true;
    for (int round = 0; round < MOVES && self->good; round++) {
        uint64_t from = unit_random(&self->seed) % ACCOUNTS;
        uint64_t to = (from + 1 + unit_random(&self->seed) % (ACCOUNTS - 1)) % ACCOUNTS;
        move it = {.from = {(char)('a' + from), 0}, .to = {(char)('a' + to), 0}};
        lw_txn_options options = {.timeout_ms = 60000};
        self->good = lw_run(self->client, &options, move_one, &it) == LW_OK;
        if (round % 4 == 0) {
            self->good = self->good && total(self->client) == ACCOUNTS * 100;
        }
    }
    lw_close(self->client);
    --*self->running;
}

LW_YIELDS static void contend(void *argument) {
    fixture *in = argument;
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    uint8_t hundred[8];
    lw_put_u64(hundred, 100);
    for (int index = 0; index < ACCOUNTS; index++) {
        char key[] = {(char)('a' + index), 0};
        OK(lw_put(txn, T(key), lw_view(hundred, 8)));
    }
    OK(lw_commit(txn));
    lw_txn_close(txn);
    mover movers[MOVERS];
    uint32_t running = MOVERS;
    for (uint32_t index = 0; index < MOVERS; index++) {
        movers[index] = (mover){
            .in = in, .client = another(in, "another"), .running = &running, .seed = index + 1};
        lw_env_start(in->env, "mover", mover_main, &movers[index]);
    }
    static const char *const points[] = {"c", "e", "b", "d", "f"};
    for (size_t index = 0; index < 5; index++) {
        lw_env_sleep(in->env, second / 50);
        OK(split(in, points[index]));
    }
    while (running > 0) {
        lw_env_sleep(in->env, second / 10);
    }
    for (uint32_t index = 0; index < MOVERS; index++) {
        EXPECT(movers[index].good);
    }
    EXPECT(total(in->client) == ACCOUNTS * 100);
    in->done = true;
}

static void nothing_is_made_or_lost_over_shards_that_split(void **state) {
    tell(*state, contend);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_split_is_read_as_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_scan_goes_back_over_shards_that_are_not_known, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_scan_goes_on_over_splits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_commit_over_shards_is_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_phantom_in_any_shard_is_a_conflict, setup, teardown),
        cmocka_unit_test_setup_teardown(a_split_does_not_hinder_a_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_outcome_over_shards_can_be_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_crash_leaves_a_commit_over_shards_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_made_or_lost_over_shards_that_split, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
