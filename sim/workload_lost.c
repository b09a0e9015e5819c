/* SPDX-License-Identifier: Apache-2.0 */
/* One that is lost: a client whose machine loses power in the middle of a commit, and never comes
 * back. All of its transactions write all of its keys, which lie apart from each other, and might
 * last for minutes: so locks that it leaves behind go only if nodes notice that it is gone, and
 * whoever leads a key by then finds out (hazard T18). It runs on a machine of its own. */
#include "sim/workload_private.h"

#include "client/client.h"

enum {
    LIFE_MS = 300 * 1000, /* longer than anybody waits for its locks to go */
    PAUSE_MS = 20,
};

/* Before, between and behind those of the others. */
static const char *const names[] = {"a-lost", "e-lost", "k-lost", "m-lost", "r-lost", "z-lost"};
enum { NAME_COUNT = sizeof(names) / sizeof(names[0]) };

typedef struct lost {
    lw_env *env;
    lw_workload_client *self;
} lost;

LW_YIELDS static void write_all(const lost *of, lw_client *client) {
    uint8_t value[sizeof(uint64_t)];
    bool pessimistic = workload_below(of->env, 2) == 0;
    lw_txn_options options = {.timeout_ms = LIFE_MS,
                              .locking = pessimistic ? LW_PESSIMISTIC : LW_OPTIMISTIC};
    lw_txn *txn = NULL;
    if (lw_begin(client, &options, &txn) != LW_OK) {
        return;
    }
    lw_put_u64(value, ++of->self->done);
    lw_status status = LW_OK;
    for (size_t index = 0; index < NAME_COUNT && status == LW_OK; index++) {
        status = lw_put(txn, lw_text(names[index]), lw_view(value, sizeof(value)));
    }
    if (status == LW_OK) {
        (void)!lw_commit(txn); /* all or nothing, as is seen at the end */
    }
    lw_txn_close(txn);
}

LW_YIELDS static void lost_main(void *argument) {
    const lost *of = argument;
    lw_client_options options = {
        .address = of->self->address, .label = "lost", .timeout_ms = LIFE_MS};
    lw_client *client = NULL;
    lw_status opened = lw_client_open_in(of->env, &options, &client);
    LW_ASSERT(opened == LW_OK);
    for (;;) {
        write_all(of, client);
        lw_env_sleep(of->env, workload_below(of->env, PAUSE_MS * UINT64_C(1000000)));
    }
}

void lw_workload_lose(lw_env *env, lw_workload_client *client) {
    lost *of = lw_allocate(env->memory, sizeof(*of));
    *of = (lost){.env = env, .self = client};
    client->workload->loses = true;
    (void)lw_env_start(env, "lost", lost_main, of);
}

/* What a transaction wrote is there whole, or not at all. */
lw_status workload_final_lost(lw_workload *workload, lw_client *client) {
    uint64_t first = 0;
    lw_txn_options options = {.read_only = 1};
    lw_txn *txn = NULL;
    LW_TRY(lw_begin(client, &options, &txn));
    lw_status status = LW_OK;
    for (size_t index = 0; index < NAME_COUNT && status == LW_OK; index++) {
        lw_bytes value = {0};
        status = lw_get(txn, lw_text(names[index]), &value);
        uint64_t number = status == LW_OK && value.size == 8 ? lw_get_u64(value.data) : 0;
        status = status == LW_NOT_FOUND ? LW_OK : status;
        first = index == 0 ? number : first;
        if (status == LW_OK && number != first) {
            lw_buffer_print(&workload->violations,
                            "lost: %s has transaction %" PRIu64 ", and %s %" PRIu64 "\n", names[0],
                            first, names[index], number);
            break;
        }
    }
    lw_txn_close(txn);
    return status;
}
