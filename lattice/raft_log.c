/* SPDX-License-Identifier: Apache-2.0 */
/* The log's outline: runs of entries of one term. The oldest runs are forgotten when there is no
 * room, but never one that holds an entry above what is committed, nor that of the last committed
 * entry: whether an entry agrees with the leader's must be known as long as it may be cut off. */
#include "lattice/raft_state.h"

/* The run that holds `index`, or run_count. */
static uint32_t run_of(const lw_raft *raft, uint64_t index) {
    if (raft->run_count == 0 || index < raft->runs[0].first || index > raft->last_index) {
        return raft->run_count;
    }
    uint32_t place = raft->run_count - 1;
    while (raft->runs[place].first > index) {
        place--;
    }
    return place;
}

bool lw_raft_term_at(const lw_raft *raft, uint64_t index, uint64_t *term) {
    uint32_t place = run_of(raft, index);
    if (place < raft->run_count) {
        *term = raft->runs[place].term;
        return true;
    }
    if (index == raft->start_index) {
        *term = raft->start_term;
        return true;
    }
    return false;
}

uint64_t lw_raft_last_term(const lw_raft *raft) {
    uint64_t term = 0;
    bool known = lw_raft_term_at(raft, raft->last_index, &term);
    LW_ASSERT(known);
    return term;
}

uint64_t lw_raft_log_find(const lw_raft *raft, uint64_t index, uint64_t term) {
    uint64_t bound = index < raft->last_index ? index : raft->last_index;
    for (uint32_t place = raft->run_count; place-- > 0;) {
        if (raft->runs[place].first > bound) {
            continue;
        }
        if (raft->runs[place].term <= term) {
            return bound;
        }
        bound = raft->runs[place].first - 1;
    }
    return bound == raft->start_index && raft->start_term <= term ? bound : 0;
}

uint64_t lw_raft_log_run_end(const lw_raft *raft, uint64_t index) {
    uint32_t place = run_of(raft, index);
    LW_ASSERT(place < raft->run_count);
    return place + 1 < raft->run_count ? raft->runs[place + 1].first - 1 : raft->last_index;
}

bool lw_raft_log_room(const lw_raft *raft) {
    return raft->run_count < LW_RAFT_TERMS_MAX || raft->runs[1].first <= raft->commit;
}

bool lw_raft_log_append(lw_raft *raft, uint32_t count, uint64_t term) {
    LW_ASSERT(count > 0);
    LW_ASSERT(term >= lw_raft_last_term(raft));
    if (raft->run_count == 0 || raft->runs[raft->run_count - 1].term != term) {
        if (!lw_raft_log_room(raft)) {
            return false;
        }
        if (raft->run_count == LW_RAFT_TERMS_MAX) {
            raft->run_count--;
            memmove(raft->runs, raft->runs + 1, raft->run_count * sizeof(raft->runs[0]));
        }
        raft->runs[raft->run_count].first = raft->last_index + 1;
        raft->runs[raft->run_count].term = term;
        raft->run_count++;
    }
    raft->last_index += count;
    return true;
}

void lw_raft_log_cut(lw_raft *raft, uint64_t first) {
    LW_ASSERT(first > raft->commit);
    LW_ASSERT(first > raft->start_index);
    LW_ASSERT(first <= raft->last_index);
    raft->last_index = first - 1;
    while (raft->run_count > 0 && raft->runs[raft->run_count - 1].first >= first) {
        raft->run_count--;
    }
    if (raft->persisted >= first) {
        raft->persisted = first - 1;
    }
    if (raft->verified >= first) {
        raft->verified = first - 1;
    }
    raft->cuts++;
    if (raft->config_index >= first && lw_raft_config_in_flight(raft) &&
        !LW_RAFT_PLANTED(raft, LW_RAFT_BUG_CONFIG_KEPT)) {
        lw_raft_config_undo(raft);
    }
}

void lw_raft_log_reset(lw_raft *raft, uint64_t index, uint64_t term) {
    raft->start_index = index;
    raft->start_term = term;
    raft->last_index = index;
    raft->persisted = index;
    raft->run_count = 0;
    raft->cuts++;
}

void lw_raft_compacted(lw_raft *raft, uint64_t index) {
    LW_ASSERT(index <= raft->applied);
    uint64_t term;
    if (index <= raft->start_index || !lw_raft_term_at(raft, index, &term)) {
        return;
    }
    raft->start_index = index;
    raft->start_term = term;
    uint32_t kept = run_of(raft, index + 1);
    if (index == raft->last_index) {
        raft->run_count = 0;
        return;
    }
    raft->run_count -= kept;
    memmove(raft->runs, raft->runs + kept, raft->run_count * sizeof(raft->runs[0]));
    if (raft->runs[0].first <= index) {
        raft->runs[0].first = index + 1;
    }
}
