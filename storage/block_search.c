/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks, searched. A search for a key never puts a key together: it knows how many bytes the entry
 * before has in common with what is looked for (`matched`), and entries say how many they share
 * with the entry before, so that most of them are passed after a look at one number:
 *
 *   shared > matched   it differs from the key where the one before does: before the key too
 *   shared < matched   it differs from the one before where that agrees with the key, and entries
 *                      ascend: after the key
 *   shared = matched   the bytes behind decide; as they do at a restart, which is whole
 *
 * Where the walk begins the samples of an image tell, or halving the restarts. A sample's head also
 * tells how many bytes its key has in common with the one looked for, so a walk can begin at an
 * entry of which the whole key is not known.
 *
 * An image:
 *
 *   sample count u32 · prefix size u32 · size of the entries u32 · restart count u32 · heads u64 +
 * · offsets u16 + · prefix · the block
 *
 * It never leaves memory. A block too large for such offsets has no samples. */
#include "storage/block_entry.h"
#include "storage/heads.h"

enum {
    LEAD_SIZE = 4 * sizeof(uint32_t),
    SAMPLE_SIZE = sizeof(uint64_t) + sizeof(uint16_t),
    SAMPLE_STRIDE = 320,    /* bytes of entries between two samples, about: a few lines */
    PREFIX_SIZE_MAX = 1024, /* bytes; keys that share more are told apart by restarts only */
};

bool lw_block_open(lw_bytes bytes, lw_block *block) {
    if (bytes.size < 2 * sizeof(uint32_t) || bytes.size > UINT32_MAX) {
        return false;
    }
    uint32_t restart_count = lw_get_u32(bytes.data + bytes.size - sizeof(uint32_t));
    size_t room = bytes.size - sizeof(uint32_t);
    if (restart_count == 0 || restart_count > room / sizeof(uint32_t)) {
        return false;
    }
    size_t entries_size = room - restart_count * sizeof(uint32_t);
    if (entries_size == 0 || lw_get_u32(bytes.data + entries_size) != 0) {
        return false;
    }
    *block = (lw_block){.bytes = bytes.data,
                        .entries_size = (uint32_t)entries_size,
                        .restart_count = restart_count};
    return true;
}

static size_t size_of_block(const lw_block *block) {
    return block->entries_size + (block->restart_count + (size_t)1) * sizeof(uint32_t);
}

/* ---- images ---------------------------------------------------------------------------------- */

static size_t common_with(const uint8_t *a, const uint8_t *b, size_t size) {
    size_t index = 0;
    for (; size - index >= sizeof(uint64_t); index += sizeof(uint64_t)) {
        uint64_t differ = lw_get_u64(a + index) ^ lw_get_u64(b + index);
        if (differ != 0) {
            return index + (size_t)__builtin_ctzll(differ) / 8;
        }
    }
    while (index < size && a[index] == b[index]) {
        index++;
    }
    return index;
}

/* What all keys begin with is what the first shares with each restart, and each of the others with
 * the one before. */
bool lw_block_plan_make(lw_bytes bytes, lw_block_plan *plan) {
    lw_block_plan made = {.prefix_size = PREFIX_SIZE_MAX};
    lw_block *block = &made.block;
    lw_block_head head, first = {.shared_size = 0};
    uint64_t known_size = 0;
    uint32_t sampled = 0;
    if (!lw_block_open(bytes, block)) {
        return false;
    }
    for (uint32_t offset = 0; offset < block->entries_size;) {
        if (!lw_block_head_read(block, offset, &head) || head.shared_size > known_size) {
            return false;
        }
        first = offset == 0 ? head : first;
        uint64_t shared = head.shared_size;
        if (shared == 0) {
            uint64_t both =
                head.unshared_size < first.unshared_size ? head.unshared_size : first.unshared_size;
            shared = common_with(first.unshared, head.unshared, both);
        }
        made.prefix_size = shared < made.prefix_size ? (uint32_t)shared : made.prefix_size;
        if (offset == 0 || offset - sampled >= SAMPLE_STRIDE) {
            made.sample_count++;
            sampled = offset;
        }
        known_size = lw_block_key_size(&head);
        offset = lw_block_end_of(block, &head);
    }
    if (block->entries_size > UINT16_MAX) {
        made.sample_count = made.prefix_size = 0;
    }
    made.size = LEAD_SIZE + made.sample_count * (size_t)SAMPLE_SIZE + made.prefix_size +
                size_of_block(block);
    *plan = made;
    return true;
}

/* Writes the samples. `window` is the head of the entry at hand: what it shares with the one before
 * stays, the rest is its own. */
static void write_samples(const lw_block_plan *plan, uint8_t *heads, uint8_t *offsets) {
    uint32_t sampled = 0, count = 0;
    uint64_t window = 0, prefix_size = plan->prefix_size;
    for (uint32_t offset = 0; offset < plan->block.entries_size;) {
        lw_block_head head;
        bool whole = lw_block_head_read(&plan->block, offset, &head);
        LW_ASSERT(whole);
        lw_bytes unshared = lw_view(head.unshared, head.unshared_size);
        if (head.shared_size < prefix_size) {
            window = lw_head_of(unshared, prefix_size - head.shared_size);
        } else if (head.shared_size < prefix_size + sizeof(uint64_t)) {
            uint64_t kept_bits = (head.shared_size - prefix_size) * 8;
            uint64_t kept = kept_bits == 0 ? 0 : UINT64_MAX << (64 - kept_bits);
            window = (window & kept) | lw_head_of(unshared, 0) >> kept_bits;
        }
        if (offset == 0 || offset - sampled >= SAMPLE_STRIDE) {
            lw_put_u64(heads + count * sizeof(uint64_t), window);
            lw_put_u16(offsets + count * sizeof(uint16_t), (uint16_t)offset);
            count++;
            sampled = offset;
        }
        offset = lw_block_end_of(&plan->block, &head);
    }
    LW_ASSERT(count == plan->sample_count);
}

void lw_block_image_write(const lw_block_plan *plan, uint8_t *to) {
    lw_put_u32(to, plan->sample_count);
    lw_put_u32(to + 4, plan->prefix_size);
    lw_put_u32(to + 8, plan->block.entries_size);
    lw_put_u32(to + 12, plan->block.restart_count);
    uint8_t *heads = to + LEAD_SIZE, *offsets = heads + plan->sample_count * sizeof(uint64_t);
    uint8_t *prefix = offsets + plan->sample_count * sizeof(uint16_t);
    if (plan->sample_count > 0) {
        lw_block_head first;
        bool whole = lw_block_head_read(&plan->block, 0, &first);
        LW_ASSERT(whole);
        write_samples(plan, heads, offsets);
        memcpy(prefix, first.unshared, plan->prefix_size);
    }
    memcpy(prefix + plan->prefix_size, plan->block.bytes, size_of_block(&plan->block));
}

void lw_block_image_open(const uint8_t *image, lw_block *block) {
    enum { LINE_SIZE = 64 };
    __builtin_prefetch(image + LINE_SIZE);
    __builtin_prefetch(image + 2 * LINE_SIZE);
    uint32_t sample_count = lw_get_u32(image), prefix_size = lw_get_u32(image + 4);
    const uint8_t *heads = image + LEAD_SIZE, *offsets = heads + sample_count * sizeof(uint64_t);
    const uint8_t *prefix = offsets + sample_count * sizeof(uint16_t);
    *block = (lw_block){.bytes = prefix + prefix_size,
                        .entries_size = lw_get_u32(image + 8),
                        .restart_count = lw_get_u32(image + 12),
                        .sample_count = sample_count,
                        .prefix_size = prefix_size,
                        .prefix = prefix,
                        .heads = (const uint64_t *)(const void *)heads,
                        .offsets = (const uint16_t *)(const void *)offsets};
}

/* ---- searching ------------------------------------------------------------------------------- */

/* Where a walk stands: at an entry, of which that before it is known to be before the target. */
typedef struct walk {
    uint32_t offset;
    size_t matched;    /* bytes that the key of the entry before has in common with the target's */
    size_t known_size; /* bytes of that key */
} walk;

/* Begins at the last restart whose entry is before the target, or the first of all. */
static bool begin_at_restart(const lw_block *block, lw_bytes key, uint64_t sequence, walk *at) {
    uint32_t low = 0, high = block->restart_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        lw_block_head head;
        if (!lw_block_head_read(block, lw_block_restart(block, middle), &head) ||
            head.shared_size != 0) {
            return false;
        }
        lw_bytes restart_key = lw_view(head.unshared, head.unshared_size);
        if (lw_entry_compare(restart_key, head.sequence, key, sequence) < 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    *at = (walk){.offset = lw_block_restart(block, low)};
    return true;
}

/* Begins behind the last sample that is certainly before the target: its head is lower, and tells
 * what the two keys have in common, up to where the sample's ends. */
static bool begin_at_sample(const lw_block *block, lw_bytes key, uint64_t sequence, walk *at) {
    uint64_t head = lw_head_of(key, block->prefix_size);
    uint32_t low = lw_heads_search(block->heads, block->sample_count, head);
    if (low == 0) {
        *at = (walk){.offset = 0};
        return true;
    }
    if (low + 1 < block->sample_count && block->heads[low + 1] == head) {
        return begin_at_restart(block, key, sequence, at); /* heads tell too little here */
    }
    lw_block_head sample;
    if (!lw_block_head_read(block, block->offsets[low - 1], &sample)) {
        return false;
    }
    size_t matched = block->prefix_size + (size_t)__builtin_clzll(block->heads[low - 1] ^ head) / 8;
    size_t known_size = lw_block_key_size(&sample);
    matched = matched < known_size ? matched : known_size;
    *at = (walk){.offset = lw_block_end_of(block, &sample),
                 .matched = matched < key.size ? matched : key.size,
                 .known_size = known_size};
    return true;
}

/* How an entry that shares `matched` bytes with the one before lies to the target. `*matched`
 * becomes what its own key has in common with that. */
static inline int compare(const lw_block_head *head, lw_bytes key, uint64_t sequence,
                          size_t *matched) {
    size_t rest = key.size - *matched, unshared = head->unshared_size;
    const uint8_t *wanted = rest > 0 ? key.data + *matched : NULL;
    size_t common = common_with(head->unshared, wanted, unshared < rest ? unshared : rest);
    *matched += common;
    if (common < unshared && common < rest) {
        return head->unshared[common] - wanted[common];
    }
    if (unshared != rest) {
        return unshared < rest ? -1 : 1;
    }
    return head->sequence <= sequence ? 0 : -1;
}

/* The two or three lines of a walk's first entries come one behind another. */
static inline lw_block_found walk_on(const lw_block *block, lw_bytes key, uint64_t sequence,
                                     walk *at, lw_block_head *head, bool *equal) {
    while (at->offset < block->entries_size) {
        if (!lw_block_head_read(block, at->offset, head) || head->shared_size > at->known_size) {
            return LW_BLOCK_DAMAGED;
        }
        int order = head->shared_size < at->matched ? 1 : -1;
        if (head->shared_size == 0) {
            at->matched = 0; /* a restart, which does not say what it shares */
        }
        if (head->shared_size == at->matched) {
            order = compare(head, key, sequence, &at->matched);
        }
        if (order >= 0) {
            *equal = order == 0;
            return LW_BLOCK_FOUND;
        }
        at->known_size = lw_block_key_size(head);
        at->offset = lw_block_end_of(block, head);
    }
    return LW_BLOCK_BEYOND;
}

lw_block_found lw_block_search(const lw_block *block, lw_bytes key, uint64_t sequence,
                               uint32_t *offset, lw_block_head *head, bool *equal) {
    walk at = {.offset = 0};
    bool begun = true;
    if (block->sample_count == 0) {
        begun = begin_at_restart(block, key, sequence, &at);
    } else {
        size_t both = key.size < block->prefix_size ? key.size : block->prefix_size;
        size_t common = common_with(key.data, block->prefix, both);
        if (common == block->prefix_size) {
            begun = begin_at_sample(block, key, sequence, &at);
        } else if (common < both && key.data[common] > block->prefix[common]) {
            return LW_BLOCK_BEYOND;
        } /* else it is before all keys */
    }
    if (!begun) {
        return LW_BLOCK_DAMAGED;
    }
    lw_block_found found = walk_on(block, key, sequence, &at, head, equal);
    *offset = at.offset;
    return found;
}

lw_block_found lw_block_find(const lw_block *block, lw_bytes key, uint64_t sequence,
                             lw_entry *entry) {
    uint32_t offset;
    lw_block_head head;
    bool equal;
    lw_block_found found = lw_block_search(block, key, sequence, &offset, &head, &equal);
    if (found != LW_BLOCK_FOUND) {
        return found;
    }
    if (!equal) {
        return LW_BLOCK_NONE;
    }
    *entry = (lw_entry){.key = key,
                        .sequence = head.sequence,
                        .kind = head.kind,
                        .value = lw_view(head.unshared + head.unshared_size, head.value_size)};
    return LW_BLOCK_FOUND;
}
