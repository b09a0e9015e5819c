/* SPDX-License-Identifier: Apache-2.0 */
/* Receiving a snapshot: pieces in order into the files of a bundle, and then to whoever installs
 * it.
 *
 *   incoming/OFFER = sender u64 · shard u64 (little-endian) · the body of its offer, as it came
 *
 * Invariants
 * 1. Files are written one after the other, in the order of the offer, and one is begun when the
 *    one before is durable. So after a crash every file before the last one that is there is whole,
 *    if none of them is missing.
 * 2. What is in incoming/ belongs to the offer in OFFER, byte by byte: only if that very offer is
 *    made again is anything of it used.
 * 3. The CATALOG gets its name when everything else is durable (U2 of storage/bundle.h). */
#include "node/snapshot_state.h"

#include "storage/bundle.h"
#include "storage/shared_file.h"

#include <inttypes.h>

static const uint64_t silence_ns = UINT64_C(10) * 1000 * 1000 * 1000;
static const uint64_t cut_off_ns = UINT64_C(2) * 1000 * 1000 * 1000; /* ... of who is not linked */
static const uint64_t install_wait_ns = 1000 * 1000 * 1000; /* that a request waits for it */
static const char catalog_unfinished[] = "CATALOG.new";

/* ---- the transfer ---------------------------------------------------------------------------- */

void snapshot_receiving_reset(lw_snapshots *of) {
    snapshot_receiving *in = &of->receiving;
    if (lw_handle_valid(in->file)) {
        lw_file_close(of->env, in->file);
    }
    in->file = LW_NO_HANDLE;
    lw_free(of->env->memory, in->files);
    in->files = NULL;
    lw_buffer_reset(&in->body);
    in->transfer = 0;
    in->took_a_place = false;
}

/* It is over, one way or another: remembers how, and leaves nothing. */
static LW_YIELDS lw_status end_transfer(lw_snapshots *of, lw_status status) {
    snapshot_receiving *in = &of->receiving;
    lw_error outcome = status == LW_OK ? (lw_error){0} : *lw_error_slot();
    in->ended = in->transfer;
    in->outcome = outcome;
    snapshot_receiving_reset(of);
    /* What cannot be removed now is removed by the next one that comes. */
    (void)!snapshot_clear(of, of->incoming);
    return status == LW_OK ? LW_OK : lw_fail(outcome.status, "%s", outcome.text);
}

static lw_status ended_as(const snapshot_receiving *in) {
    return in->outcome.status == LW_OK ? LW_OK
                                       : lw_fail(in->outcome.status, "%s", in->outcome.text);
}

static lw_snapshot_arrival arrival_of(const snapshot_receiving *in, const char *directory) {
    return (lw_snapshot_arrival){.from = in->from,
                                 .shard = in->shard,
                                 .index = in->offer.index,
                                 .term = in->offer.term,
                                 .head = in->offer.head,
                                 .directory = directory};
}

/* Takes an offer in. Nothing is on the disk yet. */
static lw_status remember(lw_snapshots *of, uint64_t from, uint64_t shard, lw_bytes body) {
    snapshot_receiving *in = &of->receiving;
    lw_buffer_append(&in->body, body);
    LW_TRY(lw_snapshot_offer_decode(lw_buffer_view(&in->body), &in->offer));
    in->files = lw_allocate(of->env->memory, in->offer.file_count * sizeof(*in->files));
    for (uint32_t index = 0; index < in->offer.file_count; index++) {
        in->files[index] = lw_snapshot_file_next(&in->offer);
    }
    in->from = from;
    in->shard = shard;
    in->transfer = in->offer.transfer;
    in->place = (lw_snapshot_place){0};
    lw_snapshot_arrival offered = arrival_of(in, NULL);
    return of->options.wanted(of->options.argument, &offered);
}

/* ---- what is on the disk --------------------------------------------------------------------- */

static void describe_offer(const snapshot_receiving *in, lw_buffer *text) {
    lw_buffer_append_u64(text, in->from);
    lw_buffer_append_u64(text, in->shard);
    lw_buffer_append(text, lw_buffer_view(&in->body));
}

static LW_YIELDS lw_status read_offer(lw_snapshots *of, const char *path, lw_buffer *text) {
    lw_handle file = LW_NO_HANDLE;
    uint64_t size = 0;
    size_t read = 0;
    LW_TRY(lw_file_open(of->env, path, LW_OPEN_READ_ONLY, &file));
    lw_status status = lw_file_size(of->env, file, &size);
    if (status == LW_OK && size <= LW_FRAME_SIZE_MAX) {
        uint8_t *to = lw_buffer_reserve(text, (size_t)size);
        status = lw_file_read(of->env, file, 0, to, (size_t)size, &read);
        text->size += status == LW_OK ? read : 0;
    }
    lw_file_close(of->env, file);
    return status;
}

/* Whether what is in incoming/ is of this offer. */
static LW_YIELDS lw_status is_there(lw_snapshots *of, bool *there) {
    char path[LW_PATH_SIZE];
    lw_buffer found = lw_buffer_in(of->env->memory), wanted = lw_buffer_in(of->env->memory);
    LW_TRY(lw_path_join(path, of->incoming, "OFFER"));
    lw_status status = read_offer(of, path, &found);
    describe_offer(&of->receiving, &wanted);
    *there = status == LW_OK && lw_equal(lw_buffer_view(&found), lw_buffer_view(&wanted));
    lw_buffer_reset(&found);
    lw_buffer_reset(&wanted);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* Finds the first file that may not be whole: of those that are there without a gap, the last
 * (invariant 1). */
static LW_YIELDS lw_status find_place(lw_snapshots *of) {
    snapshot_receiving *in = &of->receiving;
    char path[LW_PATH_SIZE];
    lw_buffer names = lw_buffer_in(of->env->memory);
    LW_TRY(lw_path_join(path, of->incoming, "sst"));
    lw_status status = lw_path_list(of->env, path, &names);
    lw_bytes rest = lw_buffer_view(&names);
    uint64_t index = 0, number = 0;
    for (const char *name; status == LW_OK && (name = lw_names_next(&rest)) != NULL;) {
        bool next = lw_table_name_number(name, &number) && number == in->files[index].number;
        if (!next) {
            break;
        }
        index++;
    }
    lw_buffer_reset(&names);
    in->place = (lw_snapshot_place){.file = index > 0 ? index - 1 : 0};
    return status;
}

/* Told before the first piece, where the system knows. */
static LW_YIELDS lw_status expect_room(lw_snapshots *of, lw_handle file) {
    uint64_t left = 0;
    lw_status status = lw_file_left(of->env, file, &left);
    if (status == LW_OK && left < of->receiving.offer.size) {
        return lw_fail(LW_FULL,
                       "a snapshot of shard %" PRIu64 " has %" PRIu64 " bytes, and %" PRIu64
                       " are left on the disk: give it more room",
                       of->receiving.shard, of->receiving.offer.size, left);
    }
    return status == LW_REFUSED ? LW_OK : status;
}

static LW_YIELDS lw_status write_offer(lw_snapshots *of, const char *path) {
    lw_handle file = LW_NO_HANDLE;
    lw_buffer text = lw_buffer_in(of->env->memory);
    LW_TRY(lw_file_open(of->env, path, LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE, &file));
    describe_offer(&of->receiving, &text);
    lw_status status = lw_file_write(of->env, file, 0, lw_buffer_view(&text), 0);
    status = status == LW_OK ? lw_file_sync(of->env, file) : status;
    status = status == LW_OK ? expect_room(of, file) : status;
    lw_file_close(of->env, file);
    lw_buffer_reset(&text);
    return status;
}

/* The folder becomes that of the offer, durably: before the first file is in it. */
static LW_YIELDS lw_status prepare_folder(lw_snapshots *of) {
    char path[LW_PATH_SIZE], table_path[LW_PATH_SIZE];
    LW_TRY(snapshot_clear(of, of->incoming));
    LW_TRY(lw_bundle_begin(of->env, of->incoming, table_path));
    LW_TRY(lw_path_join(path, of->incoming, "OFFER"));
    LW_TRY(write_offer(of, path));
    LW_TRY(lw_path_sync_directory(of->env, of->incoming));
    return lw_path_sync_parent(of->env, of->incoming);
}

static LW_YIELDS lw_status begin_transfer(lw_snapshots *of, uint64_t from, uint64_t shard,
                                          lw_bytes body) {
    bool there = false;
    lw_status status = remember(of, from, shard, body);
    if (status != LW_OK) {
        snapshot_receiving_reset(of);
        return status;
    }
    status = is_there(of, &there);
    if (status == LW_OK) {
        status = there ? find_place(of) : prepare_folder(of);
    }
    return status == LW_OK ? LW_OK : end_transfer(of, status);
}

/* ---- offers ---------------------------------------------------------------------------------- */

static void note_heard(lw_snapshots *of) {
    of->receiving.heard_ns = lw_env_now(of->env);
    of->receiving.cut_off = false;
}

void lw_snapshots_link_lost(lw_snapshots *of, uint64_t node) {
    snapshot_receiving *in = &of->receiving;
    if (in->transfer != 0 && in->from == node && !LW_BUG(of->env, "snapshot.awaits_the_lost")) {
        in->cut_off = true;
    }
}

/* Another transfer than the one offered comes in: it goes on, or is given up. Who sends it and is
 * linked tries again twice a second, so one whose link was lost is not waited for as long as one
 * that is slow. */
static LW_YIELDS lw_status make_way(lw_snapshots *of, uint64_t from) {
    snapshot_receiving *in = &of->receiving;
    uint64_t patient_ns = in->cut_off ? cut_off_ns : silence_ns;
    bool throws_out = in->from != from && lw_env_now(of->env) - in->heard_ns < patient_ns;
    if (throws_out && (in->took_a_place || !LW_RARE(of->env, "snapshot.makes_way"))) {
        return lw_fail(LW_BACKPRESSURE,
                       "the node is receiving a snapshot of shard %" PRIu64 " from another: try "
                       "again later",
                       in->shard);
    }
    LW_MARK(of->env, "snapshot.given_up");
    snapshot_receiving_reset(of);
    in->took_a_place = throws_out;
    return LW_OK;
}

static LW_YIELDS lw_status take_offer(lw_snapshots *of, uint64_t from, const lw_request *request,
                                      lw_snapshot_place *place) {
    snapshot_receiving *in = &of->receiving;
    lw_snapshot_offer offer;
    LW_TRY(lw_snapshot_offer_decode(request->body, &offer));
    if (offer.transfer == in->ended && !snapshot_passes(in->outcome.status)) {
        *place = (lw_snapshot_place){.file = offer.file_count};
        return ended_as(in);
    }
    if (offer.transfer == in->ended) {
        LW_MARK(of->env, "snapshot.put_off");
        in->ended = 0; /* it may go better now */
    }
    bool same = in->transfer == offer.transfer && in->from == from && in->shard == request->shard &&
                lw_equal(request->body, lw_buffer_view(&in->body));
    if (!same && in->transfer != 0) {
        LW_TRY(make_way(of, from));
    }
    if (!same) {
        LW_TRY(begin_transfer(of, from, request->shard, request->body));
    }
    note_heard(of);
    *place = in->place;
    return LW_OK;
}

static lw_status unknown_transfer(void) {
    return lw_fail(LW_UNAVAILABLE, "no such snapshot comes in here: offer it first");
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static LW_YIELDS lw_status open_file(lw_snapshots *of) {
    snapshot_receiving *in = &of->receiving;
    char path[LW_PATH_SIZE];
    if (lw_handle_valid(in->file)) {
        return LW_OK;
    }
    LW_ASSERT(in->place.offset == 0);
    uint64_t number = in->files[in->place.file].number;
    LW_TRY(snapshot_path(path, of->incoming, number, catalog_unfinished));
    LW_TRY(lw_file_open(of->env, path, LW_OPEN_CREATE, &in->file));
    return lw_file_resize(of->env, in->file, 0); /* it may be there in part */
}

/* A sync that fails is the end of what was received: nothing of it is believed (hazard S4). */
static LW_YIELDS lw_status write_piece(lw_snapshots *of, const lw_snapshot_piece *piece) {
    snapshot_receiving *in = &of->receiving;
    LW_TRY(open_file(of));
    LW_TRY(lw_file_write(of->env, in->file, piece->offset, piece->bytes, 0));
    in->place.offset += piece->bytes.size;
    if (in->place.offset == in->files[in->place.file].size) {
        LW_TRY(lw_file_sync(of->env, in->file));
        lw_file_close(of->env, in->file);
        in->file = LW_NO_HANDLE;
        in->place = (lw_snapshot_place){.file = in->place.file + 1};
    }
    return LW_OK;
}

static LW_YIELDS lw_status take_piece(lw_snapshots *of, uint64_t from, const lw_request *request,
                                      lw_snapshot_place *place) {
    snapshot_receiving *in = &of->receiving;
    lw_snapshot_piece piece;
    LW_TRY(lw_snapshot_piece_decode(request->body, &piece));
    if (in->transfer != piece.transfer || in->from != from) {
        return unknown_transfer();
    }
    note_heard(of);
    bool wanted = piece.file == in->place.file && piece.offset == in->place.offset &&
                  piece.file < in->offer.file_count;
    if (wanted && piece.bytes.size > in->files[piece.file].size - piece.offset) {
        return lw_fail(LW_INVALID_ARGUMENT, "a piece of a snapshot reaches beyond its file");
    }
    lw_status status = wanted ? write_piece(of, &piece) : LW_OK;
    if (status == LW_BACKPRESSURE) {
        return status; /* handles are short: the same piece may come again */
    }
    if (status != LW_OK) {
        LW_MARK(of->env, "snapshot.piece_not_stored");
        return end_transfer(of, status);
    }
    of->figures.received_bytes += wanted ? piece.bytes.size : 0;
    *place = in->place;
    return LW_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Makes the folder a bundle. */
static LW_YIELDS lw_status complete_bundle(lw_snapshots *of) {
    char path[LW_PATH_SIZE], from[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, of->incoming, "sst"));
    LW_TRY(lw_path_sync_directory(of->env, path));
    LW_TRY(snapshot_path(from, of->incoming, 0, catalog_unfinished));
    LW_TRY(snapshot_path(path, of->incoming, 0, "CATALOG"));
    LW_TRY(lw_path_rename(of->env, from, path));
    return lw_path_sync_directory(of->env, of->incoming);
}

/* In a fiber of its own: it may take long, and goes on without the sender. */
static LW_YIELDS void install_main(void *argument) {
    lw_snapshots *of = argument;
    snapshot_receiving *in = &of->receiving;
    uint64_t shard = in->shard, from = in->from, index = in->offer.index;
    lw_status status = complete_bundle(of);
    if (status == LW_OK) {
        lw_snapshot_arrival arrived = arrival_of(in, of->incoming);
        status = of->options.install(of->options.argument, &arrived);
    }
    status = end_transfer(of, status);
    in->installing = false;
    of->figures.received += status == LW_OK;
    lw_logline(of->env, status == LW_OK ? LW_LEVEL_INFO : LW_LEVEL_ERROR,
               status == LW_OK ? "snapshot installed" : "snapshot not installed",
               "shard=%" PRIu64 " from=%016" PRIx64 " index=%" PRIu64 "%s%s%s", shard, from, index,
               status == LW_OK ? "" : " reason=\"", status == LW_OK ? "" : lw_error_slot()->text,
               status == LW_OK ? "" : "\"");
    lw_queue_wake_all(&in->turn);
    snapshot_leave(of);
}

static lw_status being_installed(void) {
    return lw_fail(LW_BACKPRESSURE, "a snapshot is being installed: try again later");
}

static LW_YIELDS lw_status take_end(lw_snapshots *of, uint64_t from, const lw_request *request) {
    snapshot_receiving *in = &of->receiving;
    uint64_t transfer = 0;
    LW_TRY(lw_snapshot_end_decode(request->body, &transfer));
    if (transfer == in->ended) {
        return ended_as(in);
    }
    if (in->transfer != transfer || in->from != from || in->place.file < in->offer.file_count) {
        return unknown_transfer();
    }
    uint64_t patient_ns = lw_env_now(of->env) + install_wait_ns;
    in->installing = true;
    snapshot_enter(of);
    (void)lw_env_start(of->env, "install snapshot", install_main, of);
    while (in->installing && lw_env_now(of->env) < patient_ns) {
        (void)lw_env_wait(of->env, &in->turn, patient_ns);
    }
    return transfer == in->ended ? ended_as(in) : being_installed();
}

/* ---- requests -------------------------------------------------------------------------------- */

static LW_YIELDS lw_status carry_out(lw_snapshots *of, uint64_t from, const lw_request *request,
                                     lw_buffer *reply) {
    lw_snapshot_place place = {0};
    if (request->kind == LW_MESSAGE_SNAPSHOT_END) {
        return take_end(of, from, request);
    }
    LW_TRY(request->kind == LW_MESSAGE_SNAPSHOT_OFFER ? take_offer(of, from, request, &place)
                                                      : take_piece(of, from, request, &place));
    lw_snapshot_place_encode(&place, reply);
    return LW_OK;
}

/* What is asked while a snapshot is being installed, which takes long. */
static lw_status put_off(const snapshot_receiving *in, const lw_request *request,
                         lw_buffer *reply) {
    lw_snapshot_offer offer;
    if (request->kind == LW_MESSAGE_SNAPSHOT_OFFER) {
        LW_TRY(lw_snapshot_offer_decode(request->body, &offer));
        if (offer.transfer == in->transfer) {
            lw_snapshot_place all = {.file = offer.file_count};
            lw_snapshot_place_encode(&all, reply);
            return LW_OK;
        }
    }
    return being_installed();
}

static LW_YIELDS lw_status handle(lw_snapshots *of, uint64_t from, const lw_request *request,
                                  lw_buffer *reply) {
    snapshot_receiving *in = &of->receiving;
    while (in->busy && !in->installing && !of->stopping) {
        lw_queue_wait(&in->turn);
    }
    if (of->stopping) {
        return snapshot_stopped();
    }
    if (in->installing) {
        return put_off(in, request, reply);
    }
    in->busy = true;
    lw_status status = carry_out(of, from, request, reply);
    in->busy = false;
    lw_queue_wake_all(&in->turn);
    return status;
}

lw_status lw_snapshots_handle(lw_snapshots *of, uint64_t from, const lw_request *request,
                              lw_buffer *reply) {
    LW_ASSERT(request->kind >= LW_MESSAGE_SNAPSHOT_OFFER &&
              request->kind <= LW_MESSAGE_SNAPSHOT_END);
    snapshot_enter(of);
    lw_status status = handle(of, from, request, reply);
    snapshot_leave(of);
    return status;
}
