/* SPDX-License-Identifier: Apache-2.0 */
/* Reads of now and of the past, readers that stay for seconds, and pins. */
#include "sim/bare_work.h"
#include "txn/oracle.h"

enum {
    UNPIN_MS = 300,
    RETURN_MS = 2200,      /* within which it must come back, to be known to who leads then, */
    CLOCKS_MS = 250,       /* and so long before its time is over, as clocks run fast */
    HEALED_MS = 8000,      /* that a reader stays behind the end of trouble, at most */
    APART_AWAY_MS = 42000, /* in which who collects has asked all others twice */
    PAUSE_MS = 900,        /* between two looks, */
    LONG_PAUSE_MS = 2000,  /* or so long */
    SILENT_MS = 16000,     /* that a reader reads for which says nothing in between, */
    OWN_MS = 1000,         /* of which these are left, at least, when it is judged */
    LEASE_MS = 2500,       /* within which its node has a lease for it, if nothing happens, */
    SETTLED_MS = 3000,     /* nor has before */
    BEHIND_MS = 5000,      /* in which the death of the node that it asked would be felt */
    PIN_MS = 4000,         /* within which a timestamp is pinned where nobody dies, */
    PINNED_MS = 500,       /* for so long */
};

void bare_read_something(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint64_t way = bare_below(self, 10), timestamp, found;
    if (way < 5) {
        timestamp = bare_timestamp(self);
    } else if (way < 8 && of->old_count > 0) {
        timestamp = of->olds[bare_below(self, of->old_count)];
    } else {
        timestamp = of->acknowledged - (way == 9);
    }
    if (timestamp != 0 && timestamp != UINT64_MAX) {
        (void)bare_get(self, (uint32_t)bare_below(self, BARE_KEYS), timestamp, 0, &found);
    }
}

void bare_read_the_past(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint64_t oldest = UINT64_MAX, found;
    for (uint64_t index = 0; index < of->old_count; index++) {
        oldest = of->olds[index] < oldest ? of->olds[index] : oldest;
    }
    for (uint32_t key = 0; of->old_count > 0 && key < BARE_KEYS; key++) {
        (void)bare_get(self, key, oldest, 0, &found);
    }
}

/* The oracle's time, which is that of pins: it goes as fast as the clock of who leads, and leaps to
 * its ceiling where another one comes to lead. */
static uint64_t oracle_ms(const bare_asker *self) {
    return lw_timestamp_ms(self->of->of->watch.given);
}

/* The shard of a key comes off its left neighbour, and another node leads it. */
LW_YIELDS static void set_apart(bare_asker *self, uint32_t key) {
    const bare_node *leader;
    bare_split(self, key);
    leader = bare_leader(self->of, bare_key(key));
    if (leader != NULL) {
        uint64_t step = 1 + bare_below(self, self->of->of->node_count - 1);
        bare_transfer(self, key, (leader->id - 1 + step) % self->of->of->node_count + 1);
    }
}

/* One that comes again and again, at one timestamp. */
typedef struct reader {
    bare_asker *by;
    uint32_t home; /* what it comes back to */
    bool merges;   /* that becomes part of its left neighbour */
    uint64_t timestamp, drawn_ms, end_ms;
    uint64_t came_ms, pinned_ms; /* when it was there last, and until when that pins; 0: never */
} reader;

/* Reads what it came for, or something else. False: it is over. */
LW_YIELDS static bool look_again(reader *self) {
    bare_asker *by = self->by;
    lw_sim_trial *it = by->of->of;
    uint64_t found, came_ms = self->came_ms;
    bool apart = by->of->kind == BARE_APART;
    bool away = came_ms != 0 && bare_percent(by, 40) &&
                (!apart || bare_now_ms(by) > self->drawn_ms + APART_AWAY_MS);
    uint32_t key = away ? (uint32_t)bare_below(by, BARE_KEYS) : self->home;
    uint64_t left_ms = self->end_ms - bare_now_ms(by), until_ms = oracle_ms(by) + left_ms;
    lw_status status = bare_get(by, key, self->timestamp, (uint32_t)left_ms, &found);
    uint64_t ms = bare_now_ms(by);
    bool kept = came_ms != 0 && ms - came_ms <= RETURN_MS && ms + CLOCKS_MS < self->end_ms &&
                oracle_ms(by) + CLOCKS_MS < self->pinned_ms;
    if (status == LW_TOO_OLD && kept) {
        lw_sim_broken_first(it, "readers",
                            "one that came back within %d ms was told that it is too old",
                            (int)(ms - came_ms));
    }
    bool young = came_ms != 0 || ms - self->drawn_ms <= it->retention_ms / 2;
    if (status == LW_TOO_OLD || !young) {
        return false;
    }
    if (status == LW_OK && !away) {
        self->came_ms = ms;
        self->pinned_ms = until_ms;
    }
    return self->came_ms != 0 && ms - self->came_ms <= RETURN_MS;
}

void bare_keep_reading(bare_asker *by, uint64_t most_ms) {
    lw_sim_bare *of = by->of;
    reader self = {.by = by, .home = BARE_KEYS - 1};
    self.home = of->kind == BARE_APART ? self.home : (uint32_t)bare_below(by, BARE_KEYS);
    self.merges = of->kind == BARE_QUIET && self.home > 0 && bare_percent(by, 50);
    if (self.merges) {
        set_apart(by, self.home);
    }
    self.drawn_ms = bare_now_ms(by);
    self.end_ms = self.drawn_ms + most_ms;
    self.timestamp = bare_timestamp(by);
    bool on = self.timestamp != 0;
    while (on && bare_now_ms(by) + 200 < self.end_ms) {
        uint64_t healed_ms = of->healed_ns / LW_SIM_NS_PER_MS;
        bool healed = healed_ms > 0 && self.end_ms > healed_ms + HEALED_MS;
        self.end_ms = healed ? healed_ms + HEALED_MS : self.end_ms;
        if (!look_again(&self)) {
            return;
        }
        if (self.merges && bare_now_ms(by) - self.drawn_ms > of->of->retention_ms) {
            bare_merge(by, self.home - 1);
            self.merges = false;
        }
        uint64_t pause_ms = bare_percent(by, 20) ? LONG_PAUSE_MS : PAUSE_MS;
        lw_env_sleep(by->env, bare_below(by, pause_ms * LW_SIM_NS_PER_MS));
        on = !of->stopping;
    }
}

void bare_read_in_silence(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint64_t drawn_ms = bare_now_ms(self), struck_ms = of->struck_ns / LW_SIM_NS_PER_MS;
    uint32_t key = (uint32_t)bare_below(self, of->parts ? BARE_KEYS / 2 : BARE_KEYS);
    uint64_t timestamp = bare_timestamp(self), found;
    const bare_node *asked = bare_leader(of, bare_key(key));
    if (timestamp == 0 || (struck_ms != 0 && drawn_ms < struck_ms + SETTLED_MS) ||
        bare_get(self, key, timestamp, SILENT_MS, &found) != LW_OK ||
        bare_now_ms(self) - drawn_ms > of->of->retention_ms / 2) {
        lw_env_sleep(self->env, 100 * LW_SIM_NS_PER_MS);
        return;
    }
    of->part_now = of->parts;
    lw_env_sleep(self->env, (LEASE_MS + of->of->retention_ms) * LW_SIM_NS_PER_MS);
    bool leased = of->struck_ns / LW_SIM_NS_PER_MS == struck_ms;
    of->silent = leased && asked != NULL ? asked->id : 0;
    lw_env_sleep(self->env, (BEHIND_MS + bare_below(self, BEHIND_MS)) * LW_SIM_NS_PER_MS);
    lw_status status = bare_get(self, key, timestamp, SILENT_MS, &found);
    bool in_time = oracle_ms(self) + OWN_MS < lw_timestamp_ms(timestamp) + SILENT_MS;
    if (leased && status == LW_TOO_OLD && in_time) {
        lw_sim_broken_first(of->of, "readers",
                            "one that was silent for %d ms was told that it is too old",
                            (int)(bare_now_ms(self) - drawn_ms));
    }
    bare_renew_session(self); /* nobody holds anything for it any more */
}

void bare_pin_something(bare_asker *self) {
    lw_buffer body = bare_body(self);
    lw_pin_reply reply;
    lw_pin_request_encode(&(lw_pin_request){.lifetime_ms = PINNED_MS}, &body);
    bare_answer answer = bare_call(self, LW_MESSAGE_PIN, (lw_bytes){0}, &body, PIN_MS);
    if (answer.status == LW_TIMEOUT || answer.status == LW_UNAVAILABLE) {
        lw_sim_broken_first(self->of->of, "pins", "none could be had within %d ms", PIN_MS);
    }
    if (answer.status == LW_OK && lw_pin_reply_decode(answer.body, &self->arena, &reply) == LW_OK) {
        lw_buffer_clear(&body);
        lw_pin_request_encode(&(lw_pin_request){.timestamp = reply.timestamp, .asked = true},
                              &body);
        (void)bare_call(self, LW_MESSAGE_UNPIN, (lw_bytes){0}, &body, UNPIN_MS);
    }
    lw_buffer_reset(&body);
}
