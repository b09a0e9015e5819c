/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/single.h"

#include "base/hash.h"
#include "base/logline.h"

#include <stdlib.h>

enum { STEPS_MAX = 20 * 1000 * 1000 };

void lw_singles_reset(lw_singles *singles) {
    lw_map_reset(&singles->by_name);
    lw_arena_reset(&singles->arena);
}

/* ---- reading ------------------------------------------------------------------------------ */

typedef struct single_line {
    lw_single single;
    lw_bytes key;
    bool null_value, has_value, not_swapped;
    int status;
} single_line;

static bool want_kind(lw_line *in, lw_single_kind *kind) {
    static const char *const names[] = {"read", "write", "delete", "cas"};
    lw_bytes text;
    if (!lw_line_want_text(in, &text)) {
        return false;
    }
    for (uint32_t index = 0; index < 4; index++) {
        if (lw_equal(text, lw_text(names[index]))) {
            *kind = (lw_single_kind)index;
            return true;
        }
    }
    return lw_line_problem(in, "\"f\" is read, write, delete or cas");
}

static bool want_value(lw_line *in, single_line *of) {
    of->has_value = true;
    of->null_value = lw_line_take_word(in, "null");
    if (of->null_value) {
        return true;
    }
    if (!lw_line_take(in, '[')) {
        return lw_line_want_number(in, &of->single.value);
    }
    return lw_line_want_number(in, &of->single.expected) &&
           lw_line_want(in, ',', "a pair of values has one") &&
           lw_line_want_number(in, &of->single.value) &&
           lw_line_want(in, ']', "a pair of values does not end with ]");
}

static bool want_member(void *argument, lw_line *in, lw_bytes name) {
    single_line *of = argument;
    uint64_t process;
    if (lw_equal(name, lw_text("key"))) {
        return lw_line_want_text(in, &of->key);
    }
    if (lw_equal(name, lw_text("f"))) {
        return want_kind(in, &of->single.kind);
    }
    if (lw_equal(name, lw_text("value"))) {
        return want_value(in, of);
    }
    if (lw_equal(name, lw_text("swapped"))) {
        of->not_swapped = lw_line_take_word(in, "false");
        return of->not_swapped || lw_line_take_word(in, "true") ||
               lw_line_problem(in, "\"swapped\" is true or false");
    }
    if (lw_equal(name, lw_text("process"))) {
        bool read = lw_line_want_number(in, &process);
        of->single.process = (uint32_t)process;
        return read;
    }
    if (lw_equal(name, lw_text("invoke_ns"))) {
        return lw_line_want_number(in, &of->single.invoke_ns);
    }
    if (lw_equal(name, lw_text("complete_ns"))) {
        return lw_line_take_word(in, "null") || lw_line_want_number(in, &of->single.complete_ns);
    }
    if (lw_equal(name, lw_text("status"))) {
        return lw_line_want_status(in, &of->status);
    }
    return lw_line_skip_value(in);
}

static lw_single_register *register_of(lw_singles *singles, lw_bytes name) {
    uint64_t hash = lw_hash(0, name);
    for (lw_map_node *node = lw_map_first(&singles->by_name, hash); node != NULL;
         node = lw_map_next(node)) {
        lw_single_register *one = LW_MAP_ENTRY(node, lw_single_register, node);
        if (lw_equal(one->name, name)) {
            return one;
        }
    }
    lw_single_register *made = lw_arena_allocate(&singles->arena, sizeof(*made));
    *made = (lw_single_register){.name = lw_arena_copy(&singles->arena, name)};
    lw_map_insert(&singles->by_name, &made->node, hash);
    *(singles->last != NULL ? &singles->last->next : &singles->first) = made;
    singles->last = made;
    return made;
}

static lw_single *add(lw_singles *singles, lw_single_register *to, const lw_single *operation) {
    lw_single *added = lw_arena_allocate(&singles->arena, sizeof(*added));
    *added = *operation;
    added->next = to->operations;
    to->operations = added;
    to->count++;
    return added;
}

/* Whether it says anything: what failed did nothing, and a read in doubt told nothing. */
static bool counts(const single_line *of) {
    return of->status == 0 || (of->status == 2 && of->single.kind != LW_SINGLE_READ);
}

bool lw_singles_parse(lw_singles *singles, lw_line *line) {
    single_line of = {.key = {0}, .status = 2};
    if (!lw_line_want_object(line, want_member, &of) || !lw_line_want_end(line)) {
        return false;
    }
    lw_single *single = &of.single;
    single->present = !of.null_value;
    single->swapped = !of.not_swapped;
    single->done = of.status == 0;
    bool needs_value = single->kind != LW_SINGLE_DELETE && counts(&of);
    if (needs_value && !of.has_value) {
        return lw_line_problem(line, "an operation has no \"value\"");
    }
    if (single->done && single->complete_ns < single->invoke_ns) {
        return lw_line_problem(line,
                               "an operation that is ok has no \"complete_ns\" after its start");
    }
    lw_single_register *to = register_of(singles, of.key);
    singles->counts[of.status]++;
    if (counts(&of)) {
        (void)add(singles, to, single);
    }
    return true;
}

lw_single *lw_singles_begin(lw_singles *singles, lw_bytes name, const lw_single *operation) {
    lw_single *added = add(singles, register_of(singles, name), operation);
    added->done = false;
    added->idle = operation->kind == LW_SINGLE_READ;
    return added;
}

/* ---- judging ------------------------------------------------------------------------------ */

/* The beginning or the end of an operation, in the order of time. */
typedef struct moment {
    uint64_t time_ns;
    uint32_t operation;
    bool is_end;
    struct moment *previous, *next;
    struct moment *end; /* of a beginning: its end; NULL: in doubt */
} moment;

/* What a register holds. */
typedef struct state {
    bool present;
    uint64_t value;
} state;

typedef struct choice {
    moment *begun;
    state before;
} choice;

/* Operations that were given their moments, and the state that they leave: never tried twice. */
typedef struct tried {
    lw_map_node node;
    uint64_t set;
} tried;

typedef struct search {
    lw_arena arena;
    lw_map tried;
    const lw_single **operations;
    uint32_t count;
    moment head; /* of the list of those that are left */
    uint32_t ends_left;
    uint64_t sets[2]; /* two hashes of the operations that are done */
    state now;
    choice *choices;
    uint32_t depth;
    uint64_t steps;
} search;

/* Ends of a time come behind beginnings of it: they overlap. */
static int by_time(const void *a, const void *b) {
    const moment *one = a, *other = b;
    if (one->time_ns != other->time_ns) {
        return one->time_ns < other->time_ns ? -1 : 1;
    }
    return one->is_end != other->is_end
               ? (one->is_end ? 1 : -1)
               : (one->operation > other->operation) - (one->operation < other->operation);
}

static void lay_out(search *in) {
    moment *moments = lw_arena_allocate(&in->arena, 2 * in->count * sizeof(*moments));
    moment **begins = lw_arena_allocate(&in->arena, in->count * sizeof(moment *));
    uint32_t size = 0;
    for (uint32_t index = 0; index < in->count; index++) {
        const lw_single *one = in->operations[index];
        moments[size++] = (moment){.time_ns = one->invoke_ns, .operation = index};
        if (one->done) {
            moments[size++] =
                (moment){.time_ns = one->complete_ns, .operation = index, .is_end = true};
            in->ends_left++;
        }
    }
    qsort(moments, size, sizeof(*moments), by_time);
    moment *last = &in->head;
    for (uint32_t index = 0; index < size; index++) {
        moment *one = &moments[index];
        one->previous = last;
        last->next = one;
        last = one;
        if (one->is_end) {
            begins[one->operation]->end = one;
        } else {
            begins[one->operation] = one;
        }
    }
}

static void cut(moment *one) {
    one->previous->next = one->next;
    if (one->next != NULL) {
        one->next->previous = one->previous;
    }
}

static void put_back(moment *one) {
    one->previous->next = one;
    if (one->next != NULL) {
        one->next->previous = one;
    }
}

/* Whether an operation can be the next, and what it makes of the state. One in doubt may have found
 * anything. */
static bool apply(const lw_single *one, state *now) {
    switch (one->kind) {
    case LW_SINGLE_READ:
        return one->present ? now->present && now->value == one->value : !now->present;
    case LW_SINGLE_WRITE:
        *now = (state){.present = true, .value = one->value};
        return true;
    case LW_SINGLE_DELETE:
        *now = (state){0};
        return true;
    case LW_SINGLE_CAS: {
        bool matches = now->present && now->value == one->expected;
        if (matches && (one->swapped || !one->done)) {
            *now = (state){.present = true, .value = one->value};
            return true;
        }
        return !matches && (!one->swapped || !one->done);
    }
    }
    return false;
}

static void toggle(search *in, uint32_t operation) {
    in->sets[0] ^= lw_mix(2 * (uint64_t)operation + 1);
    in->sets[1] ^= lw_mix(~(uint64_t)operation);
}

/* Notes where the search is; false if it was here before. */
static bool enter(search *in, const state *now) {
    uint64_t hash = lw_mix(in->sets[0] ^ lw_mix(now->value + now->present));
    uint64_t set = lw_mix(in->sets[1] + lw_mix(now->value ^ (now->present ? UINT64_MAX : 0)));
    for (lw_map_node *node = lw_map_first(&in->tried, hash); node != NULL;
         node = lw_map_next(node)) {
        if (LW_MAP_ENTRY(node, tried, node)->set == set) {
            return false;
        }
    }
    tried *made = lw_arena_allocate(&in->arena, sizeof(*made));
    made->set = set;
    lw_map_insert(&in->tried, &made->node, hash);
    return true;
}

/* Gives the operation its moment, if that is possible and leads to where nobody was. */
static bool choose(search *in, moment *begun) {
    state next = in->now;
    if (!apply(in->operations[begun->operation], &next)) {
        return false;
    }
    toggle(in, begun->operation);
    if (!enter(in, &next)) {
        toggle(in, begun->operation);
        return false;
    }
    in->choices[in->depth++] = (choice){.begun = begun, .before = in->now};
    in->now = next;
    cut(begun);
    if (begun->end != NULL) {
        cut(begun->end);
        in->ends_left--;
    }
    return true;
}

/* Takes the last choice back; goes on behind it. */
static moment *take_back(search *in) {
    choice last = in->choices[--in->depth];
    if (last.begun->end != NULL) {
        put_back(last.begun->end);
        in->ends_left++;
    }
    put_back(last.begun);
    toggle(in, last.begun->operation);
    in->now = last.before;
    return last.begun->next;
}

/* The operation whose end cannot be passed, at the deepest place that was reached. */
static bool search_order(search *in, uint32_t *stuck) {
    uint32_t deepest = 0;
    moment *at = in->head.next;
    while (in->ends_left > 0 && in->steps++ < STEPS_MAX) {
        if (at != NULL && !at->is_end) {
            at = choose(in, at) ? in->head.next : at->next;
            continue;
        }
        if (at != NULL && in->depth >= deepest) {
            deepest = in->depth;
            *stuck = at->operation;
        }
        if (in->depth == 0) {
            return false;
        }
        at = take_back(in);
    }
    return true;
}

static void describe(const lw_single *one, lw_buffer *report) {
    static const char *const names[] = {"read", "write", "delete", "cas"};
    lw_buffer_print(report, "process %u, %s", one->process, names[one->kind]);
    if (one->kind == LW_SINGLE_CAS) {
        lw_buffer_print(report, " [%llu,%llu]%s", (unsigned long long)one->expected,
                        (unsigned long long)one->value, one->swapped ? "" : " not swapped");
    } else if (one->kind != LW_SINGLE_DELETE && one->present) {
        lw_buffer_print(report, " %llu", (unsigned long long)one->value);
    } else if (one->kind == LW_SINGLE_READ) {
        lw_buffer_print(report, " null");
    }
    lw_buffer_print(report, ", %llu to %llu ns", (unsigned long long)one->invoke_ns,
                    (unsigned long long)one->complete_ns);
}

static bool check_register(const lw_single_register *judged, lw_memory *memory, lw_buffer *report) {
    search in = {.arena = lw_arena_in(memory), .tried = lw_map_in(memory)};
    for (const lw_single *one = judged->operations; one != NULL; one = one->next) {
        in.count += !one->idle;
    }
    in.operations = lw_arena_allocate(&in.arena, (in.count + 1) * sizeof(*in.operations));
    in.choices = lw_arena_allocate(&in.arena, (in.count + 1) * sizeof(*in.choices));
    uint32_t place = in.count, stuck = 0;
    for (const lw_single *one = judged->operations; one != NULL; one = one->next) {
        if (!one->idle) {
            in.operations[--place] = one;
        }
    }
    lay_out(&in);
    bool sound = search_order(&in, &stuck);
    char name[LW_PRINTABLE_SIZE];
    (void)lw_printable(judged->name, name, sizeof(name));
    if (!sound) {
        lw_buffer_print(report, "not linearizable: key %s: no order gives ", name);
        describe(in.operations[stuck], report);
        lw_buffer_append_u8(report, '\n');
    } else if (in.ends_left > 0) {
        lw_buffer_print(report, "undecided: key %s: too many orders of %u operations\n", name,
                        in.count);
        sound = false;
    }
    lw_map_reset(&in.tried);
    lw_arena_reset(&in.arena);
    return sound;
}

bool lw_singles_check(const lw_singles *singles, lw_memory *memory, lw_buffer *report) {
    bool sound = true;
    for (const lw_single_register *one = singles->first; one != NULL; one = one->next) {
        sound = check_register(one, memory, report) && sound;
    }
    return sound;
}
