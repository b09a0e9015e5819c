/* SPDX-License-Identifier: Apache-2.0 */
/* Churn: a client's own keys, of which it knows what they hold. */
#include "sim/workload_private.h"

enum { VALUE_SIZE_MAX = 20000 };

static lw_bytes own_key(const lw_workload_client *self, uint64_t index, char key[32]) {
    int size = snprintf(key, 32, "own/%u/%02" PRIu64, self->number, index);
    return lw_view(key, (size_t)size);
}

/* A value that tells its number and is as long as that says. */
static void own_value(uint64_t number, lw_buffer *value) {
    size_t size = sizeof(number) +
                  (size_t)(number * 2654435761u % VALUE_SIZE_MAX) * (number % 8 == 0 ? 1u : 0u);
    uint8_t *to = lw_buffer_reserve(value, size);
    memset(to, (int)(number & 0xff), size);
    memcpy(to, &number, sizeof(number));
    value->size += size;
}

static void own_violation(lw_workload_client *self, uint64_t index, const char *what) {
    lw_buffer_print(&self->workload->violations, "churn: client %u, key %" PRIu64 ": %s\n",
                    self->number, index, what);
}

/* Holds what a read of an own key says against what the client knows. */
static void check_own(lw_workload_client *self, uint64_t index, lw_status status, lw_bytes value) {
    uint64_t known = self->own[index];
    if (!self->own_known[index]) {
        return;
    }
    if (status == LW_NOT_FOUND) {
        if (known != 0) {
            own_violation(self, index, "an acknowledged value is gone");
        }
        return;
    }
    lw_buffer expected = lw_buffer_in(self->workload->memory);
    own_value(known, &expected);
    if (known == 0) {
        own_violation(self, index, "a deleted value is back");
    } else if (!lw_equal(lw_buffer_view(&expected), value)) {
        own_violation(self, index, "the value is not the one acknowledged");
    }
    lw_buffer_reset(&expected);
}

/* What a churn transaction will have made of the own keys if it commits. */
typedef struct plan {
    uint64_t own[LW_OWN_KEYS];
    bool touched[LW_OWN_KEYS];
    bool ranged[LW_OWN_KEYS]; /* only by deleting a range that it is in */
} plan;

LW_YIELDS static lw_status churn_one(lw_env *env, lw_workload_client *self, lw_txn *txn,
                                     plan *made) {
    char key[32];
    uint64_t index = workload_below(env, LW_OWN_KEYS);
    lw_bytes value;
    if (!made->touched[index]) {
        lw_status status = lw_get(txn, own_key(self, index, key), &value);
        if (status != LW_OK && status != LW_NOT_FOUND) {
            return status;
        }
        check_own(self, index, status, value);
    }
    made->touched[index] = true;
    made->ranged[index] = false;
    if (workload_below(env, 3) == 0) {
        made->own[index] = 0;
        int existed;
        return lw_delete(txn, own_key(self, index, key),
                         workload_below(env, 2) == 0 ? &existed : NULL);
    }
    lw_buffer number = lw_buffer_in(env->memory);
    made->own[index] = self->workload->next_element++;
    own_value(made->own[index], &number);
    lw_status status = lw_put(txn, own_key(self, index, key), lw_buffer_view(&number));
    lw_buffer_reset(&number);
    return status;
}

LW_YIELDS static lw_status churn_body(lw_env *env, lw_workload_client *self, lw_txn *txn,
                                      plan *made) {
    if (workload_below(env, 20) == 0) {
        char lower[32], upper[32];
        LW_TRY(lw_delete_range(txn, own_key(self, 4, lower), own_key(self, 8, upper), NULL));
        for (uint64_t index = 4; index < 8; index++) {
            made->touched[index] = made->ranged[index] = true;
            made->own[index] = 0;
        }
    }
    uint64_t ops = 1 + workload_below(env, 5);
    for (uint64_t op = 0; op < ops; op++) {
        LW_TRY(churn_one(env, self, txn, made));
    }
    return LW_OK;
}

/* What is known of the own keys once the transaction has ended. A range that is deleted has nothing
 * to do with what comes later: so not with a commit that is in doubt, and then turns out well. */
static void learn(lw_workload_client *self, const plan *made, const bool *known,
                  lw_outcome outcome) {
    for (uint64_t index = 0; index < LW_OWN_KEYS; index++) {
        if (made->touched[index] && outcome == LW_OUTCOME_OK) {
            self->own[index] = made->own[index];
            self->own_known[index] = known[index] || !made->ranged[index];
        } else if (made->touched[index] && outcome == LW_OUTCOME_FAIL) {
            self->own_known[index] = known[index];
        }
    }
}

void workload_run_churn(lw_env *env, lw_workload_client *self, lw_client *client) {
    plan made = {0};
    workload_txn in;
    if (!workload_begin(&in, env, self, client, false)) {
        return;
    }
    /* Should this fiber be dropped in the middle, nobody knows what became of the keys. */
    bool known[LW_OWN_KEYS];
    memcpy(known, self->own_known, sizeof(known));
    lw_status status = churn_body(env, self, in.txn, &made);
    for (uint64_t index = 0; index < LW_OWN_KEYS; index++) {
        self->own_known[index] = known[index] && !made.touched[index];
    }
    learn(self, &made, known, workload_finish(&in, status));
    workload_close(&in);
}
