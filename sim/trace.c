/* SPDX-License-Identifier: Apache-2.0 */
/* The hash, the ring of notes, and the registry of marks. */
#include "sim/trace.h"

#include <inttypes.h>
#include <stdlib.h>

/* Half of the rare paths are active in a run, each taken once in four times at most. */
enum { RARE_ACTIVE_PERCENT = 50, RARE_PERCENT_MAX = 25, INSISTED_PERCENT = 100 };
enum { REPORT_NOTES = 50 };
/* Of what is hashed of a note: its numbers, and what counts of its kind. */
enum { NUMBERS_SIZE = 6 * 8, WHAT_SIZE = 32 };

lw_trace lw_trace_in(lw_memory *memory, uint64_t seed) {
    return (lw_trace){
        .memory = memory,
        .seed = seed,
        .hash = lw_mix(seed),
        .notes = lw_allocate_zero(memory, LW_TRACE_NOTES * sizeof(lw_note)),
        .marks = lw_map_in(memory),
        .placed = lw_allocate_zero(memory, lw_place_count() * sizeof(lw_mark *)),
    };
}

/* ---- notes ---------------------------------------------------------------------------------- */

static void print_note(const lw_note *note, FILE *to) {
    const lw_trace_event *event = &note->event;
    fprintf(to, "%6" PRIu64 ".%09" PRIu64 " %-8s %-14s", event->time_ns / 1000000000,
            event->time_ns % 1000000000, note->host[0] == '\0' ? "-" : note->host, event->what);
    if (event->handle >= 0) {
        fprintf(to, " handle=%d", event->handle);
    }
    if (event->offset != 0 || event->size != 0) {
        fprintf(to, " offset=%" PRIu64 " size=%" PRIu64, event->offset, event->size);
    }
    if (event->contents != 0) {
        fprintf(to, " contents=%016" PRIx64, event->contents);
    }
    if (event->status != LW_OK) {
        fprintf(to, " %s", lw_status_name(event->status));
    }
    if (note->text[0] != '\0') {
        fprintf(to, " %s", note->text);
    }
    fputc('\n', to);
}

/* By hand: this is done for every event, and printf would be one part in twenty of a run. Returns
 * the size with the closing zero. */
static size_t copy_text(char *to, size_t size, const char *from) {
    size_t length = from == NULL ? 0 : strnlen(from, size - 1);
    if (length > 0) {
        memcpy(to, from, length);
    }
    to[length] = '\0';
    return length + 1;
}

/* All of it in one piece, so that it is hashed at once. */
static uint64_t hash_note(uint64_t hash, const lw_note *note, size_t host_size, size_t text_size) {
    const lw_trace_event *event = &note->event;
    uint8_t bytes[NUMBERS_SIZE + WHAT_SIZE + LW_TRACE_HOST_SIZE + LW_TRACE_TEXT_SIZE];
    lw_put_u64(bytes, event->time_ns);
    lw_put_u64(bytes + 8, (uint64_t)(int64_t)event->handle);
    lw_put_u64(bytes + 16, event->offset);
    lw_put_u64(bytes + 24, event->size);
    lw_put_u64(bytes + 32, event->contents);
    lw_put_u64(bytes + 40, event->status);
    size_t size = NUMBERS_SIZE;
    size += copy_text((char *)bytes + size, WHAT_SIZE, event->what);
    memcpy(bytes + size, note->host, host_size);
    size += host_size;
    memcpy(bytes + size, note->text, text_size);
    size += text_size;
    return lw_hash(hash, lw_view(bytes, size));
}

void lw_trace_note(lw_trace *trace, const lw_trace_event *event, const char *host,
                   const char *text) {
    LW_ASSERT(event->what != NULL);
    lw_note *kept = &trace->notes[trace->note_count % LW_TRACE_NOTES];
    kept->event = *event;
    size_t host_size = copy_text(kept->host, sizeof(kept->host), host);
    size_t text_size = copy_text(kept->text, sizeof(kept->text), text);
    trace->hash = hash_note(trace->hash, kept, host_size, text_size);
    trace->note_count++;
    if (trace->file != NULL) {
        print_note(kept, trace->file);
    }
}

void lw_trace_print(const lw_trace *trace, uint64_t count, FILE *to) {
    uint64_t kept = trace->note_count < LW_TRACE_NOTES ? trace->note_count : LW_TRACE_NOTES;
    uint64_t first = trace->note_count - (count < kept ? count : kept);
    for (uint64_t index = first; index < trace->note_count; index++) {
        print_note(&trace->notes[index % LW_TRACE_NOTES], to);
    }
}

void lw_trace_report(const lw_trace *trace, uint64_t now_ns, const lw_faults *faults, FILE *to) {
    lw_buffer text = lw_buffer_in(trace->memory);
    lw_faults_print(faults, &text);
    fprintf(to, "world: seed=%" PRIu64 " time_ns=%" PRIu64 " hash=%016" PRIx64 "\n", trace->seed,
            now_ns, trace->hash);
    fprintf(to, "faults: %.*s\n", (int)text.size, (const char *)text.data);
    lw_trace_print(trace, REPORT_NOTES, to);
    lw_buffer_reset(&text);
}

/* ---- marks ---------------------------------------------------------------------------------- */

static lw_mark *find_mark(const lw_trace *trace, const char *name, uint64_t hash) {
    lw_map_node *node = lw_map_first(&trace->marks, hash);
    while (node != NULL && strcmp(LW_MAP_ENTRY(node, lw_mark, node)->name, name) != 0) {
        node = lw_map_next(node);
    }
    return node == NULL ? NULL : LW_MAP_ENTRY(node, lw_mark, node);
}

static uint32_t draw_rare(lw_chance *chance) {
    return lw_chance_percent(chance, RARE_ACTIVE_PERCENT)
               ? (uint32_t)lw_chance_between(chance, 1, RARE_PERCENT_MAX)
               : 0;
}

uint32_t lw_trace_rare_percent(uint64_t seed, const char *name) {
    lw_chance chance = lw_chance_of(seed, lw_hash(0, lw_text(name)));
    return draw_rare(&chance);
}

static lw_mark *take_mark(lw_trace *trace, const char *name, lw_place_kind kind) {
    uint64_t hash = lw_hash(0, lw_text(name));
    lw_mark *mark = find_mark(trace, name, hash);
    if (mark != NULL) {
        return mark;
    }
    mark = lw_allocate_zero(trace->memory, sizeof(*mark));
    mark->name = name;
    mark->kind = kind;
    mark->chance = lw_chance_of(trace->seed, hash);
    mark->rare_percent = draw_rare(&mark->chance);
    lw_map_insert(&trace->marks, &mark->node, hash);
    return mark;
}

/* Places are come by so often that their names are looked up once. */
static lw_mark *mark_at(lw_trace *trace, const lw_place *place) {
    lw_mark **placed = &trace->placed[lw_place_number(place)];
    if (*placed == NULL) {
        *placed = take_mark(trace, place->name, place->kind);
    }
    return *placed;
}

const lw_mark *lw_trace_mark_of(lw_trace *trace, const char *name) {
    return take_mark(trace, name, LW_PLACE_MARK);
}

const lw_mark *lw_trace_mark(lw_trace *trace, const lw_place *place) {
    lw_mark *mark = mark_at(trace, place);
    mark->count++;
    return mark;
}

bool lw_trace_rare(lw_trace *trace, const lw_place *place) {
    lw_mark *mark = mark_at(trace, place);
    bool taken = mark->rare_percent > 0 && lw_chance_percent(&mark->chance, mark->rare_percent);
    mark->count += taken;
    return taken;
}

bool lw_trace_insisted(lw_trace *trace, const lw_place *place) {
    bool taken = trace->insists && mark_at(trace, place)->rare_percent == INSISTED_PERCENT;
    if (taken) {
        mark_at(trace, place)->count++;
    }
    return taken;
}

void lw_trace_calm(lw_trace *trace, const char *name) {
    take_mark(trace, name, LW_PLACE_RARE)->rare_percent = 0;
}

void lw_trace_insist(lw_trace *trace, const char *name) {
    take_mark(trace, name, LW_PLACE_RARE)->rare_percent = INSISTED_PERCENT;
    trace->insists = true;
}

bool lw_trace_bug(lw_trace *trace, const lw_place *place) {
    lw_mark *mark = mark_at(trace, place);
    mark->passed = true;
    return mark->planted;
}

void lw_trace_count(lw_trace *trace, const char *name, uint64_t times) {
    take_mark(trace, name, LW_PLACE_MARK)->count += times;
}

void lw_trace_plant(lw_trace *trace, const char *name) {
    take_mark(trace, name, LW_PLACE_BUG)->planted = true;
}

uint64_t lw_trace_marked(const lw_trace *trace, const char *name) {
    const lw_mark *mark = find_mark(trace, name, lw_hash(0, lw_text(name)));
    return mark == NULL ? 0 : mark->count;
}

static int compare_marks(const void *one, const void *other) {
    const lw_mark *const *left = one, *const *right = other;
    return strcmp((*left)->name, (*right)->name);
}

const lw_mark **lw_trace_marks(const lw_trace *trace, size_t *count) {
    const lw_mark **marks = lw_allocate(trace->memory, trace->marks.count * sizeof(lw_mark *));
    size_t found = 0;
    for (uint32_t index = 0; index < trace->marks.bucket_count; index++) {
        for (lw_map_node *node = trace->marks.buckets[index]; node != NULL; node = node->next) {
            const lw_mark *mark = LW_MAP_ENTRY(node, lw_mark, node);
            if (mark->count > 0 || mark->passed) {
                marks[found++] = mark;
            }
        }
    }
    qsort(marks, found, sizeof(marks[0]), compare_marks);
    *count = found;
    return marks;
}
