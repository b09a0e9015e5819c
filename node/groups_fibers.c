/* SPDX-License-Identifier: Apache-2.0 */
/* What is done for all groups of a node together: at the end of a turn, when the log has become
 * durable, and when time has passed. */
#include "node/group_state.h"

/* ---- the end of a turn ---------------------------------------------------------------------- */

static void forget_dirty(lw_groups *groups, lw_group *group) {
    lw_group *before = NULL;
    for (lw_group *each = groups->dirty_first; each != NULL;
         before = each, each = each->dirty_next) {
        if (each == group) {
            *(before == NULL ? &groups->dirty_first : &before->dirty_next) = each->dirty_next;
            groups->dirty_last = each->dirty_next == NULL ? before : groups->dirty_last;
            break;
        }
    }
    group->dirty = false;
}

static void drain_all(lw_op *op) {
    lw_groups *groups = op->owner;
    while (groups->dirty_first != NULL) {
        lw_group *group = groups->dirty_first;
        groups->dirty_first = group->dirty_next;
        if (groups->dirty_first == NULL) {
            groups->dirty_last = NULL;
        }
        group->dirty = false;
        group_drain(group);
    }
    groups->deferred = false;
    groups_background_end(groups);
}

void groups_dirty(lw_groups *groups, lw_group *group) {
    if (group->dirty || group->dead || group->halted) {
        return;
    }
    group->dirty = true;
    if (groups->dirty_first != NULL && LW_RARE(groups->env, "group.jumps_the_queue")) {
        group->dirty_next = groups->dirty_first;
        groups->dirty_first = group;
        return;
    }
    group->dirty_next = NULL;
    *(groups->dirty_last == NULL ? &groups->dirty_first : &groups->dirty_last->dirty_next) = group;
    groups->dirty_last = group;
    if (!groups->deferred) {
        groups->deferred = true;
        groups->background_count++;
        groups->defer = (lw_op){.kind = LW_OP_DEFER, .complete = drain_all, .owner = groups};
        lw_env_submit(groups->env, &groups->defer);
    }
}

/* ---- the watcher ---------------------------------------------------------------------------- */

/* Tells whoever waits for it, and for what was durable before. */
static void tell_durable(lw_groups *groups, uint64_t position) {
    while (groups->watch_count > 0) {
        group_watch *next = &groups->watches[groups->watch_first];
        if (next->position > position) {
            return;
        }
        lw_group *group = next->group;
        groups->watch_first = (groups->watch_first + 1) & (groups->watch_capacity - 1);
        groups->watch_count--;
        if (group != NULL) {
            group_durable(group, position);
        }
    }
}

static void tell_died(lw_groups *groups) {
    while (groups->watch_count > 0) {
        lw_group *group = groups->watches[groups->watch_first].group;
        groups->watch_first = (groups->watch_first + 1) & (groups->watch_capacity - 1);
        groups->watch_count--;
        if (group != NULL) {
            group_fail(group);
        }
    }
}

LW_YIELDS static void watch_main(void *argument) {
    lw_groups *groups = argument;
    while (!groups->closing) {
        if (groups->watch_count == 0) {
            lw_queue_wait(&groups->watching);
            continue;
        }
        uint64_t position = groups->watches[groups->watch_first].position;
        if (lw_log_wait(groups->log, position) == LW_OK) {
            tell_durable(groups, position);
        } else {
            tell_died(groups);
        }
    }
    groups_background_end(groups);
}

static void grow_watches(lw_groups *groups) {
    uint32_t capacity = groups->watch_capacity == 0 ? 16 : 2 * groups->watch_capacity;
    group_watch *watches = lw_allocate(groups->env->memory, capacity * sizeof(*watches));
    for (uint32_t index = 0; index < groups->watch_count; index++) {
        watches[index] =
            groups->watches[(groups->watch_first + index) & (groups->watch_capacity - 1)];
    }
    lw_free(groups->env->memory, groups->watches);
    groups->watches = watches;
    groups->watch_capacity = capacity;
    groups->watch_first = 0;
}

static void start_fibers(lw_groups *groups);

void groups_watch(lw_groups *groups, lw_group *group, uint64_t position) {
    if (group->watched == position || group->dead || group->halted) {
        return;
    }
    group->watched = position;
    if (groups->watch_count == groups->watch_capacity) {
        grow_watches(groups);
    }
    uint32_t place = (groups->watch_first + groups->watch_count++) & (groups->watch_capacity - 1);
    groups->watches[place] = (group_watch){.group = group, .position = position};
    start_fibers(groups);
    lw_queue_wake_all(&groups->watching);
}

static void forget_watches(lw_groups *groups, const lw_group *group) {
    for (uint32_t index = 0; index < groups->watch_count; index++) {
        group_watch *each =
            &groups->watches[(groups->watch_first + index) & (groups->watch_capacity - 1)];
        each->group = each->group == group ? NULL : each->group;
    }
}

/* ---- the alarm: a heap by deadline, in places from 1 on -------------------------------------- */

static void put_at(lw_groups *groups, uint32_t place, lw_group *group) {
    groups->alarms[place] = group;
    group->alarm_place = place;
}

static void sift_up(lw_groups *groups, uint32_t place, lw_group *group) {
    while (place > 1 && groups->alarms[place / 2]->deadline > group->deadline) {
        put_at(groups, place, groups->alarms[place / 2]);
        place /= 2;
    }
    put_at(groups, place, group);
}

static void sift_down(lw_groups *groups, uint32_t place, lw_group *group) {
    while (2 * place <= groups->alarm_count) {
        uint32_t child = 2 * place;
        if (child < groups->alarm_count &&
            groups->alarms[child + 1]->deadline < groups->alarms[child]->deadline) {
            child++;
        }
        if (groups->alarms[child]->deadline >= group->deadline) {
            break;
        }
        put_at(groups, place, groups->alarms[child]);
        place = child;
    }
    put_at(groups, place, group);
}

static void forget_alarm(lw_groups *groups, lw_group *group) {
    uint32_t place = group->alarm_place;
    if (place == 0) {
        return;
    }
    lw_group *last = groups->alarms[groups->alarm_count--];
    group->alarm_place = 0;
    if (last != group) {
        sift_up(groups, place, last);
        sift_down(groups, last->alarm_place, last);
    }
}

static void enter_alarm(lw_groups *groups, lw_group *group) {
    if (groups->alarm_count + 1 >= groups->alarm_capacity) {
        groups->alarm_capacity = groups->alarm_capacity == 0 ? 16 : 2 * groups->alarm_capacity;
        groups->alarms = lw_reallocate(groups->env->memory, groups->alarms,
                                       groups->alarm_capacity * sizeof(*groups->alarms));
    }
    sift_up(groups, ++groups->alarm_count, group);
}

void groups_alarm(lw_groups *groups, lw_group *group, uint64_t deadline_ns) {
    if (group->deadline == deadline_ns) {
        return;
    }
    forget_alarm(groups, group);
    group->deadline = deadline_ns;
    if (deadline_ns == LW_RAFT_NEVER) {
        return;
    }
    enter_alarm(groups, group);
    start_fibers(groups);
    if (deadline_ns < groups->alarm_armed) {
        lw_queue_wake_all(&groups->alarmed);
    }
}

static void ring(lw_groups *groups) {
    uint64_t now = lw_env_now(groups->env);
    while (groups->alarm_count > 0 && groups->alarms[1]->deadline <= now) {
        lw_group *group = groups->alarms[1];
        forget_alarm(groups, group);
        group->deadline = LW_RAFT_NEVER;
        lw_raft_tick(group->raft, now);
        groups_dirty(groups, group);
    }
}

LW_YIELDS static void alarm_main(void *argument) {
    lw_groups *groups = argument;
    while (!groups->closing) {
        ring(groups);
        bool any = groups->alarm_count > 0;
        groups->alarm_armed = any ? groups->alarms[1]->deadline : LW_RAFT_NEVER;
        (void)lw_env_wait(groups->env, &groups->alarmed, any ? groups->alarm_armed : 0);
    }
    groups_background_end(groups);
}

/* ---- both ----------------------------------------------------------------------------------- */

static void start_fibers(lw_groups *groups) {
    if (!groups->fibers_run) {
        groups->fibers_run = true;
        groups_background_start(groups, "log watcher", watch_main, groups);
        groups_background_start(groups, "raft alarm", alarm_main, groups);
    }
}

void groups_forget(lw_groups *groups, lw_group *group) {
    if (group->dirty) {
        forget_dirty(groups, group);
    }
    forget_watches(groups, group);
    forget_alarm(groups, group);
    group->deadline = LW_RAFT_NEVER;
}
