/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/answer.h"

lw_status lw_sim_answer(const lw_sim_parts *parts, const lw_request *request, uint64_t from,
                        uint64_t session, lw_buffer *reply) {
    switch ((int)request->kind) {
    case LW_MESSAGE_DESCRIBE:
        return lw_shards_describe(parts->shards, request->body, reply);
    case LW_MESSAGE_TIME:
        lw_shards_time(parts->shards, reply);
        return LW_OK;
    case LW_MESSAGE_SNAPSHOT_OFFER:
    case LW_MESSAGE_SNAPSHOT_PIECE:
    case LW_MESSAGE_SNAPSHOT_END:
        return lw_snapshots_handle(parts->snapshots, from, request, reply);
    case LW_MESSAGE_PIN:
    case LW_MESSAGE_UNPIN:
        return lw_gc_request(parts->gc, request, session, reply);
    default:
        return lw_shards_execute(parts->shards, request, session, reply);
    }
}
