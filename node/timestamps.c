/* SPDX-License-Identifier: Apache-2.0 */
#include "node/timestamps.h"

#include "base/logline.h"
#include "txn/oracle.h"
#include "txn/request.h"

enum {
    NS_PER_MS = 1000 * 1000,
    RETRY_PAUSE_NS = 100 * NS_PER_MS,    /* until a full disk is asked again */
    LEAD_PAUSE_NS = 5 * NS_PER_MS,       /* until time may have passed */
    FETCH_TIMEOUT_NS = 2000 * NS_PER_MS, /* of one fetch */
    LATE_COUNT = 64,                     /* takers that the planted bug serves too late */
};

/* Somebody who waits for timestamps to be fetched: in its frame. */
typedef struct taker {
    struct taker *next;
    uint32_t count;
    uint64_t deadline_ns;
    bool ended;
    lw_status status; /* once ended; LW_BACKPRESSURE: ask again, they come from elsewhere now */
    uint64_t first;
    lw_queue changed;
} taker;

/* Takers in the order they came. */
typedef struct taker_list {
    taker *first, *last;
} taker_list;

struct lw_timestamps {
    lw_env *env;
    bool stopped;

    /* While it leads. */
    bool leading;
    bool founded;    /* its first ceiling is durable */
    uint64_t change; /* counts how often it came to lead, or ceased to */
    lw_oracle oracle;
    lw_timestamps_ground ground;
    bool raising; /* a fiber raises the ceiling */
    bool handing; /* it is to stay where it is, as another node is about to lead */
    lw_queue takers;
    lw_queue stop; /* where that fiber sleeps */

    /* While another node does. */
    lw_timestamps_fetch *fetch; /* NULL: there is no other node */
    void *fetch_argument;
    bool fetching;       /* a fiber fetches */
    taker_list asking;   /* for whom the next request will be */
    taker_list awaiting; /* for whom the one under way is */
    lw_error reason;     /* why the last one failed */

    uint64_t known;               /* the highest one seen */
    uint64_t time_ms, time_at_ns; /* the oracle's time, and when it was that */
    lw_queue idle;                /* woken when one of its fibers has ended */
};

static lw_clock_reading clock_of(lw_timestamps *timestamps) {
    return (lw_clock_reading){.now_ns = lw_env_now(timestamps->env),
                              .wall_ms = lw_env_wall_ms(timestamps->env)};
}

lw_timestamps *lw_timestamps_open(lw_env *env) {
    lw_timestamps *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    return opened;
}

void lw_timestamps_close(lw_timestamps *timestamps) {
    lw_timestamps_stop(timestamps);
    while (timestamps->raising || timestamps->fetching) {
        lw_queue_wait(&timestamps->idle);
    }
    LW_ASSERT(lw_queue_empty(&timestamps->takers));
    LW_ASSERT(timestamps->asking.first == NULL && timestamps->awaiting.first == NULL);
    lw_free(timestamps->env->memory, timestamps);
}

void lw_timestamps_fetch_by(lw_timestamps *timestamps, lw_timestamps_fetch *fetch, void *argument) {
    LW_ASSERT(fetch != NULL && !timestamps->fetching);
    timestamps->fetch = fetch;
    timestamps->fetch_argument = argument;
}

static lw_status not_serving(void) {
    return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
}

/* ---- those who wait for a fetch ------------------------------------------------------------- */

static void enlist(taker_list *list, taker *one) {
    one->next = NULL;
    *(list->last == NULL ? &list->first : &list->last->next) = one;
    list->last = one;
}

/* Nothing happens if it is not in the list. */
static void strike(taker_list *list, const taker *one) {
    taker *before = NULL;
    for (taker *each = list->first; each != NULL; before = each, each = each->next) {
        if (each == one) {
            *(before == NULL ? &list->first : &before->next) = one->next;
            list->last = list->last == one ? before : list->last;
            return;
        }
    }
}

static void end_taker(taker *one, lw_status status, uint64_t first) {
    one->ended = true;
    one->status = status;
    one->first = first;
    lw_queue_wake_all(&one->changed);
}

static void end_all(taker_list *list, lw_status status) {
    for (taker *one; (one = list->first) != NULL;) {
        strike(list, one);
        end_taker(one, status, 0);
    }
}

/* ---- leading -------------------------------------------------------------------------------- */

/* What is raised by little is raised again at once. Nobody is to wait for that: while it was made
 * durable the time of all below it may have passed. */
static uint64_t raised_by_little(lw_timestamps *timestamps, uint64_t ceiling) {
    const lw_oracle *oracle = &timestamps->oracle;
    uint64_t now = lw_oracle_now(&timestamps->oracle, clock_of(timestamps));
    uint64_t low = (now > oracle->last ? now : oracle->last) + lw_timestamp_of_ms(1);
    bool little = low < ceiling && low > oracle->ceiling && lw_queue_empty(&timestamps->takers) &&
                  LW_RARE(timestamps->env, "timestamps.low_ceiling");
    return little ? low : ceiling;
}

/* Everybody who waits looks again where timestamps come from. */
static void change_source(lw_timestamps *timestamps) {
    timestamps->change++;
    lw_queue_wake_all(&timestamps->stop);
    lw_queue_wake_all(&timestamps->takers);
    end_all(&timestamps->asking, LW_BACKPRESSURE);
}

void lw_timestamps_stop(lw_timestamps *timestamps) {
    timestamps->stopped = true;
    change_source(timestamps);
    end_all(&timestamps->awaiting, LW_BACKPRESSURE);
}

/* The oracle's time by now, as far as this process has seen it, by a clock that never jumps; 0: it
 * has not. What the wall clock says is not asked then: it may be a year wrong (hazard O3). */
static uint64_t time_carried_on(lw_timestamps *timestamps) {
    if (timestamps->time_at_ns == 0 || LW_BUG(timestamps->env, "timestamps.begun_by_wall_clock")) {
        return 0;
    }
    uint64_t time_ms = lw_timestamp_ms(lw_timestamps_now(timestamps));
    uint64_t wall_ms = lw_env_wall_ms(timestamps->env);
    if (wall_ms > time_ms + LW_ORACLE_STEP_MS || time_ms > wall_ms + LW_ORACLE_STEP_MS) {
        LW_MARK(timestamps->env, "timestamps.wall_clock_not_believed");
    }
    return time_ms;
}

uint64_t lw_timestamps_lead(lw_timestamps *timestamps, uint64_t ceiling,
                            const lw_timestamps_ground *ground) {
    LW_ASSERT(!timestamps->leading && ground->keep != NULL);
    LW_ASSERT((ground->may_give == NULL) == (ground->confirm == NULL));
    if (timestamps->known >= ceiling && timestamps->known > 0) {
        ceiling = timestamps->known + 1;
    }
    uint64_t time_ms = time_carried_on(timestamps);
    lw_oracle_init(&timestamps->oracle, ceiling, time_ms, clock_of(timestamps));
    timestamps->ground = *ground;
    timestamps->leading = true;
    timestamps->founded = false;
    change_source(timestamps);
    bool wanted = lw_oracle_wants(&timestamps->oracle, clock_of(timestamps), &ceiling);
    LW_ASSERT(wanted);
    return raised_by_little(timestamps, ceiling);
}

void lw_timestamps_raised(lw_timestamps *timestamps, uint64_t ceiling) {
    LW_ASSERT(timestamps->leading);
    timestamps->founded = true;
    lw_oracle_raise(&timestamps->oracle, ceiling);
    lw_queue_wake_all(&timestamps->takers);
}

void lw_timestamps_unlead(lw_timestamps *timestamps) {
    if (!timestamps->leading) {
        return;
    }
    timestamps->known = lw_timestamps_last(timestamps);
    timestamps->time_ms = lw_timestamp_ms(lw_timestamps_now(timestamps));
    timestamps->time_at_ns = lw_env_now(timestamps->env);
    timestamps->leading = timestamps->handing = false;
    change_source(timestamps);
}

lw_status lw_timestamps_hand_over(lw_timestamps *timestamps) {
    uint64_t change = timestamps->change;
    timestamps->handing = timestamps->leading && timestamps->founded;
    while (timestamps->handing && timestamps->raising) { /* or a higher one came behind */
        lw_queue_wake_all(&timestamps->stop);
        lw_queue_wait(&timestamps->idle);
    }
    if (!timestamps->handing || timestamps->change != change) {
        return not_serving();
    }
    lw_oracle_lower(&timestamps->oracle);
    return LW_BUG(timestamps->env, "timestamps.ceiling_left_high")
               ? LW_OK
               : timestamps->ground.keep(timestamps->ground.argument, timestamps->oracle.ceiling);
}

void lw_timestamps_go_on(lw_timestamps *timestamps) {
    if (timestamps->handing) {
        timestamps->handing = false;
        lw_queue_wake_all(&timestamps->takers); /* they have it raised */
    }
}

bool lw_timestamps_leads(const lw_timestamps *timestamps) {
    return timestamps->leading;
}

/* ---- raising the ceiling -------------------------------------------------------------------- */

LW_YIELDS static void pause_raising(lw_timestamps *timestamps, uint64_t pause_ns) {
    uint64_t until_ns = lw_env_now(timestamps->env) + pause_ns;
    (void)lw_env_wait(timestamps->env, &timestamps->stop, until_ns);
}

/* Has a ceiling made durable. It may be that this node does not lead any more when it is. */
LW_YIELDS static void raise_to(lw_timestamps *timestamps, uint64_t ceiling) {
    uint64_t change = timestamps->change;
    if (LW_BUG(timestamps->env, "txn.ceiling_not_durable")) {
        lw_oracle_raise(&timestamps->oracle, ceiling);
    }
    lw_status status = timestamps->ground.keep(timestamps->ground.argument, ceiling);
    if (timestamps->change != change || timestamps->handing) {
        return;
    }
    if (status == LW_OK) {
        lw_oracle_raise(&timestamps->oracle, ceiling);
        lw_queue_wake_all(&timestamps->takers);
        return;
    }
    LW_MARK(timestamps->env, "timestamps.ceiling_not_kept");
    lw_oracle_stick(&timestamps->oracle);
    lw_queue_wake_all(&timestamps->takers);
    pause_raising(timestamps, RETRY_PAUSE_NS);
}

/* One step; false when there is nothing more to do. */
LW_YIELDS static bool raise_step(lw_timestamps *timestamps) {
    uint64_t ceiling;
    if (lw_oracle_wants(&timestamps->oracle, clock_of(timestamps), &ceiling)) {
        raise_to(timestamps, raised_by_little(timestamps, ceiling));
        return true;
    }
    if (lw_queue_empty(&timestamps->takers)) {
        return false;
    }
    LW_MARK(timestamps->env, "timestamps.oracle_leads");
    pause_raising(timestamps, LEAD_PAUSE_NS);
    lw_queue_wake_all(&timestamps->takers);
    return true;
}

LW_YIELDS static void raise_main(void *argument) {
    lw_timestamps *timestamps = argument;
    while (!timestamps->stopped && timestamps->leading && timestamps->founded &&
           !timestamps->handing && raise_step(timestamps)) {
    }
    timestamps->raising = false;
    lw_queue_wake_all(&timestamps->takers);
    lw_queue_wake_all(&timestamps->idle);
}

static void see_to_ceiling(lw_timestamps *timestamps, lw_clock_reading clock, bool short_of_it) {
    uint64_t ceiling;
    if (timestamps->founded && !timestamps->raising && !timestamps->handing &&
        (short_of_it || lw_oracle_wants(&timestamps->oracle, clock, &ceiling))) {
        timestamps->raising = true;
        lw_env_start(timestamps->env, "ceiling", raise_main, timestamps);
    }
}

/* ---- taking from the own oracle ------------------------------------------------------------- */

static bool may_give(const lw_timestamps *timestamps) {
    const lw_timestamps_ground *ground = &timestamps->ground;
    return ground->may_give == NULL || ground->may_give(ground->argument) ||
           LW_BUG(timestamps->env, "timestamps.oracle_serves_without_lease");
}

bool lw_timestamps_sure(const lw_timestamps *timestamps) {
    return timestamps->leading && may_give(timestamps);
}

/* Makes sure that no other node's oracle had given any when this was called: LW_OK, and nothing has
 * suspended since that was known. `*again`: this node does not lead any more. */
LW_YIELDS static lw_status make_sure(lw_timestamps *timestamps, uint64_t deadline_ns, bool *again) {
    uint64_t change = timestamps->change;
    *again = false;
    if (may_give(timestamps)) {
        return LW_OK;
    }
    LW_MARK(timestamps->env, "timestamps.lease_ran_out");
    lw_status status = timestamps->ground.confirm(timestamps->ground.argument, deadline_ns);
    *again = timestamps->change != change;
    return *again ? LW_OK : status;
}

/* One attempt; `*again`: somebody else's turn, or a new one. */
LW_YIELDS static lw_status take_own(lw_timestamps *timestamps, uint32_t count, uint64_t deadline_ns,
                                    uint64_t *first, bool *again) {
    LW_TRY(make_sure(timestamps, deadline_ns, again));
    if (*again) {
        return LW_OK;
    }
    lw_clock_reading clock = clock_of(timestamps);
    bool taken = lw_oracle_take(&timestamps->oracle, clock, count, first);
    see_to_ceiling(timestamps, clock,
                   !taken || LW_RARE(timestamps->env, "timestamps.raises_early"));
    if (taken) {
        return LW_OK;
    }
    LW_MARK(timestamps->env, "timestamps.taker_waits");
    *again = true;
    if (!lw_env_wait(timestamps->env, &timestamps->takers, deadline_ns)) {
        return lw_fail(LW_TIMEOUT, "no timestamp could be given in time: the disk is too slow "
                                   "or full");
    }
    return LW_OK;
}

/* ---- fetching ------------------------------------------------------------------------------- */

/* Takes note of one that was seen; the oracle's time is there at least. Who has been idle for long
 * may have counted too fast: that is put right, but for what the oracle itself may lag behind. */
static void note_seen(lw_timestamps *timestamps, uint64_t seen) {
    uint64_t now_ms = lw_timestamp_ms(lw_timestamps_now(timestamps));
    uint64_t seen_ms = lw_timestamp_ms(seen);
    if (seen_ms > now_ms || now_ms - seen_ms > LW_ORACLE_LAG_MAX_MS) {
        timestamps->time_ms = seen_ms;
        timestamps->time_at_ns = lw_env_now(timestamps->env);
    }
    timestamps->known = timestamps->known < seen ? seen : timestamps->known;
}

/* Moves those who ask to those for whom the next request is. Returns how many timestamps they want,
 * and until when the last of them waits (0: one waits for ever). */
static uint32_t gather(lw_timestamps *timestamps, uint64_t *deadline_ns) {
    uint32_t count = 0;
    bool endless = false;
    *deadline_ns = 0;
    for (taker *one; (one = timestamps->asking.first) != NULL &&
                     count + one->count <= (uint32_t)LW_TIMESTAMP_COUNT_MAX;) {
        strike(&timestamps->asking, one);
        enlist(&timestamps->awaiting, one);
        count += one->count;
        endless |= one->deadline_ns == 0;
        *deadline_ns = *deadline_ns < one->deadline_ns ? one->deadline_ns : *deadline_ns;
        if (LW_RARE(timestamps->env, "timestamps.fetches_few")) {
            break;
        }
    }
    *deadline_ns = endless ? 0 : *deadline_ns;
    return count;
}

/* In the order in which they came. */
static void hand_out(lw_timestamps *timestamps, uint64_t first) {
    for (taker *one; (one = timestamps->awaiting.first) != NULL; first += one->count) {
        strike(&timestamps->awaiting, one);
        end_taker(one, LW_OK, first);
    }
}

/* One request for all who ask. */
LW_YIELDS static void fetch_once(lw_timestamps *timestamps) {
    uint64_t wanted_ns, first = 0;
    uint32_t count = gather(timestamps, &wanted_ns);
    uint64_t before = timestamps->known;
    uint64_t deadline_ns = lw_env_now(timestamps->env) + FETCH_TIMEOUT_NS;
    deadline_ns = wanted_ns != 0 && wanted_ns < deadline_ns ? wanted_ns : deadline_ns;
    uint32_t late =
        LW_BUG(timestamps->env, "timestamps.stale_cached_timestamp") ? (uint32_t)LATE_COUNT : 0;
    lw_status status =
        timestamps->fetch(timestamps->fetch_argument, count + late, deadline_ns, &first);
    if (status == LW_OK && first <= before) {
        status = lw_fail(LW_INTERNAL,
                         "timestamp %llu was given after %llu: there are two oracles, or one "
                         "that lost its memory",
                         (unsigned long long)first, (unsigned long long)before);
        lw_logline(timestamps->env, LW_LEVEL_ERROR, "a timestamp is refused", "reason=\"%s\"",
                   lw_error_slot()->text);
    }
    if (status != LW_OK) {
        LW_MARK(timestamps->env, "timestamps.not_fetched");
        timestamps->reason = *lw_error_slot();
        end_all(&timestamps->awaiting, status);
        return;
    }
    note_seen(timestamps, first + count + late - 1);
    hand_out(timestamps, first);
}

LW_YIELDS static void fetch_main(void *argument) {
    lw_timestamps *timestamps = argument;
    while (timestamps->asking.first != NULL) {
        fetch_once(timestamps);
    }
    timestamps->fetching = false;
    lw_queue_wake_all(&timestamps->idle);
}

/* One attempt; `*again`: this node leads now, or stops. */
LW_YIELDS static lw_status take_fetched(lw_timestamps *timestamps, uint32_t count,
                                        uint64_t deadline_ns, uint64_t *first, bool *again) {
    taker one = {.count = count, .deadline_ns = deadline_ns};
    bool late =
        timestamps->fetching && LW_BUG(timestamps->env, "timestamps.stale_cached_timestamp");
    enlist(late ? &timestamps->awaiting : &timestamps->asking, &one);
    if (!timestamps->fetching) {
        timestamps->fetching = true;
        lw_env_start(timestamps->env, "fetch timestamps", fetch_main, timestamps);
    } else {
        LW_MARK(timestamps->env, "timestamps.fetch_shared");
    }
    while (!one.ended) {
        if (!lw_env_wait(timestamps->env, &one.changed, deadline_ns) && !one.ended) {
            strike(&timestamps->asking, &one);
            strike(&timestamps->awaiting, &one);
            return lw_fail(LW_TIMEOUT, "no timestamp came in time from the leader of shard 1");
        }
    }
    *again = one.status == LW_BACKPRESSURE;
    if (one.status != LW_OK && !*again) {
        return lw_fail(LW_UNAVAILABLE,
                       "no timestamp could be had from the leader of shard 1, which gives them to "
                       "all: %.300s",
                       timestamps->reason.text);
    }
    *first = one.first;
    return LW_OK;
}

/* ---- taking --------------------------------------------------------------------------------- */

lw_status lw_timestamps_take(lw_timestamps *timestamps, uint32_t count, uint64_t deadline_ns,
                             uint64_t *first) {
    LW_ASSERT(count >= 1 && count <= LW_TIMESTAMP_COUNT_MAX);
    for (bool again = true; again;) {
        again = false;
        if (timestamps->stopped || (!timestamps->leading && timestamps->fetch == NULL)) {
            return not_serving();
        }
        LW_TRY(timestamps->leading ? take_own(timestamps, count, deadline_ns, first, &again)
                                   : take_fetched(timestamps, count, deadline_ns, first, &again));
    }
    return LW_OK;
}

lw_status lw_timestamps_give(lw_timestamps *timestamps, uint32_t count, uint64_t deadline_ns,
                             uint64_t *first) {
    LW_ASSERT(count >= 1 && count <= LW_TIMESTAMP_COUNT_MAX);
    if (LW_BUG(timestamps->env, "timestamps.gives_what_it_fetches")) {
        return lw_timestamps_take(timestamps, count, deadline_ns, first);
    }
    for (bool again = true; again;) {
        if (timestamps->stopped || !timestamps->leading) {
            LW_MARK(timestamps->env, "timestamps.gives_none");
            return lw_fail(LW_UNAVAILABLE, "this node does not give timestamps, or no more: ask "
                                           "whoever leads shard 1");
        }
        LW_TRY(take_own(timestamps, count, deadline_ns, first, &again));
    }
    return LW_OK;
}

uint64_t lw_timestamps_spare(lw_timestamps *timestamps) {
    uint64_t first;
    if (timestamps->stopped || !timestamps->leading || !may_give(timestamps) ||
        LW_RARE(timestamps->env, "timestamps.no_spare")) {
        return 0; /* a fetched one was drawn before the request came (N2) */
    }
    lw_clock_reading clock = clock_of(timestamps);
    if (!lw_oracle_take(&timestamps->oracle, clock, 1, &first)) {
        return 0;
    }
    see_to_ceiling(timestamps, clock, false);
    return first;
}

/* ---- looking -------------------------------------------------------------------------------- */

lw_status lw_timestamps_given(lw_timestamps *timestamps, uint64_t timestamp, uint64_t deadline_ns) {
    for (bool again = true; again && timestamp > lw_timestamps_last(timestamps);) {
        uint64_t fetched;
        again = false;
        if (timestamps->stopped || (!timestamps->leading && timestamps->fetch == NULL)) {
            return not_serving();
        }
        LW_TRY(timestamps->leading ? make_sure(timestamps, deadline_ns, &again)
                                   : take_fetched(timestamps, 1, deadline_ns, &fetched, &again));
    }
    if (timestamp > lw_timestamps_last(timestamps)) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "timestamp %llu lies in the future: use those that the node has given",
                       (unsigned long long)timestamp);
    }
    return LW_OK;
}

uint64_t lw_timestamps_last(const lw_timestamps *timestamps) {
    bool own = timestamps->leading && timestamps->oracle.last > timestamps->known;
    return own ? timestamps->oracle.last : timestamps->known;
}

uint64_t lw_timestamps_time_ms(lw_timestamps *timestamps) {
    bool seen = timestamps->leading || timestamps->time_at_ns != 0;
    return seen ? lw_timestamp_ms(lw_timestamps_now(timestamps)) : 0;
}

void lw_timestamps_time_told(lw_timestamps *timestamps, uint64_t time_ms) {
    if (!timestamps->leading && timestamps->time_at_ns == 0) {
        timestamps->time_ms = time_ms;
        timestamps->time_at_ns = lw_env_now(timestamps->env);
    }
}

uint64_t lw_timestamps_now(lw_timestamps *timestamps) {
    if (timestamps->leading) {
        return lw_oracle_now(&timestamps->oracle, clock_of(timestamps));
    }
    uint64_t passed_ns = lw_env_now(timestamps->env) - timestamps->time_at_ns;
    return lw_timestamp_of_ms(timestamps->time_ms + passed_ns / NS_PER_MS);
}
