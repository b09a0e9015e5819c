/* SPDX-License-Identifier: Apache-2.0 */
/* Somebody splits shards, and merges them again, while others work: at a list or row that is hot,
 * between the accounts of the bank, the rows of a constraint, a client's own keys. */
#include "sim/workload_private.h"

#include "client/client.h"
#include "lattice/message.h"

static lw_bytes choose_key(lw_env *env, const lw_workload *workload, char key[WORKLOAD_KEY_SIZE]) {
    uint32_t list =
        workload->lists_begun - 1 - (uint32_t)workload_below(env, workload->list_window);
    uint64_t small = workload_below(env, 8);
    int size = 0;
    switch (workload_below(env, 6)) {
    case 0:
        size = snprintf(key, WORKLOAD_KEY_SIZE, "list/%06u", list);
        break;
    case 1:
        size = snprintf(key, WORKLOAD_KEY_SIZE, "row/%06u/%" PRIu64, list, small % WORKLOAD_ROWS);
        break;
    case 2:
        size = snprintf(key, WORKLOAD_KEY_SIZE, "bank/%" PRIu64, small);
        break;
    case 3:
        size = snprintf(key, WORKLOAD_KEY_SIZE, "duty/%" PRIu64 "/1", small % 2);
        break;
    case 4:
        size = snprintf(key, WORKLOAD_KEY_SIZE, "guest/%" PRIu64 "/%08" PRIu64, small % 2,
                        workload->next_element);
        break;
    default:
        size = snprintf(key, WORKLOAD_KEY_SIZE, "own/%" PRIu64 "/%02" PRIu64, small % 4,
                        workload_below(env, LW_OWN_KEYS));
    }
    return lw_view(key, (size_t)size);
}

/* The shard of the key takes in its right neighbour, if it has one. */
LW_YIELDS static void merge_behind(lw_env *env, lw_client *client, lw_bytes key) {
    lw_buffer body = lw_buffer_in(env->memory);
    lw_merge_request_encode(&(lw_merge_request){.right = 0}, &body);
    lw_reply reply;
    lw_error *outer = lw_client_enter(client);
    lw_status status = lw_client_call(client, LW_MESSAGE_MERGE, key, lw_buffer_view(&body),
                                      lw_client_deadline(client, 0), &reply, NULL);
    (void)!lw_client_leave(outer, status); /* there may be none, or it is elsewhere */
    lw_buffer_reset(&body);
}

void workload_run_split(lw_env *env, lw_workload_client *self, lw_client *client) {
    lw_workload *workload = self->workload;
    if (workload->splits_left == 0) {
        return;
    }
    workload->splits_left--;
    char name[WORKLOAD_KEY_SIZE];
    lw_bytes key = choose_key(env, workload, name);
    if (workload_below(env, 5) < 2) {
        merge_behind(env, client, key);
        return;
    }
    lw_split_request request = {.key = key};
    lw_buffer body = lw_buffer_in(env->memory);
    lw_split_request_encode(&request, &body);
    lw_reply reply;
    lw_error *outer = lw_client_enter(client);
    lw_status status = lw_client_call(client, LW_MESSAGE_SPLIT, key, lw_buffer_view(&body),
                                      lw_client_deadline(client, 0), &reply, NULL);
    (void)!lw_client_leave(outer, status); /* it may be refused: there is a shard's bound already */
    lw_buffer_reset(&body);
}
