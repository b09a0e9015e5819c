/* SPDX-License-Identifier: Apache-2.0 */
/* Where the requests to a shard have their middle, for splitting it by load: of a shard that is
 * watched, a key now and then, in a ring of the newest ones. A shard that is not watched keeps
 * nothing, and pays one comparison for each request. */
#include "node/replica_state.h"

#include <stdlib.h>

enum {
    SAMPLES_MAX = 256,
    SAMPLES_MIN = 64, /* fewer say nothing */
    SAMPLE_SIZE = 64, /* bytes of a key: what is longer is cut, and stands for what follows it */
};

typedef struct sample {
    uint8_t size, bytes[SAMPLE_SIZE];
} sample;

struct replica_load {
    uint32_t stride; /* of so many requests one is noted, about */
    uint32_t left;   /* until the next one */
    uint32_t count, next;
    sample samples[SAMPLES_MAX];
};

/* Strides differ by chance, so as not to keep step with somebody's habits. */
static uint32_t next_stride(const lw_replica *replica) {
    uint32_t stride = replica->load->stride;
    return stride == 1 ? 1 : 1 + (uint32_t)lw_env_random_below(replica->env, 2 * stride - 1);
}

void replica_load_take(lw_replica *replica, const lw_bytes *keys, uint32_t key_count) {
    struct replica_load *load = replica->load;
    if (--load->left > 0) {
        return;
    }
    lw_bytes key = keys[key_count == 1 ? 0 : lw_env_random_below(replica->env, key_count)];
    load->left = next_stride(replica);
    sample *taken = &load->samples[load->next];
    taken->size = (uint8_t)(key.size < SAMPLE_SIZE ? key.size : SAMPLE_SIZE);
    if (taken->size > 0) {
        memcpy(taken->bytes, key.data, taken->size);
    }
    load->next = (load->next + 1) % SAMPLES_MAX;
    load->count += load->count < SAMPLES_MAX;
}

void lw_replica_load_watch(lw_replica *replica, uint32_t stride) {
    if (stride == 0) {
        lw_free(replica->env->memory, replica->load);
        replica->load = NULL;
        return;
    }
    if (replica->load == NULL) {
        replica->load = lw_allocate_zero(replica->env->memory, sizeof(*replica->load));
    }
    replica->load->stride = stride;
    replica->load->left = next_stride(replica);
}

/* ---- the middle ---------------------------------------------------------------------------------
 */

static lw_bytes key_of(const sample *of) {
    return lw_view(of->bytes, of->size);
}

static int by_key(const void *a, const void *b) {
    return lw_compare(key_of(a), key_of(b));
}

/* The key with most nearly half of them before it; NULL if none has a quarter on either side. */
static const sample *choose(const sample *sorted, uint32_t count) {
    const sample *chosen = NULL;
    uint32_t nearest = count / 2 + 1;
    for (uint32_t index = 1; index < count; index++) {
        uint32_t off = 2 * index > count ? 2 * index - count : count - 2 * index;
        if (off < nearest && by_key(&sorted[index - 1], &sorted[index]) != 0) {
            nearest = off;
            chosen = &sorted[index];
        }
    }
    return chosen;
}

/* What was asked of the shard before it was split the last time is somebody else's. */
static uint32_t copy_own(const lw_replica *replica, sample *own) {
    const lw_shard_descriptor *shard = &replica->descriptor;
    uint32_t count = 0;
    for (uint32_t index = 0; index < replica->load->count; index++) {
        lw_bytes key = key_of(&replica->load->samples[index]);
        if (lw_compare(shard->start, key) < 0 &&
            (shard->end.size == 0 || lw_compare(key, shard->end) < 0)) {
            own[count++] = replica->load->samples[index];
        }
    }
    return count;
}

lw_status lw_replica_load_middle(const lw_replica *replica, lw_buffer *key) {
    lw_memory *memory = replica->env->memory;
    const sample *chosen = NULL;
    if (replica->load != NULL) {
        sample *own = lw_allocate(memory, sizeof(replica->load->samples));
        uint32_t count = copy_own(replica, own);
        qsort(own, count, sizeof(*own), by_key);
        chosen = count < SAMPLES_MIN ? NULL : choose(own, count);
        if (chosen != NULL) {
            lw_buffer_append(key, key_of(chosen));
        }
        lw_free(memory, own);
    }
    return chosen != NULL
               ? LW_OK
               : lw_fail(LW_NOT_FOUND, "nobody knows a key that divides the requests to shard %llu",
                         (unsigned long long)replica->options.shard);
}
