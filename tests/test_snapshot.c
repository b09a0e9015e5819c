/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots between two machines: one writes to a shard all the time and sends it, the other has an
 * old state of it, in its tree and its log, which the snapshot replaces. Either loses power at each
 * step, the wire and the disks flip bits, and the disk is full; what the other has in the end is
 * exactly what the first one had at the snapshot's index, or still what it had itself. */
#include "node/snapshot.h"
#include "sim/world.h"
#include "storage/batch.h"
#include "storage/bundle.h"
#include "storage/log.h"
#include "tests/unit.h"

#include <stdlib.h>

enum {
    SHARD = 7,
    KEYS = 40,
    WRITES_MAX = 4000,
    OLD_FLUSHED = 5, /* of the receiver's own state */
    OLD_LAST = 12,
    TERM = 3,
    PIECE = 2000,
};

/* Of every bit flipped and step cut, only each of so many under AddressSanitizer. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 7 };
#else
enum { STRIDE = 1 };
#endif

typedef struct side {
    struct journey *journey;
    lw_host *host;
    lw_env *env;
    lw_store *store;
    lw_log *log;
    lw_snapshots *snapshots;
    uint32_t boots;
    bool ready;
} side;

/* A request on its way, and its answer. */
typedef struct mail {
    uint8_t body[1 << 16], reply[1 << 16];
    size_t body_size, reply_size;
    lw_message_kind kind;
    lw_status status;
    char error[LW_ERROR_TEXT_SIZE];
    uint32_t number, taken, done; /* of the letter: counts up */
} mail;

typedef struct journey {
    lw_world *world;
    side sender, receiver;
    mail post;
    uint32_t written[WRITES_MAX]; /* the key that the entry of this index wrote; its value: index */
    uint64_t write_count;
    bool writing, keep_writing;
    uint64_t sent_index, described_index;
    lw_status outcome;
    bool ended;
    uint64_t flip_every; /* each so many letters one bit is changed; 0: never */
    uint64_t chance, install_count;
    lw_status install_answer, wanted_answer;
    uint32_t put_off;       /* how often it is not installed just now */
    bool hold_back, filled; /* the sender waits, with all its tables made */
    bool damaged;           /* its tables are: it cannot read them */
    bool deaf;              /* the receiver stays without power */
    bool meddle;            /* somebody else offers something, too */
    uint64_t stop_ns;       /* after which the sender stops; 0: it does not */
    uint64_t rate, took_ns;
    lw_status meddled;
    lw_snapshots_figures figures; /* of the sender, in the end */
    const char *wrong;
    char error[LW_ERROR_TEXT_SIZE];
} journey;

static void wrong(journey *on, const char *what) {
    if (on->wrong == NULL) {
        on->wrong = what;
        snprintf(on->error, sizeof(on->error), "%s", lw_error_slot()->text);
    }
}

static bool worked(journey *on, lw_status status, const char *what) {
    if (status != LW_OK) {
        wrong(on, what);
    }
    return status == LW_OK;
}

/* ---- what is in a tree -------------------------------------------------------------------------
 */

static lw_bytes key_of(uint32_t key, char to[16]) {
    return lw_view(to, (size_t)snprintf(to, 16, "key%02u", (unsigned)key));
}

static lw_bytes value_of(uint64_t index, uint8_t to[600]) {
    memset(to, (int)(index % 251), 600);
    lw_put_u64(to, index);
    return lw_view(to, 100 + index * 7 % 500);
}

static void apply(lw_tree *tree, lw_env *env, uint64_t index, uint32_t key) {
    char name[16];
    uint8_t value[600];
    lw_buffer batch = lw_buffer_in(env->memory);
    lw_batch_put(&batch, key_of(key, name), value_of(index, value));
    LW_ASSERT(lw_tree_apply(tree, index, lw_buffer_view(&batch)) == LW_OK);
    lw_buffer_reset(&batch);
}

/* Holds a snapshot against what the sender had written up to `index`. */
static void check_state(journey *on, lw_env *env, lw_snapshot *snapshot, uint64_t index) {
    uint64_t last[KEYS] = {0};
    for (uint64_t at = 1; at <= index; at++) {
        last[on->written[at]] = at;
    }
    for (uint32_t key = 0; key < KEYS; key++) {
        char name[16];
        uint8_t expected[600];
        lw_buffer value = lw_buffer_in(env->memory);
        lw_status status = lw_snapshot_get(snapshot, key_of(key, name), &value);
        bool right = last[key] == 0 ? status == LW_NOT_FOUND
                                    : status == LW_OK && lw_equal(lw_buffer_view(&value),
                                                                  value_of(last[key], expected));
        if (!right) {
            wrong(on, "a key is not what it was at the index of the snapshot");
        }
        lw_buffer_reset(&value);
    }
}

/* ---- the wire ----------------------------------------------------------------------------------
 */

static void flip(journey *on, uint8_t *bytes, size_t size) {
    if (on->flip_every != 0 && size > 0 && unit_random_below(&on->chance, on->flip_every) == 0) {
        bytes[unit_random_below(&on->chance, size)] ^=
            (uint8_t)(1U << unit_random_below(&on->chance, 8));
    }
}

static lw_status ask(void *argument, uint64_t node, const lw_request *request, uint64_t deadline_ns,
                     lw_buffer *reply) {
    side *from = argument;
    journey *on = from->journey;
    mail *post = &on->post;
    uint32_t boots = on->receiver.boots;
    LW_ASSERT(node == 2 && request->shard == SHARD && request->body.size <= sizeof(post->body));
    memcpy(post->body, request->body.data, request->body.size);
    flip(on, post->body, request->body.size);
    post->body_size = request->body.size;
    post->kind = request->kind;
    uint32_t number = ++post->number;
    while (post->done != number) {
        if (lw_env_now(from->env) > deadline_ns) {
            return lw_fail(LW_TIMEOUT, "no answer in time");
        }
        if (on->receiver.boots != boots || !lw_host_running(on->receiver.host)) {
            return lw_fail(LW_UNAVAILABLE, "the link broke");
        }
        lw_env_sleep(from->env, 200000);
    }
    if (post->status != LW_OK) {
        return lw_fail(post->status, "%s", post->error);
    }
    flip(on, post->reply, post->reply_size);
    lw_buffer_append(reply, lw_view(post->reply, post->reply_size));
    return LW_OK;
}

/* Another node than the sender offers a snapshot. */
static void meddle(side *of) {
    lw_buffer body = lw_buffer_in(of->env->memory), reply = lw_buffer_in(of->env->memory);
    lw_snapshot_file file = {.number = 0, .size = 1};
    lw_snapshot_offer offer = {.transfer = 1, .index = 1, .term = 1, .file_count = 1};
    lw_snapshot_offer_encode(&offer, &file, &body);
    lw_request request = {
        .kind = LW_MESSAGE_SNAPSHOT_OFFER, .shard = 99, .body = lw_buffer_view(&body)};
    of->journey->meddled = lw_snapshots_handle(of->snapshots, 3, &request, &reply);
    of->journey->meddle = false;
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
}

/* Takes letters and answers them. */
static void serve(void *argument) {
    side *on_side = argument;
    journey *on = on_side->journey;
    mail *post = &on->post;
    while (on_side->ready) {
        if (post->taken == post->number) {
            lw_env_sleep(on_side->env, 200000);
            continue;
        }
        uint32_t number = post->taken = post->number;
        lw_buffer body = lw_buffer_in(on_side->env->memory);
        lw_buffer reply = lw_buffer_in(on_side->env->memory);
        lw_buffer_append(&body, lw_view(post->body, post->body_size));
        lw_request request = {.kind = post->kind, .shard = SHARD, .body = lw_buffer_view(&body)};
        if (on->meddle && number == 5) {
            meddle(on_side);
        }
        lw_status status = lw_snapshots_handle(on_side->snapshots, 1, &request, &reply);
        if (post->number == number) {
            post->status = status;
            snprintf(post->error, sizeof(post->error), "%s", lw_error_slot()->text);
            LW_ASSERT(reply.size <= sizeof(post->reply));
            post->reply_size = status == LW_OK ? reply.size : 0;
            if (post->reply_size > 0) {
                memcpy(post->reply, reply.data, reply.size);
            }
            post->done = number;
        }
        lw_buffer_reset(&body);
        lw_buffer_reset(&reply);
    }
}

/* ---- the owners --------------------------------------------------------------------------------
 */

static lw_status describe(void *argument, uint64_t shard, uint64_t node, uint64_t index,
                          lw_snapshot *state, uint64_t *term, lw_buffer *head) {
    side *of = argument;
    LW_ASSERT(shard == SHARD && node == 2);
    if (!of->journey->damaged) {
        check_state(of->journey, of->env, state, index);
    }
    of->journey->described_index = index;
    *term = TERM;
    lw_buffer_print(head, "at %llu", (unsigned long long)index);
    return LW_OK;
}

static bool head_is_right(const lw_snapshot_arrival *arrival) {
    char head[32];
    int size = snprintf(head, sizeof(head), "at %llu", (unsigned long long)arrival->index);
    return arrival->term == TERM && arrival->from == 1 && arrival->shard == SHARD &&
           lw_equal(arrival->head, lw_view(head, (size_t)size));
}

static lw_status wanted(void *argument, const lw_snapshot_arrival *offered) {
    side *of = argument;
    if (!head_is_right(offered)) {
        wrong(of->journey, "an offer is not what was offered");
    }
    if (of->journey->wanted_answer != LW_OK) {
        return lw_fail(of->journey->wanted_answer, "not wanted");
    }
    return lw_tree_flushed(lw_store_tree(of->store, SHARD)) >= offered->index
               ? lw_fail(LW_EXISTS, "it is here")
               : LW_OK;
}

/* The three steps of storage/log.h. */
static lw_status install(void *argument, const lw_snapshot_arrival *arrived) {
    side *of = argument;
    journey *on = of->journey;
    if (!head_is_right(arrived)) {
        wrong(on, "what arrived is not what was offered");
    }
    on->install_count++;
    if (on->put_off > 0) {
        on->put_off--;
        return lw_fail(LW_UNAVAILABLE, "not now");
    }
    if (on->install_answer != LW_OK) {
        return lw_fail(on->install_answer, "not today");
    }
    lw_log_record begins = {
        .group = SHARD, .term = TERM, .index = arrived->index, .kind = LW_LOG_BEGIN};
    LW_TRY(lw_log_wait(of->log, lw_log_append(of->log, &begins, 1)));
    lw_ingest ingest = {.directory = arrived->directory,
                        .source = SHARD,
                        .tree = SHARD,
                        .kind = LW_INGEST_REPLACE,
                        .index = arrived->index};
    lw_status status = lw_store_ingest(of->store, &ingest);
    lw_log_begun(of->log, SHARD, status == LW_OK);
    LW_TRY(status);
    lw_log_record state = {.group = SHARD, .term = TERM, .kind = LW_LOG_STATE};
    LW_TRY(lw_log_wait(of->log, lw_log_append(of->log, &state, 1)));
    lw_log_release(of->log, SHARD, arrived->index);
    return LW_OK;
}

/* ---- the machines ------------------------------------------------------------------------------
 */

static bool open_store(side *of) {
    lw_store_options options = {.directory = "data",
                                .memory_size = 4 << 20,
                                .memtables_max = 64 * 1024,
                                .reserve_size_max = 32 * 1024,
                                .table_size = 4096,
                                .value_threshold = 400};
    return worked(of->journey, lw_store_open(of->env, &options, &of->store), "opening a store");
}

static bool open_snapshots(side *of) {
    lw_snapshots_options options = {.env = of->env,
                                    .store = of->store,
                                    .directory = "data",
                                    .piece_size = PIECE,
                                    .bytes_per_second = of->journey->rate,
                                    .patience_ms = 20000,
                                    .ask = ask,
                                    .describe_shard = describe,
                                    .wanted = wanted,
                                    .install = install,
                                    .argument = of};
    return worked(of->journey, lw_snapshots_open(&options, &of->snapshots), "opening snapshots");
}

static uint32_t next_key(journey *on) {
    return on->written[on->write_count] = (uint32_t)unit_random_below(&on->chance, KEYS);
}

static void write_on(void *argument) {
    side *of = argument;
    journey *on = of->journey;
    lw_tree *tree = lw_store_tree(of->store, SHARD);
    while (on->keep_writing && on->write_count + 1 < WRITES_MAX) {
        uint64_t index = ++on->write_count;
        apply(tree, of->env, index, next_key(on));
        lw_env_sleep(of->env, 300000);
    }
    on->writing = false;
}

static bool folder_empty(journey *on, side *of, const char *folder) {
    char path[64];
    lw_buffer names = lw_buffer_in(of->env->memory);
    snprintf(path, sizeof(path), "data/%s/sst", folder);
    lw_status status = lw_path_list(of->env, path, &names);
    bool empty = names.size == 0 && (status == LW_OK || status == LW_NOT_FOUND);
    snprintf(path, sizeof(path), "data/%s", folder);
    lw_buffer_clear(&names);
    status = lw_path_list(of->env, path, &names);
    empty = empty && names.size <= sizeof("sst") && (status == LW_OK || status == LW_NOT_FOUND);
    lw_buffer_reset(&names);
    if (!empty) {
        wrong(on, "something was left behind");
    }
    return empty;
}

static void stop_later(void *argument) {
    side *of = argument;
    lw_env_sleep(of->env, of->journey->stop_ns);
    if (of->snapshots != NULL) {
        lw_snapshots_stop(of->snapshots);
    }
}

/* Writes, sends, and goes. What was written and not flushed comes again from the model, as from a
 * log. */
static void sender_main(void *argument) {
    side *of = argument;
    journey *on = of->journey;
    lw_tree *tree = NULL;
    if (!open_store(of)) {
        return;
    }
    tree = lw_store_tree(of->store, SHARD);
    if (tree == NULL &&
        !worked(on, lw_store_create_tree(of->store, SHARD, &tree), "creating the tree")) {
        return;
    }
    for (uint64_t index = lw_tree_applied(tree) + 1; index <= on->write_count; index++) {
        apply(tree, of->env, index, on->written[index]);
    }
    while (on->write_count < 150) {
        uint64_t index = ++on->write_count;
        apply(tree, of->env, index, next_key(on));
        if (index % 40 == 0) {
            (void)worked(on, lw_tree_flush(tree), "flushing");
        }
    }
    if (!open_snapshots(of)) {
        return;
    }
    on->keep_writing = on->writing = true;
    (void)lw_env_start(of->env, "writer", write_on, of);
    on->filled = true;
    while (on->hold_back) {
        lw_env_sleep(of->env, 100000);
    }
    if (on->stop_ns > 0) {
        (void)lw_env_start(of->env, "stopper", stop_later, of);
    }
    uint64_t began_ns = lw_env_now(of->env);
    on->outcome = lw_snapshots_send(of->snapshots, SHARD, 2, &on->sent_index);
    on->took_ns = lw_env_now(of->env) - began_ns;
    lw_snapshots_figures_get(of->snapshots, &on->figures);
    snprintf(on->error, sizeof(on->error), "%s", lw_error_slot()->text);
    on->keep_writing = false;
    while (on->writing) {
        lw_env_sleep(of->env, 100000);
    }
    lw_snapshots_close(of->snapshots);
    of->snapshots = NULL;
    (void)folder_empty(on, of, "outgoing");
    lw_store_close(of->store);
    of->store = NULL;
    on->ended = true;
}

static bool begins(void *argument, uint64_t group, uint64_t index) {
    const side *of = argument;
    return group == SHARD && lw_tree_flushed(lw_store_tree(of->store, SHARD)) >= index;
}

typedef struct shown {
    uint64_t last;
    bool begun;
} shown;

static shown receiver_shown; /* of the opening under way; outside of the machine, as is the test */

static lw_status visit(void *argument, const lw_log_record *record) {
    (void)argument;
    if (record->kind == LW_LOG_BEGIN) {
        receiver_shown = (shown){.begun = true, .last = record->index};
    } else if (record->kind == LW_LOG_ENTRY) {
        receiver_shown.last = record->index;
    }
    return LW_OK;
}

/* Either all is as before the snapshot, or all as after it. */
static void judge_receiver(side *of) {
    journey *on = of->journey;
    lw_tree *tree = lw_store_tree(of->store, SHARD);
    uint64_t flushed = lw_tree_flushed(tree), first = 0, last = 0;
    bool known = lw_log_span(of->log, SHARD, &first, &last);
    if (flushed == OLD_FLUSHED) {
        if (!known || first > OLD_FLUSHED + 1 || last != OLD_LAST || receiver_shown.begun) {
            wrong(on, "the old tree is there, and its log is not");
        }
        return;
    }
    lw_snapshot *snapshot = lw_snapshot_open(tree);
    check_state(on, of->env, snapshot, flushed);
    lw_snapshot_close(snapshot);
    if (known && last != flushed) {
        wrong(on, "entries of before count behind the snapshot");
    }
}

static lw_status make_old_state(side *of) {
    lw_tree *tree = NULL;
    LW_TRY(lw_store_create_tree(of->store, SHARD, &tree));
    for (uint64_t index = 1; index <= OLD_FLUSHED; index++) {
        apply(tree, of->env, index, 3);
    }
    LW_TRY(lw_tree_flush(tree));
    uint64_t position = 0;
    for (uint64_t index = 1; index <= OLD_LAST; index++) {
        lw_log_record entry = {.group = SHARD,
                               .term = 1,
                               .index = index,
                               .kind = LW_LOG_ENTRY,
                               .payload = lw_text("old")};
        position = lw_log_append(of->log, &entry, 1);
    }
    return lw_log_wait(of->log, position);
}

static void receiver_main(void *argument) {
    side *of = argument;
    journey *on = of->journey;
    lw_log_options options = {.segment_size = 65536, .begins = begins};
    if (!open_store(of)) {
        return;
    }
    bool fresh = of->boots == 1;
    receiver_shown = (shown){0};
    if (!worked(on, lw_log_open(of->env, "data/log", &options, visit, of, &of->log),
                "opening the log")) {
        return;
    }
    if (fresh && !worked(on, make_old_state(of), "making the old state")) {
        return;
    }
    judge_receiver(of);
    if (on->wrong == NULL && open_snapshots(of)) {
        of->ready = true;
        serve(of);
    }
}

static void boot(side *of, void (*body)(void *argument)) {
    of->env = lw_host_boot(of->host);
    of->boots++;
    of->ready = false;
    of->store = NULL;
    of->log = NULL;
    (void)lw_env_start(of->env, "machine", body, of);
}

static journey *depart(uint64_t seed) {
    lw_faults faults = lw_faults_none();
    faults.rare_paths = seed % 2 == 0;
    journey *on = calloc(1, sizeof(*on));
    assert_non_null(on);
    on->world = lw_world_open(seed, &faults);
    on->chance = seed;
    on->sender = (side){.journey = on, .host = lw_world_host(on->world, "sender")};
    on->receiver = (side){.journey = on, .host = lw_world_host(on->world, "receiver")};
    boot(&on->receiver, receiver_main);
    while (on->wrong == NULL && !on->receiver.ready) {
        assert_true(lw_world_step(on->world));
    }
    return on;
}

static void arrive(journey *on) {
    lw_world_close(on->world);
    free(on);
}

static void expect_right(const journey *on, uint64_t step) {
    if (on->wrong != NULL) {
        lw_world_report(on->world, stderr);
        fail_msg("step %llu: %s: %s", (unsigned long long)step, on->wrong, on->error);
    }
}

/* Goes on until the sender has ended; machines that lost power get it back. */
static void travel(journey *on) {
    on->ended = false;
    boot(&on->sender, sender_main);
    for (uint64_t steps = 0; !on->ended && on->wrong == NULL; steps++) {
        if (!lw_host_running(on->receiver.host) && !on->deaf) {
            boot(&on->receiver, receiver_main);
        }
        if (!lw_host_running(on->sender.host)) {
            boot(&on->sender, sender_main);
        }
        if (!lw_world_step(on->world) || steps > 3000000) {
            wrong(on, "the journey does not go on");
        }
    }
}

static void look_around(void *argument) {
    side *of = argument;
    journey *on = of->journey;
    lw_buffer faults = lw_buffer_in(of->env->memory);
    if (open_store(of) && open_snapshots(of)) {
        (void)folder_empty(on, of, "outgoing");
        lw_env_sleep(of->env, UINT64_C(61) * 1000 * 1000 * 1000);
        (void)folder_empty(on, of, "incoming");
        lw_snapshots_close(of->snapshots);
        lw_store_close(of->store);
        (void)worked(on, lw_store_check(of->env, "data", NULL, &faults), "checking the folder");
    }
    lw_buffer_reset(&faults);
    of->ready = true;
}

/* Both lose power once more; then all is as it should be, and `installed` or not. */
static void verify(journey *on, bool installed) {
    side *sides[] = {&on->sender, &on->receiver};
    if (lw_host_running(on->receiver.host)) {
        lw_host_crash(on->receiver.host);
    }
    boot(&on->receiver, receiver_main);
    while (on->wrong == NULL && !on->receiver.ready) {
        assert_true(lw_world_step(on->world));
    }
    if (on->wrong == NULL) {
        uint64_t flushed = lw_tree_flushed(lw_store_tree(on->receiver.store, SHARD));
        if (flushed != (installed ? on->sent_index : OLD_FLUSHED)) {
            wrong(on, "the receiver is not at the snapshot's index");
        }
    }
    for (uint32_t index = 0; index < 2; index++) {
        if (lw_host_running(sides[index]->host)) {
            lw_host_crash(sides[index]->host);
        }
        boot(sides[index], look_around);
        while (on->wrong == NULL && !sides[index]->ready) {
            assert_true(lw_world_step(on->world));
        }
    }
}

/* ---- stories -----------------------------------------------------------------------------------
 */

static void a_shard_that_is_written_to_moves_as_it_was_at_one_index(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        journey *on = depart(seed);
        travel(on);
        expect_right(on, seed);
        assert_int_equal(on->outcome, LW_OK);
        assert_int_equal(on->sent_index, on->described_index);
        assert_in_range(on->sent_index, 150, on->write_count);
        verify(on, true);
        expect_right(on, seed);
        arrive(on);
    }
}

static void either_may_lose_power_at_any_step(void **state) {
    (void)state;
    static const lw_crash crashes[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
    uint64_t resumed = 0;
    for (uint32_t which = 0; which < 2; which++) {
        bool more = true;
        for (uint64_t step = 0; more; step += (which == 0 ? 13U : 3U) * STRIDE) {
            journey *on = depart(1 + step % 4);
            side *struck = which == 0 ? &on->sender : &on->receiver;
            uint32_t boots = struck->boots + (which == 0);
            lw_host_crash_after(struck->host, step, crashes[step % 3]);
            travel(on);
            expect_right(on, step);
            more = struck->boots > boots;
            assert_int_equal(on->outcome, LW_OK);
            lw_host_crash_after(struck->host, UINT32_MAX, LW_CRASH_AFTER);
            verify(on, true);
            expect_right(on, step);
            resumed += lw_world_marked(on->world, "snapshot.resumed");
            arrive(on);
        }
    }
    assert_true(resumed * STRIDE > 4);
}

static void bits_that_flip_on_the_wire_change_nothing(void **state) {
    (void)state;
    uint64_t again = 0;
    for (uint64_t seed = 1; seed <= 4; seed += STRIDE) {
        journey *on = depart(seed);
        on->flip_every = 10;
        travel(on);
        expect_right(on, seed);
        assert_int_equal(on->outcome, LW_OK);
        verify(on, true);
        expect_right(on, seed);
        again += lw_world_marked(on->world, "snapshot.tried_again");
        arrive(on);
    }
    assert_true(again * STRIDE > 4);
}

/* Ends a journey that had to end like this, with nothing left of it anywhere. */
static void expect_outcome(journey *on, lw_status outcome, uint64_t number) {
    expect_right(on, number);
    if (on->outcome != outcome) {
        fail_msg("%llu: %s: %s", (unsigned long long)number, lw_status_name(on->outcome),
                 on->error);
    }
    verify(on, outcome == LW_OK);
    expect_right(on, number);
    arrive(on);
}

/* Flips a bit of one of the sender's tables, when they are made. */
static void damage_tables(journey *on, uint64_t number) {
    lw_memory *memory = lw_memory_open();
    lw_buffer names = lw_buffer_in(memory), contents = lw_buffer_in(memory);
    lw_disk *disk = lw_host_disk(on->sender.host);
    char path[64];
    on->hold_back = true;
    on->filled = false;
    boot(&on->sender, sender_main);
    while (!on->filled && on->wrong == NULL) {
        assert_true(lw_world_step(on->world));
    }
    assert_int_equal(lw_disk_list(disk, "data/sst", &names), 0);
    uint64_t count = names.size / 17;
    assert_in_range(count, 2, 100);
    snprintf(path, sizeof(path), "data/sst/%s", (const char *)names.data + number % count * 17);
    assert_true(lw_disk_contents(disk, LW_DISK_VOLATILE, path, &contents));
    lw_disk_flip(disk, path, number * 7919 % (8 * contents.size));
    on->hold_back = false;
    on->damaged = true;
    lw_memory_close(memory);
}

static void damage_on_the_sender_s_disk_stays_there_and_is_told(void **state) {
    (void)state;
    for (uint64_t number = 0; number < 6; number += STRIDE) {
        journey *on = depart(1);
        damage_tables(on, number);
        while (!on->ended && on->wrong == NULL) {
            assert_true(lw_world_step(on->world));
        }
        expect_right(on, number);
        assert_int_equal(on->outcome, LW_CORRUPTION);
        assert_int_equal(on->install_count, 1);
        assert_non_null(strstr(on->error, "are damaged on this node: "));
        lw_host_crash(on->receiver.host);
        boot(&on->receiver, receiver_main);
        while (on->wrong == NULL && !on->receiver.ready) {
            assert_true(lw_world_step(on->world));
        }
        expect_right(on, number);
        assert_int_equal(lw_tree_flushed(lw_store_tree(on->receiver.store, SHARD)), OLD_FLUSHED);
        arrive(on);
    }
}

static void what_is_not_wanted_is_not_sent(void **state) {
    (void)state;
    journey *on = depart(1);
    on->wanted_answer = LW_REFUSED;
    travel(on);
    assert_int_equal(on->figures.sent_bytes, 0);
    expect_outcome(on, LW_REFUSED, 1);
    on = depart(1);
    on->wanted_answer = LW_EXISTS;
    travel(on);
    expect_right(on, 2);
    assert_int_equal(on->outcome, LW_OK);
    assert_int_equal(on->figures.sent, 0);
    assert_int_equal(on->install_count, 0);
    arrive(on);
}

static void what_could_not_be_installed_is_told_and_leaves_nothing(void **state) {
    (void)state;
    journey *on = depart(1);
    on->install_answer = LW_INTERNAL;
    travel(on);
    assert_int_equal(on->install_count, 1);
    expect_outcome(on, LW_INTERNAL, 1);
}

static void what_is_not_installed_just_now_is_taken_the_next_time(void **state) {
    (void)state;
    journey *on = depart(1);
    on->put_off = 2;
    travel(on);
    assert_int_equal(on->install_count, 3);
    assert_true(on->took_ns < UINT64_C(10) * 1000 * 1000 * 1000);
    expect_outcome(on, LW_OK, 1);
    on = depart(1);
    on->put_off = 100;
    travel(on);
    assert_true(on->install_count < 10);
    expect_outcome(on, LW_UNAVAILABLE, 2);
}

static void a_full_disk_over_there_ends_it_with_nothing_half_left(void **state) {
    (void)state;
    journey *on = depart(1);
    lw_disk_set_capacity(lw_host_disk(on->receiver.host), 1);
    travel(on);
    assert_int_equal(on->figures.sent_bytes, 0);
    expect_right(on, 0);
    assert_int_equal(on->outcome, LW_FULL);
    lw_disk_set_capacity(lw_host_disk(on->receiver.host), 0);
    expect_outcome(on, LW_FULL, 0);
    bool more = true, full = false;
    for (uint32_t occasion = 1; more; occasion += 2 * STRIDE) {
        on = depart(1);
        lw_dice_arm(lw_disk_dice(lw_host_disk(on->receiver.host)), LW_FAULT_FULL, occasion);
        travel(on);
        lw_dice_arm(lw_disk_dice(lw_host_disk(on->receiver.host)), LW_FAULT_FULL, 0);
        more = lw_world_marked(on->world, lw_fault_mark(LW_FAULT_FULL)) > 0;
        full |= on->outcome == LW_FULL;
        expect_outcome(on, on->outcome == LW_FULL ? LW_FULL : LW_OK, occasion);
    }
    assert_true(full);
}

static void nobody_waits_for_ever_for_a_node_that_is_gone(void **state) {
    (void)state;
    journey *on = depart(1);
    on->deaf = true;
    lw_host_crash(on->receiver.host);
    travel(on);
    assert_in_range(on->took_ns, UINT64_C(20000000000), UINT64_C(40000000000));
    expect_outcome(on, LW_UNAVAILABLE, 1);
}

static void a_sender_that_stops_leaves_nothing(void **state) {
    (void)state;
    for (uint64_t delay = 1; delay < 30; delay += 4) {
        journey *on = depart(1);
        on->stop_ns = delay * 1000000;
        travel(on);
        expect_outcome(on, on->outcome == LW_OK ? LW_OK : LW_UNAVAILABLE, delay);
    }
}

static void two_do_not_send_to_one_at_a_time(void **state) {
    (void)state;
    journey *on = depart(1);
    on->meddle = true;
    travel(on);
    assert_false(on->meddle);
    assert_int_equal(on->meddled, LW_BACKPRESSURE);
    expect_outcome(on, LW_OK, 1);
}

/* Offers something whose first files have the numbers of those that are there. */
static void offer_alike(void *argument) {
    side *of = argument;
    journey *on = of->journey;
    lw_snapshot_file files[64] = {{0}};
    lw_buffer names = lw_buffer_in(of->env->memory), body = lw_buffer_in(of->env->memory),
              reply = lw_buffer_in(of->env->memory);
    lw_snapshot_offer offer = {.transfer = 1, .index = 6, .term = TERM, .head = lw_text("at 6")};
    (void)worked(on, lw_path_list(of->env, "data/incoming/sst", &names), "listing");
    lw_bytes rest = lw_buffer_view(&names);
    for (const char *name; offer.file_count < 60 && (name = lw_names_next(&rest)) != NULL;) {
        files[offer.file_count++] =
            (lw_snapshot_file){.number = strtoull(name, NULL, 16), .size = 100};
    }
    on->stop_ns = offer.file_count; /* what was there */
    files[offer.file_count++] = (lw_snapshot_file){.number = 0, .size = 100};
    lw_snapshot_offer_encode(&offer, files, &body);
    lw_request request = {
        .kind = LW_MESSAGE_SNAPSHOT_OFFER, .shard = SHARD, .body = lw_buffer_view(&body)};
    lw_snapshot_place place = {.file = 99};
    if (worked(on, lw_snapshots_handle(of->snapshots, 1, &request, &reply), "offering") &&
        worked(on, lw_snapshot_place_decode(lw_buffer_view(&reply), &place), "reading a place") &&
        (place.file != 0 || place.offset != 0)) {
        wrong(on, "what belonged to another transfer is used");
    }
    lw_buffer_reset(&names);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    on->ended = true;
}

static void what_was_left_of_another_transfer_is_not_used(void **state) {
    (void)state;
    journey *on = depart(1);
    on->deaf = true;
    lw_host_crash_after(on->receiver.host, 30, LW_CRASH_AFTER);
    boot(&on->sender, sender_main);
    while (lw_host_running(on->receiver.host) && on->wrong == NULL) {
        assert_true(lw_world_step(on->world));
    }
    lw_host_crash(on->sender.host);
    boot(&on->receiver, receiver_main);
    while (on->wrong == NULL && !on->receiver.ready) {
        assert_true(lw_world_step(on->world));
    }
    on->ended = false;
    (void)lw_env_start(on->receiver.env, "alike", offer_alike, &on->receiver);
    while (!on->ended && on->wrong == NULL) {
        assert_true(lw_world_step(on->world));
    }
    expect_right(on, 1);
    assert_in_range(on->stop_ns, 2, 60);
    arrive(on);
}

static void no_more_is_sent_than_the_rate_allows(void **state) {
    (void)state;
    journey *on = depart(1);
    on->rate = 20000;
    travel(on);
    uint64_t least_ns = (on->figures.sent_bytes - PIECE) * UINT64_C(1000000000) / on->rate;
    assert_in_range(on->took_ns, least_ns, least_ns + least_ns / 2 + 1000000000);
    expect_outcome(on, LW_OK, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_that_is_written_to_moves_as_it_was_at_one_index),
        cmocka_unit_test(either_may_lose_power_at_any_step),
        cmocka_unit_test(bits_that_flip_on_the_wire_change_nothing),
        cmocka_unit_test(damage_on_the_sender_s_disk_stays_there_and_is_told),
        cmocka_unit_test(what_is_not_wanted_is_not_sent),
        cmocka_unit_test(what_could_not_be_installed_is_told_and_leaves_nothing),
        cmocka_unit_test(what_is_not_installed_just_now_is_taken_the_next_time),
        cmocka_unit_test(a_full_disk_over_there_ends_it_with_nothing_half_left),
        cmocka_unit_test(nobody_waits_for_ever_for_a_node_that_is_gone),
        cmocka_unit_test(a_sender_that_stops_leaves_nothing),
        cmocka_unit_test(two_do_not_send_to_one_at_a_time),
        cmocka_unit_test(what_was_left_of_another_transfer_is_not_used),
        cmocka_unit_test(no_more_is_sent_than_the_rate_allows),
    };
    return cmocka_run_group_tests_name("snapshot", tests, unit_arm, NULL) != 0;
}
