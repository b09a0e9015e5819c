/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between clients and nodes: frames, their envelope, and the bodies that are about nodes
 * and shards. What transactions say to each other travels inside as bytes (txn/request.h).
 *
 *   frame    = size u32 little-endian (of what follows, at most LW_FRAME_SIZE_MAX) · msgpack
 *   request  = [ kind, request id, shard id, range version, config version, timeout ms, body bin ]
 *   reply    = [ request id, status, error text str, spare timestamp, body bin ]
 *
 * Request ids are the sender's, unique among its requests in flight. A connection begins with
 * HELLO. Arrays may grow at their end: what a reader does not know it skips.
 *
 * Invariants
 * W1. A frame's size is checked before a byte of it is stored; nothing in a frame makes a reader
 *     allocate more than the frame itself.
 * W2. Every request below TIMESTAMP, or from TOKENS on, is to a node; every other names its shard
 * and the epoch that it was routed by, and concerns only keys and ranges that this shard holds. An
 * answer of LW_UNAVAILABLE with shard descriptors says that it does not: nothing was done, and it
 * is to be routed again.
 */
#ifndef LW_MESSAGE_H
#define LW_MESSAGE_H

#include "base/bytes.h"
#include "base/codec.h"

enum {
    LW_FRAME_HEADER_SIZE = 4,
    LW_FRAME_SIZE_MAX = 24 * 1024 * 1024,
    LW_PROTOCOL_MIN = 1,
    LW_PROTOCOL_MAX = 1,
    LW_CLUSTER_ID_BYTES = 16,
    LW_TOPOLOGY_SIZE_MAX = 4 * 1024 * 1024, /* bytes of descriptors in one answer, about */
    LW_ROOT_SHARD = 1, /* the first shard's id; it holds the timestamp oracle */
};

typedef enum lw_message_kind {
    LW_MESSAGE_HELLO = 1,
    LW_MESSAGE_STATUS = 2,   /* → JSON text */
    LW_MESSAGE_TOPOLOGY = 3, /* a key, or nothing → shard descriptors, from the one that holds it */
    LW_MESSAGE_SHARDS = 4,   /* the same → shards with what they hold, as rows below */
    LW_MESSAGE_NODES = 5,    /* → the members of the lattice (lattice/member.h) */
    LW_MESSAGE_SNAPSHOT_OFFER = 6, /* between nodes: a shard as files (node/snapshot_wire.h) */
    LW_MESSAGE_SNAPSHOT_PIECE = 7,
    LW_MESSAGE_SNAPSHOT_END = 8,
    LW_MESSAGE_PING = 9,      /* nothing → nothing: whether the node is there */
    LW_MESSAGE_DESCRIBE = 10, /* between nodes: what is known of a shard; body below */
    LW_MESSAGE_EVENTS = 11,  /* what happened in the lattice; bodies of these in lattice/report.h */
    LW_MESSAGE_PLAN = 12,    /* what is about to move, and why */
    LW_MESSAGE_DRAIN = 13,   /* empties a node, or lets it fill again */
    LW_MESSAGE_LEAVE = 14,   /* takes a node out of the lattice for ever */
    LW_MESSAGE_MEMBERS = 15, /* between nodes: what each knows of the members (node/lattice.h) */
    /* from here on to a shard; bodies in txn/request.h */
    LW_MESSAGE_TIMESTAMP = 16,
    LW_MESSAGE_GET = 17,
    LW_MESSAGE_SCAN = 18,
    LW_MESSAGE_COMMIT_NOW = 19,
    LW_MESSAGE_PREWRITE = 20,
    LW_MESSAGE_VALIDATE = 21,
    LW_MESSAGE_COMMIT = 22,
    LW_MESSAGE_ROLLBACK = 23,
    LW_MESSAGE_CHECK = 24,
    LW_MESSAGE_LOCK = 25,
    LW_MESSAGE_HEARTBEAT = 26,
    LW_MESSAGE_SPLIT = 27, /* in two at a key; body below */
    LW_MESSAGE_CHECK_SECONDARIES = 28,
    LW_MESSAGE_FINISH_RANGE = 29,
    LW_MESSAGE_LOCKS = 30,
    LW_MESSAGE_KILL = 31,
    LW_MESSAGE_PIN = 32,
    LW_MESSAGE_UNPIN = 33,
    LW_MESSAGE_CHANGE_REPLICAS = 34, /* which nodes hold a shard; body below */
    LW_MESSAGE_TRANSFER = 35,        /* which of them leads; body below */
    LW_MESSAGE_WAITS = 36,           /* between nodes: who waits for whom (txn/detector.h) */
    LW_MESSAGE_COLLECT = 37,         /* between nodes: garbage (node/gc.h); body in txn/request.h */
    LW_MESSAGE_MERGE = 38,           /* with the right neighbour; body below */
    LW_MESSAGE_MERGED = 39,          /* between nodes: what became of a merge; body below */
    LW_MESSAGE_SHARD_LAST = LW_MESSAGE_MERGED,
    /* to a node again */
    LW_MESSAGE_TOKENS = 64,  /* what is known of tokens; bodies of these in lattice/report.h */
    LW_MESSAGE_REVOKE = 65,  /* a token lets nobody in any more */
    LW_MESSAGE_REVOKED = 66, /* between nodes: which ones do not (lattice/revoked.h), both ways */
    LW_MESSAGE_TIME = 67,    /* between nodes: what time it is (node/shards_time.c) */
    LW_MESSAGE_ROTATE = 68,  /* nothing → epoch: the lattice's key changes to one of that epoch */
    LW_MESSAGE_KEYS = 69,    /* between nodes: a key of the lattice (node/lattice_keys.c) */
    LW_MESSAGE_SESSION = 70, /* between nodes: whether a client is there (node/node_session.c) */
} lw_message_kind;

static inline bool lw_message_to_shard(lw_message_kind kind) {
    return kind >= LW_MESSAGE_TIMESTAMP && kind < LW_MESSAGE_TOKENS;
}

typedef struct lw_epoch {
    uint64_t range_version;  /* rises with split and merge */
    uint64_t config_version; /* rises with every change of replicas */
} lw_epoch;

typedef struct lw_request {
    lw_message_kind kind;
    uint64_t id;
    uint64_t shard;
    lw_epoch epoch;
    uint32_t timeout_ms; /* how long the caller still waits; 0: without end */
    lw_bytes body;       /* a view into the frame */
} lw_request;

typedef struct lw_reply {
    uint64_t id;
    lw_status status;
    lw_bytes error; /* one sentence, when status is not LW_OK */
    uint64_t spare; /* a timestamp for the session to use (txn/request.h); 0: none */
    lw_bytes body;
} lw_reply;

/* Appends a whole frame. The body must fit LW_FRAME_SIZE_MAX with its envelope. */
void lw_request_encode(const lw_request *request, lw_buffer *frame);
void lw_reply_encode(const lw_reply *reply, lw_buffer *frame);
/* Reads what follows the size. LW_INVALID_ARGUMENT says what is wrong; views point into `payload`.
 */
LW_MUST_USE lw_status lw_request_decode(lw_bytes payload, lw_request *request);
/* Kind and id only, of a request of `size` bytes of which the first have come. */
LW_MUST_USE lw_status lw_request_peek(lw_bytes begun, size_t size, lw_request *head);
/* Whether others may be waiting for what such a request ends, or it says what is wrong: a node
 * takes it however much it has to do. */
bool lw_request_ends(lw_message_kind kind);
LW_MUST_USE lw_status lw_reply_decode(lw_bytes payload, lw_reply *reply);
/* The payload size a frame header announces; LW_INVALID_ARGUMENT when it is 0 or above the limit.
 */
LW_MUST_USE lw_status lw_frame_size(const uint8_t header[LW_FRAME_HEADER_SIZE], uint32_t *size);

/* ---- hello ---------------------------------------------------------------------------------- */

typedef struct lw_hello {
    uint64_t protocol_min, protocol_max;
    uint64_t session; /* 0: a new one; else the one to re-attach to */
    lw_bytes label;   /* for conflict messages */
} lw_hello;
typedef struct lw_welcome {
    uint64_t protocol;
    uint64_t session;
    uint64_t node_id;
    lw_bytes cluster_id;   /* LW_CLUSTER_ID_BYTES */
    lw_bytes version;      /* of the node's program */
    uint64_t retention_ms; /* how long the past can be read; 0: the node does not say */
} lw_welcome;
/* HELLO bodies begin with the text "LW01", so that what is not ours is told apart at once. */
void lw_hello_encode(const lw_hello *hello, lw_buffer *body);
LW_MUST_USE lw_status lw_hello_decode(lw_bytes body, lw_hello *hello);
void lw_welcome_encode(const lw_welcome *welcome, lw_buffer *body);
LW_MUST_USE lw_status lw_welcome_decode(lw_bytes body, lw_welcome *welcome);

/* ---- shard descriptors -------------------------------------------------------------------- */

enum { LW_SHARD_REPLICAS_MAX = 14 };

/* What a replica counts for in its group (lattice/raft.h). While voters change there are two sets
 * of them, and both must agree: STAYING belongs to both, JOINING to the new, LEAVING to the old. */
typedef enum lw_replica_role {
    LW_REPLICA_VOTER = 1, /* STAYING, while there are two sets */
    LW_REPLICA_LEARNER = 2,
    LW_REPLICA_JOINING = 3,
    LW_REPLICA_LEAVING = 4,
} lw_replica_role;

typedef struct lw_shard_replica {
    uint64_t node;
    lw_replica_role role;
} lw_shard_replica;

/* Which nodes hold which range. Ends are empty for "no bound". It changes only through the log of
 * the shard's own group; leader and address are hints that whoever passes it on fills in. */
typedef struct lw_shard_descriptor {
    uint64_t id;
    lw_epoch epoch;
    lw_bytes start, end;
    uint64_t leader;         /* node id, a hint */
    lw_bytes leader_address; /* "HOST:PORT", a hint; empty: the node that was asked */
    lw_shard_replica replicas[LW_SHARD_REPLICAS_MAX]; /* each node once, ascending */
    uint32_t replica_count; /* 0, of before there were several nodes: the node whose folder it is */
} lw_shard_descriptor;
/* A TOPOLOGY body, and the detail of an LW_UNAVAILABLE reply that knows better, is an array of
 * these. */
void lw_topology_encode(const lw_shard_descriptor *shards, uint32_t count, lw_buffer *body);
/* One of them. */
void lw_shard_encode(const lw_shard_descriptor *shard, lw_buffer *body);
/* Starts reading: `*count` descriptors follow, each taken by lw_topology_next. */
LW_MUST_USE lw_status lw_topology_open(lw_bytes body, lw_reader *reader, uint32_t *count);
LW_MUST_USE lw_status lw_topology_next(lw_reader *reader, lw_shard_descriptor *shard);

/* A shard, what it holds and what it is asked for, as far as the asked node knows: 0 of a shard
 * that is not there. A SHARDS body is an array of these, opened as that of TOPOLOGY.
 */
typedef struct lw_shard_row {
    lw_shard_descriptor shard;
    uint64_t bytes;    /* in memory and on disk, about */
    uint64_t requests; /* that were carried out there since the node's start */
} lw_shard_row;
void lw_shard_rows_encode(const lw_shard_row *rows, uint32_t count, lw_buffer *body);
LW_MUST_USE lw_status lw_shard_row_next(lw_reader *reader, lw_shard_row *row);

/* SPLIT, to the shard that holds the key: what is from there on becomes a shard of its own. The
 * reply is the descriptors of both, as TOPOLOGY has them. Where a shard begins at the key already
 * nothing happens, and that one's alone is the reply. */
typedef struct lw_split_request {
    lw_bytes key; /* not empty */
} lw_split_request;
void lw_split_request_encode(const lw_split_request *request, lw_buffer *body);
LW_MUST_USE lw_status lw_split_request_decode(lw_bytes body, lw_split_request *request);

/* MERGE, to a shard: its right neighbour becomes part of it. The reply is its descriptor as it is
 * then, as TOPOLOGY has it. LW_NOT_FOUND if it has no such neighbour; LW_INVALID_ARGUMENT if they
 * are not held by the same voters, in words that say what to do; LW_UNAVAILABLE: not now. */
typedef struct lw_merge_request {
    uint64_t right; /* the neighbour that is meant; 0: whichever it is */
    bool if_idle;   /* only if the shard has little to do: else LW_REFUSED */
} lw_merge_request;
void lw_merge_request_encode(const lw_merge_request *request, lw_buffer *body);
LW_MUST_USE lw_status lw_merge_request_decode(lw_bytes body, lw_merge_request *request);

/* MERGED, to whichever shard holds the key at which `left` began: whether `right` became part of
 * `left`, which had that range version then. Where it did not, it will not any more: see
 * node/replica_merge.c. The reply is a bool. */
typedef struct lw_merged_request {
    uint64_t right, left, range_version;
    lw_bytes start; /* of `left` */
} lw_merged_request;
void lw_merged_request_encode(const lw_merged_request *request, lw_buffer *body);
LW_MUST_USE lw_status lw_merged_request_decode(lw_bytes body, lw_merged_request *request);
void lw_merged_reply_encode(bool merged, lw_buffer *body);
LW_MUST_USE lw_status lw_merged_reply_decode(lw_bytes body, bool *merged);

/* CHANGE_REPLICAS: one safe step towards other replicas, or nothing if the shard has taken it. A
 * node comes as a learner; once it has caught up it becomes a voter, in the same step as the one
 * whose place it takes leaves. Two may come or go at once, so that the number of voters stays odd.
 * The reply is the descriptor as it is then, as TOPOLOGY has it.
 * LW_UNAVAILABLE while another change is under way, or the learner has not caught up, or too few of
 * those who are to vote answer: ask again.
 * LW_INVALID_ARGUMENT if fewer voters would be left than there were, unless that is asked for, or
 * none. */
typedef struct lw_change_replicas_request {
    uint64_t learner;                     /* the node that comes; 0: none */
    uint64_t voter;                       /* the learner that becomes a voter; 0: none */
    uint64_t leaves;                      /* the node that holds the shard no more; 0: none */
    bool fewer;                           /* voters may be left than there were */
    uint64_t second_voter, second_leaves; /* with those above; 0: none */
} lw_change_replicas_request;
void lw_change_replicas_request_encode(const lw_change_replicas_request *request, lw_buffer *body);
LW_MUST_USE lw_status lw_change_replicas_request_decode(lw_bytes body,
                                                        lw_change_replicas_request *request);

/* DESCRIBE: the asker has heard of a replica here, or from here, and wants to know what this node
 * knows of its shard. The reply is the descriptor of the replica here, as TOPOLOGY has it, and
 * behind that four u64, as below. Of a shard that has become part of another one, as the tombstone
 * here says, it is no descriptor, and behind that the id of the other one: such news is final.
 * LW_NOT_FOUND if there is neither. */
typedef struct lw_describe_request {
    uint64_t shard;
    uint64_t index, digest; /* what the asker has applied (hazard R17); index 0: it does not say */
    uint64_t
        renews; /* the node whose replica is damaged, and who leads sends a snapshot; 0: none */
} lw_describe_request;
void lw_describe_request_encode(const lw_describe_request *request, lw_buffer *body);
LW_MUST_USE lw_status lw_describe_request_decode(lw_bytes body, lw_describe_request *request);
/* What comes behind the descriptor. */
typedef struct lw_describe_tail {
    uint64_t applied;       /* the entry up to which the replica has come */
    uint64_t index, digest; /* what it has applied up to the index asked about; 0: not known */
    bool damaged;           /* ... and some of it cannot be read */
    uint64_t into;          /* of which it is part; else all of this is 0. 0: it is none's */
} lw_describe_tail;
void lw_describe_tail_write(const lw_describe_tail *tail, lw_buffer *reply);
/* `described`: a descriptor came before it. */
void lw_describe_tail_read(lw_reader *reader, bool described, lw_describe_tail *tail);

/* TRANSFER: the leader hands over to another voter. The reply is empty, and comes once that leads;
 * LW_UNAVAILABLE if it does not come to lead in time. */
typedef struct lw_transfer_request {
    uint64_t node;
} lw_transfer_request;
void lw_transfer_request_encode(const lw_transfer_request *request, lw_buffer *body);
LW_MUST_USE lw_status lw_transfer_request_decode(lw_bytes body, lw_transfer_request *request);

#endif
