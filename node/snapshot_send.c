/* SPDX-License-Identifier: Apache-2.0 */
/* Sending a snapshot: a checkpoint, then its files in pieces, each asked for by the answer to the
 * one before. Whatever breaks in between is tried again from the offer on, whose answer says where
 * the receiver is, until nothing has got on for too long. */
#include "node/snapshot_state.h"

#include "storage/bundle.h"
#include "storage/shared_file.h"

#include <inttypes.h>

enum {
    ASK_MS = 5 * 1000,     /* also what stopping may have to wait for */
    CROWDED_MS = 5 * 1000, /* without getting on, while others wait */
    REST_MS = 1000,        /* of who let others have its turn */
    TURNED_AWAY_MAX = 2,   /* times that the node is busy, until those for others have their turn */
    SMALL_PIECE = 500,     /* bytes, in simulations */
    PUT_OFF_MAX = 4,       /* times that it is not installed just now; then it takes a newer one */
};
static const uint64_t pause_ns = 500 * 1000 * 1000;
static const uint64_t slow_ns = 20 * 1000 * 1000; /* in simulations, between two pieces */
static const uint64_t none = UINT64_MAX;

typedef struct sending {
    lw_snapshots *of;
    uint64_t shard, node;
    lw_snapshot_offer offer;
    lw_snapshot_file *files;
    lw_buffer head, body, reply;
    lw_handle file;
    uint64_t file_index; /* of the one that is open */
    uint8_t *piece;
    lw_snapshot_place place; /* that the receiver wants next */
    bool there;              /* it has come that far by itself */
    uint32_t put_off;        /* how often it was not installed, or the answer was lost */
    uint32_t turned_away;    /* ... the node received another one, of those since it last took it */
    bool gives_way;          /* it ends this turn: those for other nodes have theirs */
    uint64_t progress_ns, next_ns;
} sending;

/* ---- what is sent ---------------------------------------------------------------------------- */

static LW_YIELDS lw_status size_of_catalog(lw_snapshots *of, uint64_t *size) {
    char path[LW_PATH_SIZE];
    lw_handle file = LW_NO_HANDLE;
    LW_TRY(snapshot_path(path, of->outgoing, 0, "CATALOG"));
    LW_TRY(lw_file_open(of->env, path, LW_OPEN_READ_ONLY, &file));
    lw_status status = lw_file_size(of->env, file, size);
    lw_file_close(of->env, file);
    return status;
}

/* In the order of their numbers; the CATALOG last. */
static LW_YIELDS lw_status note_files(sending *send, const lw_inventory *inventory) {
    lw_snapshots *of = send->of;
    char path[LW_PATH_SIZE];
    lw_buffer names = lw_buffer_in(of->env->memory);
    LW_TRY(lw_path_join(path, of->outgoing, "sst"));
    lw_status status = lw_path_list(of->env, path, &names);
    lw_bytes rest = lw_buffer_view(&names);
    uint32_t count = inventory->file_map.count;
    send->files = lw_allocate_zero(of->env->memory, (count + 1) * sizeof(*send->files));
    uint32_t noted = 0;
    for (const char *name; status == LW_OK && (name = lw_names_next(&rest)) != NULL;) {
        uint64_t number = 0;
        const lw_inventory_file *file =
            lw_table_name_number(name, &number) ? lw_inventory_find_file(inventory, number) : NULL;
        if (file != NULL) {
            LW_ASSERT(noted < count);
            send->files[noted++] = (lw_snapshot_file){.number = number, .size = file->size};
        }
    }
    lw_buffer_reset(&names);
    if (status == LW_OK && noted < count) {
        status = lw_fail(LW_CORRUPTION, "%s lacks tables that its CATALOG names", of->outgoing);
    }
    send->offer.file_count = count + 1;
    return status == LW_OK ? size_of_catalog(of, &send->files[count].size) : status;
}

static LW_YIELDS lw_status read_bundle(sending *send) {
    lw_snapshots *of = send->of;
    lw_handle lock = LW_NO_HANDLE;
    lw_inventory inventory = lw_inventory_in(of->env->memory);
    lw_status status = lw_bundle_read(of->env, of->outgoing, &inventory, &lock);
    if (status == LW_OK) {
        lw_file_close(of->env, lock);
        status = inventory.file_map.count < LW_SNAPSHOT_FILES_MAX
                     ? note_files(send, &inventory)
                     : lw_fail(LW_REFUSED, "shard %" PRIu64 " has too many tables to be sent: %u",
                               send->shard, inventory.file_map.count);
    }
    lw_inventory_reset(&inventory);
    return status;
}

static LW_YIELDS lw_status make_bundle(sending *send) {
    lw_snapshots *of = send->of;
    const lw_snapshots_options *options = &of->options;
    lw_snapshot *state = NULL;
    lw_snapshot_offer *offer = &send->offer;
    LW_TRY(snapshot_clear(of, of->outgoing));
    LW_TRY(
        lw_store_checkpoint_tree(options->store, send->shard, of->outgoing, &offer->index, &state));
    lw_status status = options->describe_shard(options->argument, send->shard, send->node,
                                               offer->index, state, &offer->term, &send->head);
    lw_snapshot_close(state);
    LW_TRY(status);
    LW_ASSERT(send->head.size <= LW_SNAPSHOT_HEAD_SIZE_MAX);
    offer->head = lw_buffer_view(&send->head);
    while (offer->transfer == 0) {
        lw_env_entropy(of->env, &offer->transfer, sizeof(offer->transfer));
    }
    return read_bundle(send);
}

/* ---- whether it is worth while --------------------------------------------------------------- */

static lw_status check_needed(const lw_snapshots *of, uint64_t shard, uint64_t node) {
    const lw_snapshots_options *options = &of->options;
    if (of->stopping) {
        return snapshot_stopped();
    }
    if (options->needed != NULL && !options->needed(options->argument, shard, node) &&
        !LW_BUG(of->env, "snapshot.sent_for_nothing")) {
        LW_MARK(of->env, "snapshot.not_needed");
        return lw_fail(LW_UNAVAILABLE,
                       "node %" PRIu64 " needs no snapshot of shard %" PRIu64 " from this node",
                       node, shard);
    }
    return LW_OK;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static LW_YIELDS lw_status ask(sending *send, lw_message_kind kind) {
    lw_snapshots *of = send->of;
    lw_request request = {.kind = kind,
                          .shard = send->shard,
                          .timeout_ms = ASK_MS,
                          .body = lw_buffer_view(&send->body)};
    uint64_t deadline_ns = lw_env_now(of->env) + ASK_MS * UINT64_C(1000000);
    lw_buffer_clear(&send->reply);
    if (of->stopping) {
        return snapshot_stopped();
    }
    return of->options.ask(of->options.argument, send->node, &request, deadline_ns, &send->reply);
}

/* Where the receiver wants to go on. */
static lw_status take_place(sending *send) {
    lw_snapshot_place place;
    LW_TRY(lw_snapshot_place_decode(lw_buffer_view(&send->reply), &place));
    uint64_t count = send->offer.file_count;
    if (place.file > count || (place.file == count && place.offset > 0) ||
        (place.file < count && place.offset >= send->files[place.file].size)) {
        return lw_fail(LW_INVALID_ARGUMENT, "node %" PRIu64 " asks for what there is not",
                       send->node);
    }
    send->place = place;
    return LW_OK;
}

static LW_YIELDS lw_status offer(sending *send) {
    lw_buffer_clear(&send->body);
    lw_snapshot_offer_encode(&send->offer, send->files, &send->body);
    lw_status status = ask(send, LW_MESSAGE_SNAPSHOT_OFFER);
    send->there = status == LW_EXISTS;
    send->turned_away = status == LW_BACKPRESSURE ? send->turned_away + 1 : 0;
    LW_TRY(status);
    LW_TRY(take_place(send));
    if (send->place.file > 0 || send->place.offset > 0) {
        LW_MARK(send->of->env, "snapshot.resumed");
        send->of->figures.resumed++;
    }
    return LW_OK;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static LW_YIELDS void close_file(sending *send) {
    if (lw_handle_valid(send->file)) {
        lw_file_close(send->of->env, send->file);
    }
    send->file = LW_NO_HANDLE;
    send->file_index = none;
}

static LW_YIELDS lw_status open_file(sending *send) {
    char path[LW_PATH_SIZE];
    if (send->file_index == send->place.file) {
        return LW_OK;
    }
    close_file(send);
    uint64_t number = send->files[send->place.file].number;
    LW_TRY(snapshot_path(path, send->of->outgoing, number, "CATALOG"));
    LW_TRY(lw_file_open(send->of->env, path, LW_OPEN_READ_ONLY, &send->file));
    send->file_index = send->place.file;
    return LW_OK;
}

/* Reads the piece that is wanted next. */
static LW_YIELDS lw_status read_piece(sending *send, lw_snapshot_piece *piece) {
    lw_snapshots *of = send->of;
    uint64_t left = send->files[send->place.file].size - send->place.offset;
    size_t wanted = left < of->options.piece_size ? (size_t)left : of->options.piece_size;
    if (wanted > SMALL_PIECE && LW_RARE(of->env, "snapshot.small_piece")) {
        wanted = SMALL_PIECE;
    }
    size_t size = 0;
    LW_TRY(open_file(send));
    LW_TRY(lw_file_read(of->env, send->file, send->place.offset, send->piece, wanted, &size));
    if (size < wanted) {
        return lw_fail(LW_CORRUPTION, "file %" PRIx64 " of %s is shorter than its CATALOG says",
                       send->files[send->place.file].number, of->outgoing);
    }
    *piece = (lw_snapshot_piece){.transfer = send->offer.transfer,
                                 .file = send->place.file,
                                 .offset = send->place.offset,
                                 .bytes = lw_view(send->piece, size)};
    return LW_OK;
}

/* Waits until the rate allows so many bytes more. */
static LW_YIELDS lw_status keep_rate(sending *send, size_t size) {
    LW_TRY(snapshot_pause(send->of, send->next_ns));
    uint64_t now_ns = lw_env_now(send->of->env);
    send->next_ns = now_ns + size * UINT64_C(1000000000) / send->of->options.bytes_per_second;
    return LW_OK;
}

static LW_YIELDS lw_status send_piece(sending *send) {
    lw_snapshot_piece piece = {0};
    LW_TRY(read_piece(send, &piece));
    LW_TRY(keep_rate(send, piece.bytes.size));
    if (LW_RARE(send->of->env, "snapshot.sends_slowly")) {
        LW_TRY(snapshot_pause(send->of, lw_env_now(send->of->env) + slow_ns));
    }
    lw_buffer_clear(&send->body);
    lw_snapshot_piece_encode(&piece, &send->body);
    lw_snapshot_place before = send->place;
    LW_TRY(ask(send, LW_MESSAGE_SNAPSHOT_PIECE));
    LW_TRY(take_place(send));
    if (send->place.file == before.file && send->place.offset == before.offset) {
        return lw_fail(LW_UNAVAILABLE, "node %" PRIu64 " did not take a piece", send->node);
    }
    send->of->figures.sent_bytes += piece.bytes.size;
    if (LW_RARE(send->of->env, "snapshot.piece_again")) {
        send->place = before;
    }
    send->progress_ns = lw_env_now(send->of->env);
    return LW_OK;
}

static LW_YIELDS lw_status finish(sending *send) {
    lw_buffer_clear(&send->body);
    lw_snapshot_end_encode(send->offer.transfer, &send->body);
    lw_status status = ask(send, LW_MESSAGE_SNAPSHOT_END);
    if (status == LW_OK && LW_RARE(send->of->env, "snapshot.end_unheard")) {
        status = lw_fail(LW_UNAVAILABLE, "the answer is taken for lost");
    }
    if (status == LW_BACKPRESSURE) {
        send->progress_ns = lw_env_now(send->of->env); /* it installs, which takes its time */
    }
    send->put_off += status == LW_UNAVAILABLE;
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static LW_YIELDS lw_status attempt(sending *send) {
    LW_TRY(offer(send));
    while (send->place.file < send->offer.file_count) {
        LW_TRY(check_needed(send->of, send->shard, send->node));
        LW_TRY(send_piece(send));
    }
    return finish(send);
}

static uint64_t patience_ms(const lw_snapshots *of) {
    uint64_t usual_ms = of->options.patience_ms;
    bool crowded = of->waiting != NULL && !LW_BUG(of->env, "snapshot.never_makes_way");
    return crowded && usual_ms > CROWDED_MS ? CROWDED_MS : usual_ms;
}

/* Whether a node is busy with another one while snapshots for other nodes wait. */
static bool gives_way(const sending *send) {
    const lw_snapshots *of = send->of;
    bool others = false;
    for (const snapshot_waiter *each = of->waiting; each != NULL; each = each->next) {
        others = others || each->node != send->node;
    }
    return others && send->turned_away >= TURNED_AWAY_MAX &&
           !LW_BUG(of->env, "snapshot.holds_its_turn");
}

static LW_YIELDS lw_status transfer(sending *send) {
    lw_snapshots *of = send->of;
    for (;;) {
        LW_TRY(check_needed(of, send->shard, send->node));
        lw_status status = attempt(send);
        if (!snapshot_passes(status)) {
            return status;
        }
        lw_error cause = *lw_error_slot();
        uint64_t now_ns = lw_env_now(of->env);
        if (now_ns - send->progress_ns > patience_ms(of) * UINT64_C(1000000) ||
            send->put_off == PUT_OFF_MAX) {
            return lw_fail(LW_UNAVAILABLE,
                           "node %" PRIu64 " did not take a snapshot of shard %" PRIu64 ": %s",
                           send->node, send->shard, cause.text);
        }
        if (gives_way(send)) {
            LW_MARK(of->env, "snapshot.gives_way");
            send->gives_way = true;
            return status;
        }
        LW_MARK(of->env, "snapshot.tried_again");
        LW_TRY(snapshot_pause(of, now_ns + pause_ns));
    }
}

/* Something damaged was sent, or could not be: whose fault was it? */
static LW_YIELDS lw_status look_for_damage(sending *send) {
    lw_snapshots *of = send->of;
    lw_error cause = *lw_error_slot();
    lw_buffer faults = lw_buffer_in(of->env->memory);
    lw_status status =
        lw_store_check(of->env, of->outgoing, lw_store_filter_part(of->options.store), &faults);
    if (status == LW_CORRUPTION) {
        const uint8_t *end = memchr(faults.data, '\n', faults.size);
        status = lw_fail(LW_CORRUPTION,
                         "tables of shard %" PRIu64 " are damaged on this node: %.*s", send->shard,
                         end == NULL ? 0 : (int)(end - faults.data), (const char *)faults.data);
    } else if (status == LW_OK) {
        status = lw_fail(LW_UNAVAILABLE,
                         "a snapshot of shard %" PRIu64 " was damaged on its way to node %" PRIu64
                         ": %s",
                         send->shard, send->node, cause.text);
    }
    lw_buffer_reset(&faults);
    return status;
}

static LW_YIELDS lw_status send_snapshot(sending *send, uint64_t tried_ns) {
    lw_status status = make_bundle(send);
    if (status == LW_OK) {
        send->progress_ns = lw_env_now(send->of->env) - tried_ns;
        status = transfer(send);
        status = status == LW_CORRUPTION ? look_for_damage(send) : status;
    }
    lw_error cause = *lw_error_slot();
    close_file(send);
    /* What cannot be removed now is removed before the next one, or at the next start. */
    (void)!snapshot_clear(send->of, send->of->outgoing);
    if (status == LW_EXISTS && send->there) {
        return LW_OK;
    }
    return status == LW_OK ? LW_OK : lw_fail(cause.status, "%s", cause.text);
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* One snapshot that is to be sent, for as many turns as it takes. */
typedef struct errand {
    uint64_t shard;
    snapshot_waiter waiter;
    uint64_t tried_ns; /* in earlier turns, without getting on */
    bool gave_way;
} errand;

static void stop_waiting(lw_snapshots *of, const snapshot_waiter *waiter) {
    snapshot_waiter **link = &of->waiting;
    while (*link != waiter) {
        link = &(*link)->next;
    }
    *link = waiter->next;
}

/* Whoever does not take its turn hands it on. */
static LW_YIELDS lw_status await_turn(lw_snapshots *of, errand *job) {
    lw_status status = LW_OK;
    job->waiter.next = of->waiting;
    of->waiting = &job->waiter;
    while (status == LW_OK && of->sends) {
        (void)lw_env_wait(of->env, &of->send_turn, lw_env_now(of->env) + pause_ns);
        status = check_needed(of, job->shard, job->waiter.node);
    }
    stop_waiting(of, &job->waiter);
    if (status != LW_OK && !of->sends) {
        lw_queue_wake_one(&of->send_turn);
    }
    return status;
}

static LW_YIELDS lw_status take_turn(lw_snapshots *of, errand *job, uint64_t *index) {
    lw_memory *memory = of->env->memory;
    sending send = {.of = of,
                    .shard = job->shard,
                    .node = job->waiter.node,
                    .head = lw_buffer_in(memory),
                    .body = lw_buffer_in(memory),
                    .reply = lw_buffer_in(memory),
                    .file = LW_NO_HANDLE,
                    .file_index = none,
                    .piece = lw_allocate(memory, of->options.piece_size)};
    of->sends = true;
    of->figures.sending = job->shard;
    lw_status status = send_snapshot(&send, job->tried_ns);
    of->figures.sending = 0;
    of->figures.sent += status == LW_OK && !send.there;
    of->sends = false;
    lw_queue_wake_one(&of->send_turn);
    job->gave_way = send.gives_way;
    job->tried_ns = lw_env_now(of->env) - send.progress_ns;
    if (status == LW_OK && index != NULL) {
        *index = send.offer.index;
    }
    lw_free(memory, send.piece);
    lw_free(memory, send.files);
    lw_buffer_reset(&send.head);
    lw_buffer_reset(&send.body);
    lw_buffer_reset(&send.reply);
    return status;
}

lw_status lw_snapshots_send(lw_snapshots *of, uint64_t shard, uint64_t node, uint64_t *index) {
    errand job = {.shard = shard, .waiter = {.node = node}};
    lw_status status;
    snapshot_enter(of);
    do {
        job.gave_way = false;
        status = await_turn(of, &job);
        status = status == LW_OK ? take_turn(of, &job, index) : status;
        if (job.gave_way) {
            status = snapshot_pause(of, lw_env_now(of->env) + REST_MS * UINT64_C(1000000));
            status = status == LW_OK ? check_needed(of, shard, node) : status;
        }
    } while (job.gave_way && status == LW_OK);
    snapshot_leave(of);
    return status;
}
