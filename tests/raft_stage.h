/* SPDX-License-Identifier: Apache-2.0 */
/* A stage for short stories about the consensus core: a few cores whose messages arrive in order,
 * and whose disks are done at once, unless a story holds them back. What happens is written down
 * line by line, as tests/golden/raft_*.txt have it. */
#ifndef LW_TESTS_RAFT_STAGE_H
#define LW_TESTS_RAFT_STAGE_H

#include "lattice/raft.h"
#include "tests/unit.h"

#include <stdlib.h>

enum { ACTORS = 4, QUEUE_MAX = 512, CHANGES_MAX = 16, SECOND = 1000000000 };

typedef struct change {
    uint64_t index, term;
    lw_raft_config config;
} change;

typedef struct stage {
    lw_raft cores[ACTORS + 1]; /* from 1 */
    uint32_t actor_count;
    uint64_t now;
    lw_raft_message queue[QUEUE_MAX];
    uint32_t queue_first, queue_end;
    bool away[ACTORS + 1];      /* its messages are lost, both ways */
    bool disk_held[ACTORS + 1]; /* nothing it writes becomes durable */
    bool quiet;                 /* write nothing down */
    lw_raft_write last_write[ACTORS + 1];
    lw_raft_effect last_save[ACTORS + 1];
    change changes[CHANGES_MAX]; /* configurations that were proposed, by index and term */
    uint32_t change_count;
    uint64_t readable[ACTORS + 1]; /* the last READABLE */
    uint64_t removed[ACTORS + 1];
    uint64_t snapshot_for[ACTORS + 1];
    lw_memory *memory;
    lw_buffer text;
} stage;

__attribute__((format(printf, 2, 3))) static inline void note(stage *s, const char *format, ...) {
    if (s->quiet) {
        return;
    }
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    lw_buffer_print(&s->text, "%s\n", line);
}

#define N(number) ((unsigned long long)(number))

static inline void note_message(stage *s, const lw_raft_message *m) {
    static const char *const names[] = {
        "",       "would you vote for me", "prevote",   "vote for me", "vote",
        "append", "acknowledge",           "hand over", "you are gone"};
    char what[160] = "";
    switch (m->kind) {
    case LW_RAFT_PREVOTE:
    case LW_RAFT_VOTE:
        snprintf(what, sizeof(what), ", my log ends with %llu of term %llu%s", N(m->index),
                 N(m->index_term), m->granted ? ", the leader asked me to" : "");
        break;
    case LW_RAFT_PREVOTE_REPLY:
    case LW_RAFT_VOTE_REPLY:
        snprintf(what, sizeof(what), ", %s", m->granted ? "yes" : "no");
        break;
    case LW_RAFT_APPEND:
        snprintf(what, sizeof(what), " %u after %llu of term %llu, committed %llu%s", m->count,
                 N(m->index), N(m->index_term), N(m->commit), m->quiesce ? ", be silent" : "");
        break;
    case LW_RAFT_ACKNOWLEDGE:
        snprintf(what, sizeof(what), m->granted ? " up to %llu" : " not after %llu, try after %llu",
                 N(m->index), N(m->conflict_index));
        break;
    case LW_RAFT_GONE:
        snprintf(what, sizeof(what), " since %llu", N(m->index));
        break;
    case LW_RAFT_HAND_OVER:
        break;
    }
    note(s, "  %llu > %llu  term %llu: %s%s%s", N(m->from), N(m->to), N(m->term), names[m->kind],
         what, s->away[m->from] || s->away[m->to] ? " (lost)" : "");
}

static inline void became_durable(stage *s, uint64_t id) {
    lw_raft *core = &s->cores[id];
    if (s->last_save[id].kind == LW_RAFT_SAVE) {
        lw_raft_saved(core, s->last_save[id].term, s->last_save[id].vote);
        s->last_save[id] = (lw_raft_effect){0};
    }
    if (s->last_write[id].count > 0) {
        lw_raft_persisted(core, s->last_write[id].first + s->last_write[id].count - 1,
                          s->last_write[id].cuts);
        s->last_write[id].count = 0;
    }
}

static inline void wrote(stage *s, uint64_t id, const lw_raft_write *write) {
    if (write->count > 0) {
        note(s, "%llu writes %llu to %llu of term %llu", N(id), N(write->first),
             N(write->first + write->count - 1), N(write->term));
        s->last_write[id] = *write;
    }
}

static inline void propose_on(stage *s, uint64_t id, uint32_t count, const lw_raft_config *config) {
    lw_raft_write write;
    assert_int_equal(lw_raft_propose(&s->cores[id], count, config, s->now, &write), LW_OK);
    if (config != NULL) {
        assert_true(s->change_count < CHANGES_MAX);
        s->changes[s->change_count++] =
            (change){.index = write.first, .term = write.term, .config = *config};
    }
    wrote(s, id, &write);
}

static inline void note_role(stage *s, uint64_t id, const lw_raft_effect *effect) {
    if (effect->role == LW_RAFT_LEADER) {
        note(s, "%llu leads term %llu", N(id), N(effect->term));
    } else if (effect->role == LW_RAFT_CANDIDATE) {
        note(s, "%llu stands, term %llu", N(id), N(effect->term));
    } else if (effect->leader != 0) {
        note(s, "%llu follows %llu in term %llu", N(id), N(effect->leader), N(effect->term));
    } else {
        note(s, "%llu follows nobody in term %llu", N(id), N(effect->term));
    }
}

static inline void carry_out(stage *s, uint64_t id, const lw_raft_effect *effect) {
    lw_raft *core = &s->cores[id];
    switch (effect->kind) {
    case LW_RAFT_SAVE:
        note(s, "%llu saves term %llu, vote for %llu", N(id), N(effect->term), N(effect->vote));
        s->last_save[id] = *effect;
        break;
    case LW_RAFT_SEND:
        note_message(s, &effect->message);
        assert_true(s->queue_end < QUEUE_MAX);
        s->queue[s->queue_end++] = effect->message;
        if (effect->message.count > 0) {
            lw_raft_sent(core, effect->message.to, effect->message.term, effect->message.count,
                         10 * effect->message.count);
        }
        break;
    case LW_RAFT_COMMITTED:
        note(s, "%llu applies up to %llu", N(id), N(effect->index));
        lw_raft_applied(core, effect->index, 0, 0);
        break;
    case LW_RAFT_ROLE:
        note_role(s, id, effect);
        if (effect->role == LW_RAFT_LEADER) {
            propose_on(s, id, 1, NULL);
        }
        break;
    case LW_RAFT_READABLE:
        note(s, "%llu may serve reads of round %llu", N(id), N(effect->round));
        s->readable[id] = effect->round;
        break;
    case LW_RAFT_SNAPSHOT:
        note(s, "%llu is to send %llu a snapshot", N(id), N(effect->node));
        s->snapshot_for[id] = effect->node;
        break;
    case LW_RAFT_LEAVE_JOINT: {
        note(s, "%llu leaves the old voters behind", N(id));
        lw_raft_config left = lw_raft_config_left(&core->config);
        propose_on(s, id, 1, &left);
        break;
    }
    case LW_RAFT_REMOVED:
        note(s, "%llu hears that it is gone since %llu", N(id), N(effect->index));
        s->removed[id] = effect->index;
        break;
    }
}

static inline void drain(stage *s, uint64_t id) {
    lw_raft_effect effect;
    for (bool more = true; more;) {
        while (lw_raft_next(&s->cores[id], &effect)) {
            carry_out(s, id, &effect);
        }
        more = !s->disk_held[id] &&
               (s->last_save[id].kind == LW_RAFT_SAVE || s->last_write[id].count > 0);
        if (more) {
            became_durable(s, id);
        }
    }
}

static inline void drain_all(stage *s) {
    for (uint64_t id = 1; id <= s->actor_count; id++) {
        drain(s, id);
    }
}

static inline void deliver(stage *s, const lw_raft_message *message) {
    lw_raft_message read = *message;
    lw_raft_config_entry configs[CHANGES_MAX];
    for (uint32_t place = 0; place < s->change_count; place++) {
        const change *one = &s->changes[place];
        if (one->index <= read.index || one->index > read.index + read.count) {
            continue;
        }
        uint32_t run = read.run_count - 1;
        while (run > 0 && read.run_firsts[run] > one->index) {
            run--;
        }
        if (read.run_terms[run] == one->term) {
            configs[read.config_count++] =
                (lw_raft_config_entry){.index = one->index, .config = one->config};
        }
    }
    read.configs = configs;
    lw_raft_write write;
    lw_raft_receive(&s->cores[read.to], &read, s->now, &write);
    wrote(s, read.to, &write);
    drain(s, read.to);
}

/* Until nothing is under way. */
static inline void play(stage *s) {
    drain_all(s);
    while (s->queue_first < s->queue_end) {
        lw_raft_message message = s->queue[s->queue_first++];
        if (!s->away[message.from] && !s->away[message.to]) {
            deliver(s, &message);
        }
    }
    s->queue_first = 0;
    s->queue_end = 0;
}

/* Time passes in small steps, and whoever has a deadline is called. */
static inline void pass(stage *s, uint64_t ns) {
    for (uint64_t end = s->now + ns; s->now < end;) {
        s->now += SECOND / 100;
        for (uint64_t id = 1; id <= s->actor_count; id++) {
            if (lw_raft_deadline(&s->cores[id]) <= s->now) {
                lw_raft_tick(&s->cores[id], s->now);
            }
        }
        play(s);
    }
}

static inline lw_raft_config config_of(uint32_t count, const lw_raft_member *members) {
    lw_raft_config config = {.count = count};
    memcpy(config.members, members, count * sizeof(members[0]));
    return config;
}

static inline lw_raft_config voters(uint64_t count) {
    lw_raft_config config = {.count = (uint32_t)count};
    for (uint64_t id = 1; id <= count; id++) {
        config.members[id - 1] = (lw_raft_member){.node = id, .membership = LW_RAFT_VOTER};
    }
    return config;
}

static inline lw_raft_options options_for(uint64_t id, const lw_raft_config *config) {
    return (lw_raft_options){.self = id,
                             .config = *config,
                             .seed = id,
                             .election_timeout_ns = SECOND,
                             .heartbeat_ns = SECOND / 10,
                             .quiesce_after_ns = LW_RAFT_NEVER,
                             .drift_ppm = 10000,
                             .entries_in_flight_max = 8,
                             .bytes_in_flight_max = 1000,
                             .entries_per_append_max = 4};
}

/* `voter_count` voters, and further actors who know of no configuration yet. */
static inline stage *stage_open(uint32_t actor_count, uint64_t voter_count) {
    lw_memory *memory = lw_memory_open();
    stage *s = lw_allocate_zero(memory, sizeof(stage));
    s->memory = memory;
    s->text = lw_buffer_in(memory);
    s->actor_count = actor_count;
    s->now = SECOND;
    lw_raft_config first = voters(voter_count);
    lw_raft_config none = {.count = 0};
    for (uint64_t id = 1; id <= actor_count; id++) {
        lw_raft_options options = options_for(id, id <= voter_count ? &first : &none);
        lw_raft_init(&s->cores[id], &options);
        lw_raft_start(&s->cores[id], s->now);
    }
    return s;
}

static inline void stage_close(stage *s) {
    lw_memory_close(s->memory);
}

/* One leader, and everybody with its no-op; nothing of it is written down. */
static inline stage *stage_led(uint32_t actor_count, uint64_t voter_count) {
    stage *s = stage_open(actor_count, voter_count);
    s->quiet = true;
    lw_raft_campaign(&s->cores[1], s->now);
    play(s);
    pass(s, SECOND / 5);
    assert_int_equal(s->cores[1].role, LW_RAFT_LEADER);
    s->quiet = false;
    return s;
}

/* Three voters, and node 4 to learn. */
static inline lw_raft_config with_learner(void) {
    return config_of(
        4, (lw_raft_member[]){
               {1, LW_RAFT_VOTER}, {2, LW_RAFT_VOTER}, {3, LW_RAFT_VOTER}, {4, LW_RAFT_LEARNER}});
}

/* What was written down is what tests/golden/raft_<name>.txt holds; RAFT_REWRITE=1 writes it. */
static inline void expect_story(stage *s, const char *name) {
    char path[128];
    snprintf(path, sizeof(path), "tests/golden/raft_%s.txt", name);
    bool rewrite = getenv("RAFT_REWRITE") != NULL;
    FILE *file = fopen(path, rewrite ? "w" : "r");
    assert_non_null(file);
    if (rewrite) {
        fwrite(s->text.data, 1, s->text.size, file);
    } else {
        static char golden[65536];
        size_t size = fread(golden, 1, sizeof(golden), file);
        if (size != s->text.size || memcmp(golden, s->text.data, size) != 0) {
            fprintf(stderr, "%.*s", (int)s->text.size, (const char *)s->text.data);
            fclose(file);
            fail_msg("%s tells another story; above is this one", path);
        }
    }
    fclose(file);
}

#endif
