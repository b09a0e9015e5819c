/* SPDX-License-Identifier: Apache-2.0 */
/* Scans: pages from one shard after the other, all of one snapshot (hazard T14), merged on the way
 * with what the transaction wrote itself. */
#include "client/transaction.h"

enum { FIRST_PAGE_ROWS = 64, PAGE_ROWS_MAX = 4096, PAGE_BYTES = 256 * 1024 };

struct lw_scan {
    lw_txn *txn;
    lw_bytes lower, upper; /* copies; empty: no bound */
    bool backwards, keys_only;
    uint64_t left; /* keys still to give */
    /* The page at hand. Its rows point into `page`. */
    lw_buffer page;
    lw_arena rows_arena;
    const lw_scan_row *rows;
    uint32_t row_count, row_index;
    uint32_t page_rows; /* how many to ask for next */
    bool last_page;
    lw_buffer frontier; /* where the next page begins (backwards: ends); empty before the first */
    lw_read_range *noted;
    /* Where the walk stands: everything before (backwards: from) `position` has been given. */
    lw_buffer position;
    bool begun;
    uint32_t flushes;     /* of the transaction, when the page was asked for */
    lw_buffer key, value; /* of an own write handed out: the write set may change under it */
};

/* A page being asked for. */
typedef struct scan_page {
    lw_scan *scan;
    lw_call call;
    lw_buffer bounds; /* of the part of the range that is asked for */
    lw_bytes bound;   /* the one in the direction of the scan */
    uint32_t attempt; /* of resolving, for growing pauses */
} scan_page;

/* The first key that does not begin with `prefix`, into `bound`: empty if there is none. */
static void prefix_end(lw_bytes prefix, lw_buffer *bound) {
    size_t size = prefix.size;
    while (size > 0 && prefix.data[size - 1] == 0xff) {
        size--;
    }
    lw_buffer_append(bound, lw_view(prefix.data, size));
    if (size > 0) {
        bound->data[size - 1]++;
    }
}

static lw_status check_bound(const char *name, size_t size, size_t limit) {
    return size <= limit ? LW_OK
                         : lw_fail(LW_INVALID_ARGUMENT,
                                   "the %s of a scan has %zu bytes, more than the limit of %zu",
                                   name, size, limit);
}

static lw_status check_options(const lw_scan_options *options) {
    if (options->prefix.size > 0 && (options->lower.size > 0 || options->upper.size > 0)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a scan takes a prefix or bounds, not both");
    }
    LW_TRY(check_bound("lower bound", options->lower.size, LW_KEY_SIZE_MAX));
    LW_TRY(check_bound("upper bound", options->upper.size, LW_KEY_SIZE_MAX + 1));
    return check_bound("prefix", options->prefix.size, LW_KEY_SIZE_MAX);
}

static lw_status scan_open(lw_txn *txn, const lw_scan_options *options, lw_scan **scan) {
    LW_TRY(lw_txn_check_open(txn));
    LW_TRY(check_options(options));
    lw_memory *memory = txn->client->env->memory;
    lw_scan *made = lw_allocate_zero(memory, sizeof(*made));
    made->txn = txn;
    made->backwards = options->backwards != 0;
    made->keys_only = options->keys_only != 0;
    made->left = options->limit == 0 ? UINT64_MAX : options->limit;
    made->page_rows = LW_RARE(txn->client->env, "client.small_pages") ? 1 : FIRST_PAGE_ROWS;
    made->page = made->frontier = made->position = made->key = made->value = lw_buffer_in(memory);
    made->rows_arena = lw_arena_in(memory);
    lw_buffer end = lw_buffer_in(memory);
    prefix_end(options->prefix, &end);
    bool prefixed = options->prefix.size > 0;
    made->lower = lw_copy(memory, prefixed ? options->prefix : options->lower);
    made->upper = lw_copy(memory, prefixed ? lw_buffer_view(&end) : options->upper);
    lw_buffer_reset(&end);
    txn->scans++;
    *scan = made;
    return LW_OK;
}

lw_status lw_scan_open(lw_txn *txn, const lw_scan_options *options, lw_scan **scan) {
    static const lw_scan_options defaults;
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, scan_open(txn, options == NULL ? &defaults : options, scan));
}

void lw_scan_close(lw_scan *scan) {
    if (scan == NULL) {
        return;
    }
    lw_memory *memory = scan->txn->client->env->memory;
    scan->txn->scans--;
    lw_buffer_reset(&scan->page);
    lw_buffer_reset(&scan->frontier);
    lw_buffer_reset(&scan->position);
    lw_buffer_reset(&scan->key);
    lw_buffer_reset(&scan->value);
    lw_arena_reset(&scan->rows_arena);
    lw_free(memory, (void *)(uintptr_t)scan->lower.data);
    lw_free(memory, (void *)(uintptr_t)scan->upper.data);
    lw_free(memory, scan);
}

/* ---- pages --------------------------------------------------------------------------------------
 */

/* Widens what a strict transaction vouches for to the end of the page just read. */
static void note_page(lw_scan *scan) {
    lw_txn *txn = scan->txn;
    if (scan->noted == NULL) {
        scan->noted = lw_txn_note_range(txn, scan->lower, scan->upper);
    }
    if (scan->noted == NULL) {
        return;
    }
    lw_bytes reached = lw_buffer_view(&scan->frontier);
    bool back = scan->backwards;
    scan->noted->seen.lower =
        lw_arena_copy(&txn->arena, back && !scan->last_page ? reached : scan->lower);
    scan->noted->seen.upper =
        lw_arena_copy(&txn->arena, !back && !scan->last_page ? reached : scan->upper);
}

static uint32_t page_rows(const lw_scan *scan) {
    uint64_t wanted = scan->left < UINT64_MAX - scan->txn->writes.count
                          ? scan->left + scan->txn->writes.count
                          : UINT64_MAX;
    return wanted < scan->page_rows ? (uint32_t)wanted : scan->page_rows;
}

/* Where the scan goes next is not known, as it is to a client that has just begun. */
static void forget_next(lw_client *client, lw_bytes key, bool before) {
    const lw_shard_descriptor *shard =
        before ? lw_routes_find_before(&client->routes, key) : lw_routes_find(&client->routes, key);
    if (shard != NULL) {
        lw_routes_forget(&client->routes, shard->start);
    }
}

/* The part of what is left of the scan that lies in its next shard. The views live until the
 * client's next call. */
LW_YIELDS static lw_status next_part(const lw_scan *scan, lw_bytes *lower, lw_bytes *upper) {
    lw_bytes frontier = lw_buffer_view(&scan->frontier);
    const lw_shard_descriptor *shard;
    *lower = scan->backwards || frontier.size == 0 ? scan->lower : frontier;
    *upper = scan->backwards && frontier.size > 0 ? frontier : scan->upper;
    lw_client *client = scan->txn->client;
    lw_bytes key = scan->backwards ? *upper : *lower;
    if (LW_RARE(client->env, "client.forgets_a_shard")) {
        forget_next(client, key, scan->backwards);
    }
    LW_TRY(lw_client_route(client, key, scan->backwards, scan->txn->deadline_ns, &shard));
    if (scan->backwards && lw_compare(*lower, shard->start) < 0) {
        *lower = shard->start;
    }
    if (!scan->backwards && shard->end.size > 0 &&
        (upper->size == 0 || lw_compare(shard->end, *upper) < 0)) {
        *upper = shard->end;
    }
    return LW_OK;
}

/* Takes the rows of a page of [.., bound) (backwards: [bound, ..)), which was clipped if that is
 * not the end of the scan. */
static lw_status take_page(scan_page *page) {
    lw_scan *scan = page->scan;
    lw_scan_reply answer;
    lw_buffer_clear(&scan->page);
    lw_buffer_append(&scan->page, page->call.reply.body);
    lw_arena_reset(&scan->rows_arena);
    scan->row_count = scan->row_index = 0;
    LW_TRY(lw_scan_reply_decode(lw_buffer_view(&scan->page), &scan->rows_arena, &answer));
    if (answer.more && answer.row_count == 0) {
        return lw_fail(LW_INTERNAL, "the node answered a page without rows that is not the last");
    }
    LW_TRY(lw_txn_take_snapshot(scan->txn, answer.read_timestamp));
    scan->rows = answer.rows;
    scan->row_count = answer.row_count;
    lw_bytes end = scan->backwards ? scan->lower : scan->upper;
    scan->last_page = !answer.more && lw_equal(page->bound, end);
    lw_buffer_clear(&scan->frontier);
    lw_buffer_append(&scan->frontier,
                     answer.more ? answer.rows[answer.row_count - 1].key : page->bound);
    if (answer.more && !scan->backwards) {
        lw_buffer_append_u8(&scan->frontier, 0); /* the first key behind the last row */
    }
    return LW_OK;
}

/* A lock stands before the first row that is left. What lies before the lock has been walked over,
 * in vain: it is not walked again, as a million locks that are being ended may lie behind each
 * other. */
LW_YIELDS static lw_status meet_lock(scan_page *page) {
    lw_scan *scan = page->scan;
    lw_txn *txn = scan->txn;
    lw_obstacle obstacle;
    LW_TRY(lw_obstacle_decode(page->call.reply.body, &txn->client->arena, &obstacle));
    bool inside = lw_compare(page->call.first, obstacle.key) <= 0 &&
                  (page->call.last.size == 0 || lw_compare(obstacle.key, page->call.last) < 0);
    if (obstacle.kind == LW_OBSTACLE_LOCK && txn->read_timestamp != 0 && inside) {
        lw_buffer_clear(&scan->frontier);
        lw_buffer_append(&scan->frontier, obstacle.key);
        if (scan->backwards) {
            lw_buffer_append_u8(&scan->frontier, 0);
        }
    }
    LW_TRY(lw_txn_take_conflict(txn, page->call.reply.body, page->attempt++));
    if (txn->read_timestamp != 0) {
        return LW_OK;
    }
    uint64_t fresh; /* of one snapshot from here on, so that it gets ahead */
    LW_TRY(lw_client_fresh_timestamp(txn->client, 1, txn->deadline_ns, &fresh));
    return lw_txn_take_snapshot(txn, fresh);
}

/* Asks for the rows after the last page. One that moved is asked for again, of where it went. */
LW_YIELDS static lw_status ask_page(scan_page *page) {
    lw_scan *scan = page->scan;
    lw_txn *txn = scan->txn;
    lw_status status;
    LW_TRY(lw_txn_draw_snapshot(txn));
    do {
        lw_bytes lower, upper;
        LW_TRY(next_part(scan, &lower, &upper));
        lw_scan_request request = {
            .read_timestamp = txn->read_timestamp,
            .start = txn->options.read_only ? 0 : txn->start,
            .lower = lower,
            .upper = upper,
            .backwards = scan->backwards,
            .keys_only = scan->keys_only,
            .row_limit = page_rows(scan),
            .byte_limit = PAGE_BYTES,
        };
        lw_buffer_clear(&txn->request);
        lw_scan_request_encode(&request, &txn->request);
        lw_buffer_clear(&page->bounds);
        (void)lw_buffer_reserve(&page->bounds, lower.size + upper.size + 1);
        lw_buffer_append(&page->bounds, lower);
        lw_buffer_append(&page->bounds, upper);
        lower = lw_view(page->bounds.data, lower.size);
        upper = lw_view(page->bounds.data + lower.size, upper.size);
        page->bound = scan->backwards ? lower : upper;
        page->call =
            (lw_call){.kind = LW_MESSAGE_SCAN, .first = lower, .last = upper, .range = true};
        page->call.body = lw_buffer_view(&txn->request);
        status = lw_client_call_all(txn->client, &page->call, 1, txn->deadline_ns);
        if (status == LW_CONFLICT) {
            LW_TRY(meet_lock(page));
        }
    } while (page->call.moved || status == LW_CONFLICT);
    return status;
}

LW_YIELDS static lw_status next_page(lw_scan *scan) {
    if (scan->upper.size > 0 && lw_compare(scan->lower, scan->upper) >= 0) {
        scan->last_page = true; /* there is nothing between these bounds */
        return LW_OK;
    }
    scan->flushes = scan->txn->flushes;
    scan_page page = {.scan = scan, .bounds = lw_buffer_in(scan->txn->client->env->memory)};
    lw_status status = ask_page(&page);
    if (status == LW_OK) {
        status = take_page(&page);
    }
    lw_buffer_reset(&page.bounds);
    LW_TRY(status);
    scan->page_rows =
        scan->page_rows * 4 > PAGE_ROWS_MAX ? (uint32_t)PAGE_ROWS_MAX : scan->page_rows * 4;
    note_page(scan);
    return LW_OK;
}

/* ---- merging ------------------------------------------------------------------------------ */

/* Own writes that lay ahead of the walk have gone to the nodes since the page was asked for: what
 * is left of the page is asked for anew. */
static void drop_page(lw_scan *scan) {
    LW_MARK(scan->txn->client->env, "client.page_asked_anew");
    scan->row_count = scan->row_index = 0;
    scan->last_page = false;
    lw_buffer_clear(&scan->frontier);
    lw_buffer_append(&scan->frontier, lw_buffer_view(&scan->position));
}

/* The shard's next row, or NULL at the end. */
LW_YIELDS static lw_status shard_row(lw_scan *scan, const lw_scan_row **row) {
    if (scan->flushes != scan->txn->flushes) {
        drop_page(scan);
    }
    while (scan->row_index >= scan->row_count) {
        if (scan->begun && scan->last_page) {
            *row = NULL;
            return LW_OK;
        }
        LW_TRY(next_page(scan));
        scan->begun = true;
    }
    *row = &scan->rows[scan->row_index];
    return LW_OK;
}

static bool tells_nothing(const lw_write *write) {
    return write->mutation.kind == LW_MUTATION_LOCK && !write->read;
}

/* The next own write in the range, LOCKs of which nothing was read left out, or NULL. */
static const lw_write *own_write(const lw_scan *scan) {
    const lw_write_set *writes = &scan->txn->writes;
    lw_bytes position = lw_buffer_view(&scan->position);
    const lw_write *found;
    if (scan->backwards) {
        found = lw_write_set_before(writes, position.size > 0 ? position : scan->upper);
        while (found != NULL && tells_nothing(found)) {
            found = found->previous;
        }
        return found != NULL && lw_compare(found->mutation.key, scan->lower) >= 0 ? found : NULL;
    }
    found = lw_write_set_at_or_after(writes, position.size > 0 ? position : scan->lower);
    while (found != NULL && tells_nothing(found)) {
        found = found->next[0];
    }
    bool beyond =
        found != NULL && scan->upper.size > 0 && lw_compare(found->mutation.key, scan->upper) >= 0;
    return beyond ? NULL : found;
}

/* Everything up to and with `key` has been dealt with. */
static void advance(lw_scan *scan, lw_bytes key) {
    lw_buffer_clear(&scan->position);
    lw_buffer_append(&scan->position, key);
    if (!scan->backwards) {
        lw_buffer_append_u8(&scan->position, 0);
    }
}

/* Gives an own write, if it stands for a key with a value. */
static bool give_write(lw_scan *scan, const lw_write *write, lw_bytes *key, lw_bytes *value) {
    advance(scan, write->mutation.key);
    bool present = lw_write_present(write);
    if (present) {
        lw_buffer_clear(&scan->key);
        lw_buffer_append(&scan->key, write->mutation.key);
        *key = lw_buffer_view(&scan->key);
        lw_buffer_clear(&scan->value);
        lw_buffer_append(&scan->value, write->mutation.value);
        *value = scan->keys_only ? (lw_bytes){0} : lw_buffer_view(&scan->value);
    }
    return present;
}

LW_YIELDS static lw_status scan_next(lw_scan *scan, lw_bytes *key, lw_bytes *value) {
    LW_TRY(lw_txn_check_open(scan->txn));
    while (scan->left > 0) {
        const lw_scan_row *row = NULL;
        LW_TRY(shard_row(scan, &row));
        const lw_write *write = own_write(scan);
        if (row == NULL && write == NULL) {
            break;
        }
        if (write != NULL && !lw_write_knows(write)) {
            LW_TRY(lw_txn_settle(scan->txn, write->mutation.key));
            continue;
        }
        int order = row == NULL     ? 1
                    : write == NULL ? -1
                                    : lw_compare(row->key, write->mutation.key);
        order = scan->backwards && row != NULL && write != NULL ? -order : order;
        if (order <= 0) {
            scan->row_index++;
        }
        if (order < 0) {
            *key = row->key;
            *value = row->value;
            advance(scan, row->key);
        } else if (!give_write(scan, write, key, value)) {
            continue;
        }
        scan->left--;
        return LW_OK;
    }
    return LW_NOT_FOUND;
}

lw_status lw_scan_next(lw_scan *scan, lw_bytes *key, lw_bytes *value) {
    lw_error *outer = lw_client_enter(scan->txn->client);
    return lw_client_leave(outer, scan_next(scan, key, value));
}
