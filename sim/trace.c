/* SPDX-License-Identifier: Apache-2.0 */
/* The hash, the ring of notes, and the registry of marks. */
#include "sim/trace.h"

#include <inttypes.h>
#include <stdlib.h>

/* Half of the rare paths are active in a run, each taken once in four times at most. */
enum { RARE_ACTIVE_PERCENT = 50, RARE_PERCENT_MAX = 25 };
enum { REPORT_NOTES = 50 };

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
    fprintf(to, "%6" PRIu64 ".%09" PRIu64 " %-8s %-14s", note->time_ns / 1000000000,
            note->time_ns % 1000000000, note->host[0] == '\0' ? "-" : note->host, note->what);
    if (note->handle >= 0) {
        fprintf(to, " handle=%d", note->handle);
    }
    if (note->offset != 0 || note->size != 0) {
        fprintf(to, " offset=%" PRIu64 " size=%" PRIu64, note->offset, note->size);
    }
    if (note->contents != 0) {
        fprintf(to, " contents=%016" PRIx64, note->contents);
    }
    if (note->status != LW_OK) {
        fprintf(to, " %s", lw_status_name(note->status));
    }
    if (note->text[0] != '\0') {
        fprintf(to, " %s", note->text);
    }
    fputc('\n', to);
}

static uint64_t hash_note(uint64_t hash, const lw_note *note) {
    uint8_t numbers[7 * 8];
    lw_put_u64(numbers, note->time_ns);
    lw_put_u64(numbers + 8, (uint64_t)(int64_t)note->handle);
    lw_put_u64(numbers + 16, note->offset);
    lw_put_u64(numbers + 24, note->size);
    lw_put_u64(numbers + 32, note->contents);
    lw_put_u64(numbers + 40, note->status);
    lw_put_u64(numbers + 48, lw_hash(0, lw_text(note->what)));
    hash = lw_hash(hash, lw_view(numbers, sizeof(numbers)));
    hash = lw_hash(hash, lw_text(note->host));
    return lw_hash(hash, lw_text(note->text));
}

/* By hand: this is done for every event, and printf would be one part in twenty of a run. */
static void copy_text(char *to, size_t size, const char *from) {
    size_t length = from == NULL ? 0 : strnlen(from, size - 1);
    if (length > 0) {
        memcpy(to, from, length);
    }
    to[length] = '\0';
}

void lw_trace_note(lw_trace *trace, lw_note note, const char *host, const char *text) {
    LW_ASSERT(note.what != NULL);
    copy_text(note.host, sizeof(note.host), host);
    copy_text(note.text, sizeof(note.text), text);
    trace->hash = hash_note(trace->hash, &note);
    trace->notes[trace->note_count % LW_TRACE_NOTES] = note;
    trace->note_count++;
    if (trace->file != NULL) {
        print_note(&note, trace->file);
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

void lw_trace_mark(lw_trace *trace, const lw_place *place) {
    mark_at(trace, place)->count++;
}

bool lw_trace_rare(lw_trace *trace, const lw_place *place) {
    lw_mark *mark = mark_at(trace, place);
    bool taken = mark->rare_percent > 0 && lw_chance_percent(&mark->chance, mark->rare_percent);
    mark->count += taken;
    return taken;
}

void lw_trace_calm(lw_trace *trace, const char *name) {
    take_mark(trace, name, LW_PLACE_RARE)->rare_percent = 0;
}

bool lw_trace_bug(lw_trace *trace, const lw_place *place) {
    return mark_at(trace, place)->planted;
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
            if (mark->count > 0) {
                marks[found++] = mark;
            }
        }
    }
    qsort(marks, found, sizeof(marks[0]), compare_marks);
    *count = found;
    return marks;
}
