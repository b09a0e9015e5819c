/* SPDX-License-Identifier: Apache-2.0 */
/* The one door to the outside: files, sockets, time, chance, and work given away. Everything above
 * base/ reaches the world through an lw_env and nothing else, which is why the same code runs on
 * io_uring (a node), on poll (clients, and nodes where io_uring is refused) and in the simulator.
 *
 * An operation (lw_op) is submitted, and completes later, from the turn of the loop. Fibers use the
 * calls below, which submit and suspend. Called outside any fiber (a client in its user's thread)
 * the same calls turn the env's loop until the operation is complete: this is the blocking face.
 *
 * Invariants
 * 1. An env belongs to one thread. Nothing in it is shared, save offloaded work, which owns its
 *    memory while it runs.
 * 2. An operation and its buffers belong to the world from submission until its completion, also
 *    when it was cancelled or its deadline passed (hazard S7).
 * 3. Completions run outside any fiber, are short, and never suspend.
 * 4. Worlds never report a short write as done: writes complete whole or fail (hazard S5). Reads
 *    are short only at the end of a file.
 * 5. Operations submitted together may be carried out in any order. Who needs an order waits
 *    (hazard S6). */
#ifndef LW_ENV_H
#define LW_ENV_H

#include "base/fiber.h"
#include "base/logline.h"

typedef struct lw_env lw_env;
typedef struct lw_op lw_op;
typedef struct lw_place lw_place;

/* An open file or socket of one env. */
typedef struct lw_handle {
    int32_t number; /* negative: none */
} lw_handle;
#define LW_NO_HANDLE ((lw_handle){.number = -1})
static inline bool lw_handle_valid(lw_handle handle) {
    return handle.number >= 0;
}

/* Whoever was accepted and is gone without a word, as its machine lost power, is noticed also while
 * nobody sends anything: the stream breaks after so many seconds of silence, and so many questions
 * at such intervals (hazard G6). It is the other system that answers them, whatever its process is
 * at. None are asked while something that was sent is not acknowledged: see lw_socket_unheard. */
enum { LW_KEEPALIVE_IDLE_S = 1, LW_KEEPALIVE_EVERY_S = 1, LW_KEEPALIVE_COUNT = 2 };
#define LW_KEEPALIVE_NS     \
    (UINT64_C(1000000000) * \
     (LW_KEEPALIVE_IDLE_S + (uint64_t)LW_KEEPALIVE_COUNT * LW_KEEPALIVE_EVERY_S))

typedef enum lw_op_kind {
    LW_OP_OPEN,   /* path, flags → handle; count: see lw_file_open_direct */
    LW_OP_CLOSE,  /* handle */
    LW_OP_READ,   /* handle, buffer, size, offset → count */
    LW_OP_WRITE,  /* handle, buffer, size, offset, flags */
    LW_OP_SYNC,   /* handle: its data and size are durable */
    LW_OP_RESIZE, /* handle, size, flags: cut, or grown with zeros */
    LW_OP_SIZE,   /* handle, flags → count */
    LW_OP_LOCK,   /* handle: until closed or the process ends; LW_REFUSED if another holds it */
    LW_OP_RENAME, /* path, path_to: replaces path_to */
    LW_OP_LINK,   /* path, path_to: a second name */
    LW_OP_UNLINK, /* path; LW_NOT_FOUND if there is none */
    LW_OP_MKDIR,  /* path; done if it exists */
    LW_OP_LIST,   /* path, names: each name with its closing zero, sorted; no "." and ".." */
    LW_OP_SYNC_DIRECTORY, /* path: names in it are durable */
    LW_OP_LISTEN,         /* path = "HOST:PORT" → handle; count is the port */
    LW_OP_ACCEPT,         /* handle → accepted */
    LW_OP_CONNECT,        /* path = "HOST:PORT", deadline → handle */
    LW_OP_RECEIVE,        /* handle, buffer, size, deadline → count, 0 at the end of the stream */
    LW_OP_SEND,           /* handle, buffer, size, deadline: all of it, or the stream is broken */
    LW_OP_TIMER,          /* deadline: completes LW_OK then */
    LW_OP_DEFER,          /* completes at the end of this turn, when no fiber is ready */
    LW_OP_OFFLOAD,        /* work(argument) on another thread; inline in the simulator */
} lw_op_kind;

enum {
    LW_OPEN_CREATE = 1,    /* make it if absent */
    LW_OPEN_EXCLUSIVE = 2, /* with CREATE: LW_EXISTS if present */
    LW_OPEN_DIRECT = 4,    /* unbuffered: buffers, sizes and offsets are multiples of
                              LW_DIRECT_ALIGNMENT; where the file system has no such thing the world
                              buffers silently, and durability is the same */
    LW_OPEN_READ_ONLY = 8,
    LW_OPEN_RANDOM = 16,  /* reads come in no order: the system reads what it is asked for only */
    LW_WRITE_DURABLE = 1, /* complete only once the bytes are on disk (RWF_DSYNC); the file's size
                             too when it grew */
    LW_WRITE_AWAITED = 2, /* somebody has nothing to do until then: the world may carry it out at
                             once, though nothing else goes on meanwhile */
    LW_RESIZE_HOLD = 1,   /* see lw_file_hold */
    LW_SIZE_LEFT = 1,     /* see lw_file_left */
    LW_DIRECT_ALIGNMENT = 4096,
    LW_PATH_SIZE = 1024,   /* bytes, with the closing zero */
    LW_ADDRESS_SIZE = 280, /* "HOST:PORT", with the closing zero */
    LW_HOST_SIZE = 256,    /* its host, with the closing zero */
};

typedef struct lw_op_list {
    lw_op *first, *last;
} lw_op_list;

/* What the real worlds keep in an operation. */
typedef struct lw_real_op {
    lw_op *next, *previous;
    lw_op_list *list;  /* the one it is in, or NULL */
    uint64_t done;     /* bytes of READ, WRITE and SEND that went through so far */
    uint64_t sequence; /* of timers: equal deadlines pass in the order of submission */
    struct addrinfo *addresses, *address; /* of CONNECT: all, and the one to try next */
    uint32_t timer_place;                 /* in the heap, from 1; 0: not in it */
    uint32_t state;
} lw_real_op;

struct lw_op {
    lw_op_kind kind;
    lw_handle handle;
    const char *path, *path_to; /* must live until completion */
    void *buffer;
    size_t size;
    uint64_t offset;
    uint32_t flags;
    uint64_t deadline_ns; /* of lw_env_now; 0: none. CONNECT, RECEIVE, SEND, ACCEPT, TIMER */
    lw_buffer *names;     /* LIST */
    void (*work)(void *argument);
    void *argument;

    /* The outcome. `status` LW_OK, or: LW_TIMEOUT after the deadline or a cancel, LW_NOT_FOUND,
     * LW_EXISTS, LW_FULL, LW_REFUSED (permission, lock, address in use), LW_UNAVAILABLE (the
     * network said no, or the socket was closed), LW_BACKPRESSURE (the system ran short of
     * descriptors or memory), LW_INVALID_ARGUMENT (not an address), LW_INTERNAL (any other error of
     * the system, so also EIO). */
    lw_status status;
    int system_error; /* errno of a failure; negative: a code of getaddrinfo; or 0 */
    uint64_t count;
    lw_handle accepted;

    void (*complete)(lw_op *op); /* called once, if not NULL; then `op` may be submitted again */
    void *owner;                 /* for `complete` */
    union {
        void *world[8];  /* the world's own */
        lw_real_op real; /* of the two real ones */
    };
};

/* What a world implements. */
typedef struct lw_env_world {
    void (*submit)(lw_env *env, lw_op *op);
    /* Asks that a submitted operation end soon; it completes all the same, done or LW_TIMEOUT. */
    void (*cancel)(lw_env *env, lw_op *op);
    /* Runs ready fibers and completions; waits for something to happen if `wait` and nothing is
     * ready. The simulator has none: there the simulation turns. */
    void (*turn)(lw_env *env, bool wait);
    uint64_t (*now_ns)(lw_env *env);
    uint64_t (*wall_ms)(lw_env *env);
    uint64_t (*memory_size)(lw_env *env); /* NULL: not known */
    bool (*unheard)(lw_env *env, lw_handle socket, uint64_t *silence_ns);
    void (*entropy)(lw_env *env, void *buffer, size_t size);
    void (*logline)(lw_env *env, lw_level level, const char *line);
    /* Simulation only, else NULL: see LW_MARK, LW_RARE, LW_BUG and LW_MESSAGE. */
    void (*mark)(lw_env *env, const lw_place *place);
    bool (*rare)(lw_env *env, const lw_place *place);
    bool (*bug)(lw_env *env, const lw_place *place);
    void (*message)(lw_env *env, uint64_t from, uint64_t to, bool sent, lw_bytes bytes);
    struct lw_known *(*known)(lw_env *env); /* see lw_env_known */
    void (*close)(lw_env *env);
} lw_env_world;

struct lw_env {
    const lw_env_world *world;
    lw_fibers *fibers;
    lw_memory *memory;
    uint64_t random_state[4]; /* seeded by the world */
};

/* ---- making one ----------------------------------------------------------------------------- */

/* Plain poll(2) and pread/pwrite. Needs nothing of the kernel. */
LW_MUST_USE lw_status lw_env_posix_open(lw_env **env);
/* io_uring. LW_UNAVAILABLE, with the reason (seccomp, sysctl, old kernel), where it is refused. */
LW_MUST_USE lw_status lw_env_uring_open(lw_env **env);
/* Ends the env: its fibers are dropped, its handles closed, its memory freed. */
void lw_env_close(lw_env *env);
/* One turn of the loop; the node's main loop is made of these. */
static inline void lw_env_turn(lw_env *env, bool wait) {
    env->world->turn(env, wait);
}

/* ---- time and chance ------------------------------------------------------------------------ */

/* Monotonic nanoseconds that count on through suspend (CLOCK_BOOTTIME). Never 0. */
static inline uint64_t lw_env_now(lw_env *env) {
    return env->world->now_ns(env);
}
/* Milliseconds since 1970, as the machine believes. May jump. */
static inline uint64_t lw_env_wall_ms(lw_env *env) {
    return env->world->wall_ms(env);
}
/* Bytes of memory that the system has for this process and for what it keeps of its files: the
 * machine's, or what its control groups allow it. 0: not known. */
static inline uint64_t lw_env_memory_size(lw_env *env) {
    return env->world->memory_size == NULL ? 0 : env->world->memory_size(env);
}
/* Uniform pseudo-random numbers (xoshiro256**): for jitter and sampling, not for secrets. */
uint64_t lw_env_random(lw_env *env);
/* Below `bound`, which is not 0. */
uint64_t lw_env_random_below(lw_env *env, uint64_t bound);
/* Bytes fit for keys and identities. */
static inline void lw_env_entropy(lw_env *env, void *buffer, size_t size) {
    env->world->entropy(env, buffer, size);
}

/* ---- submitting ----------------------------------------------------------------------------- */

static inline void lw_env_submit(lw_env *env, lw_op *op) {
    env->world->submit(env, op);
}
static inline void lw_env_cancel(lw_env *env, lw_op *op) {
    env->world->cancel(env, op);
}
/* Submits and waits; returns op->status, with the reason in the error slot when it failed. A fiber
 * that calls belongs to this env. */
LW_MUST_USE LW_YIELDS lw_status lw_env_perform(lw_env *env, lw_op *op);
/* Starts a fiber of this env. */
static inline lw_fiber *lw_env_start(lw_env *env, const char *name, void (*body)(void *argument),
                                     void *argument) {
    return lw_fiber_start(env->fibers, name, body, argument);
}
LW_YIELDS void lw_env_sleep(lw_env *env, uint64_t duration_ns);
/* Waits in a queue until woken (true) or the deadline passed (false); 0: no deadline. Inside a
 * fiber only. */
LW_YIELDS bool lw_env_wait(lw_env *env, lw_queue *queue, uint64_t deadline_ns);
/* Runs work(argument) elsewhere and waits. `work` touches nothing but what `argument` gives it, and
 * calls nothing of this env. */
LW_YIELDS void lw_env_offload(lw_env *env, void (*work)(void *argument), void *argument);

/* ---- files ---------------------------------------------------------------------------------- */

LW_MUST_USE LW_YIELDS lw_status lw_file_open(lw_env *env, const char *path, uint32_t flags,
                                             lw_handle *file);
/* Opens a file that is there for unbuffered reads. Buffers, offsets and sizes have to be multiples
 * of `alignment`, which is a power of two and at most LW_DIRECT_ALIGNMENT; 1 where the file system
 * has no such thing, and the world buffers. */
LW_MUST_USE LW_YIELDS lw_status lw_file_open_direct(lw_env *env, const char *path, lw_handle *file,
                                                    uint32_t *alignment);
/* Closing cannot fail for the caller: what must be durable was synced before. */
LW_YIELDS void lw_file_close(lw_env *env, lw_handle file);
/* Reads up to `size` bytes; fewer only at the end of the file. */
LW_MUST_USE LW_YIELDS lw_status lw_file_read(lw_env *env, lw_handle file, uint64_t offset,
                                             void *buffer, size_t size, size_t *read_size);
LW_MUST_USE LW_YIELDS lw_status lw_file_write(lw_env *env, lw_handle file, uint64_t offset,
                                              lw_bytes bytes, uint32_t flags);
LW_MUST_USE LW_YIELDS lw_status lw_file_sync(lw_env *env, lw_handle file);
LW_MUST_USE LW_YIELDS lw_status lw_file_resize(lw_env *env, lw_handle file, uint64_t size);
/* Grows a file to `size` bytes whose space on the disk is really taken, without writing them; what
 * they hold means nothing. LW_FULL: the file may have grown by a part. LW_REFUSED: the file system
 * cannot do that. */
LW_MUST_USE LW_YIELDS lw_status lw_file_hold(lw_env *env, lw_handle file, uint64_t size);
LW_MUST_USE LW_YIELDS lw_status lw_file_size(lw_env *env, lw_handle file, uint64_t *size);
/* Bytes that the file system of a file has left to give. LW_REFUSED: nobody knows. */
LW_MUST_USE LW_YIELDS lw_status lw_file_left(lw_env *env, lw_handle file, uint64_t *left);
LW_MUST_USE LW_YIELDS lw_status lw_file_lock(lw_env *env, lw_handle file);
LW_MUST_USE LW_YIELDS lw_status lw_path_rename(lw_env *env, const char *from, const char *to);
LW_MUST_USE LW_YIELDS lw_status lw_path_link(lw_env *env, const char *from, const char *to);
LW_MUST_USE LW_YIELDS lw_status lw_path_unlink(lw_env *env, const char *path);
LW_MUST_USE LW_YIELDS lw_status lw_path_mkdir(lw_env *env, const char *path);
/* Appends the sorted names in a directory to `names`, each with its closing zero. */
LW_MUST_USE LW_YIELDS lw_status lw_path_list(lw_env *env, const char *path, lw_buffer *names);
/* Waits while handles are short, up to half a minute. */
LW_MUST_USE LW_YIELDS lw_status lw_path_sync_directory(lw_env *env, const char *path);
/* Joins a directory and a name into `path` (LW_PATH_SIZE); LW_INVALID_ARGUMENT if too long. */
LW_MUST_USE lw_status lw_path_join(char *path, const char *directory, const char *name);
/* Makes `bytes` the whole of a small file: a crash leaves what was there before, or this. Durable
 * when it returns LW_OK, if asked for. What was not finished is NAME.new; nobody else may use it.
 */
LW_MUST_USE LW_YIELDS lw_status lw_path_replace(lw_env *env, const char *directory,
                                                const char *name, lw_bytes bytes, bool durable);

/* ---- sockets -------------------------------------------------------------------------------- */

/* Listens on "HOST:PORT" (IPv4, [IPv6] or a name). Port 0 takes a free one; `port` may be NULL.
 * Waits up to two seconds for a port that is taken. */
LW_MUST_USE LW_YIELDS lw_status lw_socket_listen(lw_env *env, const char *address,
                                                 lw_handle *listener, uint16_t *port);
LW_MUST_USE LW_YIELDS lw_status lw_socket_accept(lw_env *env, lw_handle listener,
                                                 lw_handle *socket);
LW_MUST_USE LW_YIELDS lw_status lw_socket_connect(lw_env *env, const char *address,
                                                  uint64_t deadline_ns, lw_handle *socket);
/* At least one byte, or read_size 0 at the end of the stream. */
LW_MUST_USE LW_YIELDS lw_status lw_socket_receive(lw_env *env, lw_handle socket, void *buffer,
                                                  size_t size, uint64_t deadline_ns,
                                                  size_t *read_size);
LW_MUST_USE LW_YIELDS lw_status lw_socket_send(lw_env *env, lw_handle socket, lw_bytes bytes,
                                               uint64_t deadline_ns);
/* Ends pending operations on the socket with LW_UNAVAILABLE, then closes it. */
LW_YIELDS void lw_socket_close(lw_env *env, lw_handle socket);
/* Whether something that was sent has not reached the other system yet, or has no room there; then
 * also for how long that system has given no sign of life. It gives one, whatever its process is
 * at, also when it has no room. */
static inline bool lw_socket_unheard(lw_env *env, lw_handle socket, uint64_t *silence_ns) {
    return env->world->unheard(env, socket, silence_ns);
}
/* Whether it was silence that ended an operation on a socket, and not a word of the other end. */
bool lw_op_met_silence(const lw_op *op);
/* Takes "HOST:PORT" or "[IPV6]:PORT" apart; LW_INVALID_ARGUMENT if it is neither. */
LW_MUST_USE lw_status lw_address_split(const char *address, char host[LW_HOST_SIZE],
                                       uint16_t *port);

/* ---- what the simulator adds ---------------------------------------------------------------- */

/* LW_MARK: a rare event happened, for coverage. LW_RARE: true now and then in simulations, so that
 * a rare path is taken often: whatever is correct with it false is correct with it true. LW_BUG:
 * true when the planted bug of that name is switched on. Names are string constants
 * ("log.hole_cut"). All three vanish from builds without LW_SIMULATION; in those with it, the
 * linker gathers all places of a program, so that one which is never reached is known too. */
typedef enum lw_place_kind { LW_PLACE_MARK, LW_PLACE_RARE, LW_PLACE_BUG } lw_place_kind;

struct lw_place {
    const char *name;
    lw_place_kind kind;
};

#ifdef LW_SIMULATION
#define LW_PLACE(place_kind, place_name)                                                    \
    __extension__({                                                                         \
        static const lw_place lw_place_here __attribute__((section("lw_places"), used)) = { \
            .name = (place_name), .kind = (place_kind)};                                    \
        &lw_place_here;                                                                     \
    })
#define LW_MARK(env, name)                                                                 \
    ((env)->world->mark != NULL ? (env)->world->mark((env), LW_PLACE(LW_PLACE_MARK, name)) \
                                : (void)0)
#define LW_RARE(env, name) \
    ((env)->world->rare != NULL && (env)->world->rare((env), LW_PLACE(LW_PLACE_RARE, name)))
#define LW_BUG(env, name) \
    ((env)->world->bug != NULL && (env)->world->bug((env), LW_PLACE(LW_PLACE_BUG, name)))
/* A message between nodes is sent, or has come: for the picture of a run. Decides nothing. */
#define LW_MESSAGE(env, from, to, sent, bytes)                                                   \
    ((env)->world->message != NULL ? (env)->world->message((env), (from), (to), (sent), (bytes)) \
                                   : (void)0)
#else
#define LW_MESSAGE(env, from, to, sent, bytes) ((void)(env))
#define LW_MARK(env, name)                     ((void)(env))
#define LW_RARE(env, name)                     ((void)(env), false)
#define LW_BUG(env, name)                      ((void)(env), false)
#endif

/* What other nodes of this process have worked out (lattice/known.h); NULL outside of simulations.
 */
static inline struct lw_known *lw_env_known(lw_env *env) {
    return env->world->known == NULL ? NULL : env->world->known(env);
}

/* ---- for worlds ----------------------------------------------------------------------------- */

/* Fills the random state from the env's own entropy. */
void lw_env_seed(lw_env *env);
/* The status that goes with an errno: 0 is LW_OK, ECANCELED is LW_TIMEOUT. */
lw_status lw_env_status_of(int system_error);

/* ---- for the real worlds ----------------------------------------------------------------------
 *
 * env_posix.c has what env_uring.c shares with it, env_sockets.c the sockets of both. */

enum {
    LW_REAL_COMPLETED = 1, /* lw_real_op.state: the outcome is known, `complete` comes */
    LW_REAL_IN_FLIGHT = 2, /* the ring owns it */
    LW_REAL_CANCELLED = 4, /* the ring has been asked to give it back, or will be, */
    LW_REAL_CLOSED = 8,    /* because its socket was closed */

    LW_REAL_OPEN = 1, /* lw_real_handle.state */
    LW_REAL_SOCKET = 2,
    LW_REAL_MORE = 4, /* the last receive probably left something behind */
};

typedef struct lw_real_handle {
    lw_op_list pending; /* what waits for this socket */
    uint32_t state;
    uint32_t alignment; /* of a file: that of direct reads; 1: they are buffered */
} lw_real_handle;

typedef struct lw_real_env {
    lw_env env;
    lw_op_list completed;    /* to be reported by the turn */
    lw_op_list deferred;     /* LW_OP_DEFER, until no fiber is ready */
    lw_real_handle *handles; /* by descriptor */
    uint32_t handle_capacity;
    uint32_t timer_count, timer_capacity;
    lw_op **timers; /* a heap by (deadline, sequence) of all that has a deadline */
    uint64_t timer_sequence;
    int socket_flags;                /* SOCK_NONBLOCK, or 0 */
    struct lw_real_offload *offload; /* the worker threads; NULL before the first work */
} lw_real_env;

/* Fibers and chance. `real` is zeroed, and the first member of the world's own struct. */
void lw_real_init(lw_real_env *real, const lw_env_world *world, lw_memory *memory);
/* Ends the threads, closes every handle, drops the fibers. No operation is in flight any more. The
 * memory is left to the caller, whose struct lies in it. */
void lw_real_reset(lw_real_env *real);

void lw_op_list_push(lw_op_list *list, lw_op *op);
/* Takes `op` out of whichever list it is in, if any. */
void lw_op_list_remove(lw_op *op);

/* Puts a submitted operation into its initial state. */
void lw_real_begin(lw_op *op);
/* Lets it wait: with its socket, if it has one, and among the timers, if it has a deadline. */
void lw_real_pend(lw_real_env *real, lw_op *op);
/* Notes the outcome, which the next turn reports. */
void lw_real_finish(lw_real_env *real, lw_op *op, lw_status status, int system_error);
/* The same, with the status that goes with an errno. */
void lw_real_finish_errno(lw_real_env *real, lw_op *op, int system_error);
/* Carries out a file operation, LISTEN, DEFER or OFFLOAD with plain system calls. */
void lw_real_carry_out(lw_real_env *real, lw_op *op);
/* Sends or receives what goes without waiting; true if that finished the operation. */
bool lw_real_try_stream(lw_real_env *real, lw_op *op);
/* Whether trying is likely to save a wait. */
bool lw_real_worth_trying(lw_real_env *real, const lw_op *op);
/* Listens on op->path, and finishes the operation. */
void lw_real_listen(lw_real_env *real, lw_op *op);
/* CONNECT: finds the addresses; false if that failed, and the operation is finished. */
bool lw_real_connect_begin(lw_real_env *real, lw_op *op);
/* Makes the socket for op->real.address; false if none is left, and the operation is finished. */
bool lw_real_connect_next(lw_real_env *real, lw_op *op);
/* Connects to one address after the other without waiting; what has to wait pends. */
void lw_real_connect_try(lw_real_env *real, lw_op *op);
/* Its socket became ready: it is connected, or goes on to the next address. */
void lw_real_connect_ready(lw_real_env *real, lw_op *op);
/* Gives up this address, and goes on to the next. */
void lw_real_connect_failed(lw_real_env *real, lw_op *op, int system_error);
/* Drops the addresses of one that will not be finished. */
void lw_real_connect_forget(lw_op *op);
/* Finishes it; the socket stays only with LW_OK. */
void lw_real_connect_done(lw_real_env *real, lw_op *op, lw_status status, int system_error);
/* Takes in a connection, if one is there. */
void lw_real_accept_try(lw_real_env *real, lw_op *op);
/* Takes in this one. */
void lw_real_accept_done(lw_real_env *real, lw_op *op, int socket);
/* The table of handles. */
void lw_real_handle_add(lw_real_env *real, int descriptor, uint32_t state);
lw_real_handle *lw_real_handle_of(lw_real_env *real, lw_handle handle);
/* Takes in a file that was opened with these flags, and tells the system how it will be used. */
void lw_real_file_add(lw_real_env *real, lw_op *op, int descriptor, bool direct);
/* The flags of open(2). */
int lw_real_open_flags(uint32_t flags);

/* Runs fibers and reports outcomes until little is left; true if it did anything. */
bool lw_real_drain(lw_real_env *real);
/* Whether there is something to run or to report. */
bool lw_real_busy(const lw_real_env *real);
/* Takes an operation whose deadline has passed from the heap; NULL if there is none. */
lw_op *lw_real_expired(lw_real_env *real, uint64_t now_ns);
/* The next deadline, or 0. */
uint64_t lw_real_deadline(const lw_real_env *real);
/* The descriptor that becomes readable when work was done, or -1 if none is under way. */
int lw_real_offload_event(const lw_real_env *real);
/* Finishes what the threads have done. */
void lw_real_offload_collect(lw_real_env *real);

uint64_t lw_real_now_ns(lw_env *env);
uint64_t lw_real_wall_ms(lw_env *env);
uint64_t lw_real_memory_size(lw_env *env);
bool lw_real_unheard(lw_env *env, lw_handle socket, uint64_t *silence_ns);
void lw_real_entropy(lw_env *env, void *buffer, size_t size);
void lw_real_logline(lw_env *env, lw_level level, const char *line);

#endif
