/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the page: sim/page.html with the run in it. Times are in microseconds of virtual
 * time, as traces and failures tell them; -1 stands for never. */
#include "client/json.h"
#include "sim/history.h"
#include "sim/page_private.h"
#include "sim/world.h"

#include <inttypes.h>
#include <stdlib.h>

/* The frame, as it lies in the sources. */
__asm__(".pushsection .rodata\n"
        ".global lw_page_html\n"
        ".hidden lw_page_html\n"
        "lw_page_html:\n"
        ".incbin \"sim/page.html\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char lw_page_html[] __attribute__((visibility("hidden")));

#define DATA_PLACE "/*RUN*/"

static void put_time(lw_json *json, uint64_t time_ns) {
    lw_json_integer(json, NULL, time_ns == 0 ? -1 : (int64_t)(time_ns / 1000));
}
static void put_number(lw_json *json, uint64_t number) {
    lw_json_number(json, NULL, number);
}
static void put_text(lw_json *json, const char *text) {
    lw_json_bytes(json, NULL, lw_text(text));
}

static void write_lanes(const lw_page *page, lw_json *json) {
    lw_json_array_open(json, "lanes");
    for (uint32_t lane = 0; lane < page->lane_count; lane++) {
        lw_json_array_open(json, NULL);
        put_text(json, page->lanes[lane].name);
        put_number(json, page->lanes[lane].is_node);
        lw_json_array_close(json);
    }
    lw_json_array_close(json);
}

static void write_spans(const lw_page *page, lw_json *json) {
    lw_json_array_open(json, "spans");
    for (uint64_t number = lw_page_first(&page->span_ring); number < page->span_ring.count;
         number++) {
        const lw_page_span *each = &page->spans[number % page->span_ring.capacity];
        char detail[24];
        (void)snprintf(detail, sizeof(detail), "%" PRIu64, each->detail);
        lw_json_array_open(json, NULL);
        lw_json_integer(json, NULL, each->lane);
        put_number(json, each->state);
        put_time(json, each->from_ns);
        put_time(json, each->to_ns);
        put_text(json, detail); /* ids have more bits than a script's numbers */
        put_number(json, each->number);
        lw_json_array_close(json);
    }
    lw_json_array_close(json);
}

static void write_messages(const lw_page *page, lw_json *json) {
    lw_json_array_open(json, "messages");
    for (uint64_t number = lw_page_first(&page->message_ring); number < page->message_ring.count;
         number++) {
        const lw_page_message *each = &page->messages[number % page->message_ring.capacity];
        lw_json_array_open(json, NULL);
        put_number(json, each->kind);
        lw_json_integer(json, NULL, each->from);
        lw_json_integer(json, NULL, each->to);
        put_time(json, each->sent_ns);
        put_time(json, each->arrived_ns);
        put_number(json, each->count);
        if (each->kind < LW_PAGE_REQUEST) {
            char shard[24];
            (void)snprintf(shard, sizeof(shard), "%" PRIu64, each->shard);
            put_text(json, shard);
            put_number(json, each->term);
            put_number(json, each->index);
            put_number(json, each->granted);
        }
        lw_json_array_close(json);
    }
    lw_json_array_close(json);
}

/* ---- transactions --------------------------------------------------------------------------- */

/* The transaction of the history that a client made within a bar; NULL: none. */
static const lw_history_txn *find_in_history(const lw_history_txn *first, const lw_page_txn *bar) {
    for (const lw_history_txn *each = first; each != NULL; each = each->next) {
        if (each->invoke_ns >= bar->from_ns && each->process == bar->process && !each->final &&
            (bar->to_ns == 0 || each->invoke_ns <= bar->to_ns)) {
            return each;
        }
    }
    return NULL;
}

static void write_txns(const lw_page *page, const lw_history *history, lw_json *json) {
    lw_json_array_open(json, "txns");
    for (uint64_t number = lw_page_first(&page->txn_ring); number < page->txn_ring.count;
         number++) {
        const lw_page_txn *each = &page->txns[number % page->txn_ring.capacity];
        bool listed = history != NULL && strcmp(each->kind, "mixture") == 0;
        const lw_history_txn *told = listed ? find_in_history(history->txns, each) : NULL;
        lw_json_array_open(json, NULL);
        lw_json_integer(json, NULL, each->lane);
        put_time(json, each->from_ns);
        put_time(json, each->to_ns);
        put_text(json, each->kind);
        put_text(json, each->outcome);
        if (told != NULL) {
            lw_buffer line = lw_buffer_in(page->memory);
            lw_history_print_txn(history, told, &line);
            lw_json_integer(json, NULL, told->number);
            lw_json_bytes(json, NULL, lw_buffer_view(&line));
            lw_buffer_reset(&line);
        }
        lw_json_array_close(json);
    }
    lw_json_array_close(json);
}

/* ---- events and failures -------------------------------------------------------------------- */

static void write_events(const lw_page *page, lw_json *json) {
    lw_json_array_open(json, "events");
    for (uint64_t number = lw_page_first(&page->event_ring); number < page->event_ring.count;
         number++) {
        const lw_page_event_note *each = &page->events[number % page->event_ring.capacity];
        if (each->failure) {
            continue;
        }
        lw_json_array_open(json, NULL);
        lw_json_integer(json, NULL, each->lane);
        put_time(json, each->time_ns);
        put_text(json, each->what);
        put_text(json, each->text);
        lw_json_array_close(json);
    }
    lw_json_array_close(json);
}

/* When what a line tells of happened: when it was told, or when the transaction that it names
 * ended, or now. */
static uint64_t moment_of(const lw_page *page, const lw_history *history, const char *line) {
    for (uint64_t number = lw_page_first(&page->event_ring); number < page->event_ring.count;
         number++) {
        const lw_page_event_note *each = &page->events[number % page->event_ring.capacity];
        if (each->failure && strncmp(line, each->text, strlen(each->text)) == 0) {
            return each->time_ns;
        }
    }
    const char *named = strstr(line, "transaction ");
    uint64_t wanted = named == NULL ? 0 : strtoull(named + strlen("transaction "), NULL, 10);
    const lw_history_txn *each = named == NULL || history == NULL ? NULL : history->txns;
    while (each != NULL && each->number != wanted) {
        each = each->next;
    }
    return each != NULL && each->complete_ns != 0 ? each->complete_ns : *page->now_ns;
}

static void write_failures(const lw_page *page, lw_bytes failures, const lw_history *history,
                           lw_json *json) {
    lw_json_array_open(json, "failures");
    while (failures.size > 0) {
        const uint8_t *newline = memchr(failures.data, '\n', failures.size);
        size_t size = newline == NULL ? failures.size : (size_t)(newline - failures.data);
        char line[512];
        (void)snprintf(line, sizeof(line), "%.*s", (int)size, (const char *)failures.data);
        lw_json_array_open(json, NULL);
        put_time(json, moment_of(page, history, line));
        put_text(json, line);
        lw_json_array_close(json);
        size_t taken = newline == NULL ? size : size + 1;
        failures = lw_view(failures.data + taken, failures.size - taken);
    }
    lw_json_array_close(json);
}

static void write_left_out(const lw_page *page, lw_json *json) {
    const struct {
        const lw_page_ring *ring;
        const char *what;
    } rings[] = {{&page->message_ring, "messages"},
                 {&page->span_ring, "states"},
                 {&page->txn_ring, "transactions"},
                 {&page->event_ring, "events"}};
    lw_json_array_open(json, "left_out");
    for (size_t index = 0; index < sizeof(rings) / sizeof(rings[0]); index++) {
        if (lw_page_first(rings[index].ring) > 0) {
            char text[64];
            (void)snprintf(text, sizeof(text), "the first %" PRIu64 " %s",
                           lw_page_first(rings[index].ring), rings[index].what);
            put_text(json, text);
        }
    }
    lw_json_array_close(json);
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* No "<" of the run may end the script that it stands in. */
static void write_harmless(lw_bytes json, FILE *to) {
    for (size_t index = 0; index < json.size; index++) {
        if (json.data[index] == '<') {
            (void)fputs("\\u003c", to);
        } else {
            (void)fputc(json.data[index], to);
        }
    }
}

void lw_page_write(lw_page *page, const char *title, const char *about, lw_bytes failures,
                   const lw_history *history, FILE *to) {
    lw_buffer text = lw_buffer_in(page->memory);
    lw_json json = lw_json_to(&text);
    lw_json_object_open(&json, NULL);
    lw_json_text(&json, "title", lw_text(title));
    lw_json_text(&json, "about", lw_text(about));
    lw_json_number(&json, "begin", LW_WORLD_BEGIN_NS / 1000);
    lw_json_number(&json, "end", *page->now_ns / 1000);
    write_lanes(page, &json);
    write_spans(page, &json);
    write_messages(page, &json);
    write_txns(page, history, &json);
    write_events(page, &json);
    write_failures(page, failures, history, &json);
    write_left_out(page, &json);
    lw_json_object_close(&json);
    const char *place = strstr(lw_page_html, DATA_PLACE);
    LW_ASSERT(place != NULL);
    (void)fwrite(lw_page_html, 1, (size_t)(place - lw_page_html), to);
    write_harmless(lw_buffer_view(&text), to);
    (void)fputs(place + strlen(DATA_PLACE), to);
    lw_buffer_reset(&text);
}

void lw_page_finish(const char *failure, FILE *to) {
    if (failure != NULL) {
        lw_memory *memory = lw_memory_open();
        lw_buffer text = lw_buffer_in(memory);
        lw_json json = lw_json_to(&text);
        lw_json_bytes(&json, NULL, lw_view(failure, strcspn(failure, "\n")));
        (void)fputs("<script>showFailure(", to);
        write_harmless(lw_buffer_view(&text), to);
        (void)fputs(")</script>\n", to);
        lw_buffer_reset(&text);
        lw_memory_close(memory);
    }
    (void)fputs("</body>\n</html>\n", to);
}
