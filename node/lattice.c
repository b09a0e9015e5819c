/* SPDX-License-Identifier: Apache-2.0 */
#include "node/lattice.h"

#include "node/lattice_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    BUS_RETRY_MS = 30 * 1000,
    SAVE_RETRY_MS = 5 * 1000,
    INTRODUCTION_MS = 3 * 1000, /* within which members are linked, where there are any */
};

/* ---- what happened ------------------------------------------------------------------------------
 */

void lattice_note(lw_lattice *lattice, const char *name, uint64_t node, uint64_t shard,
                  const char *format, ...) {
    if (lattice->events == NULL) {
        lattice->events =
            lw_allocate_zero(lattice->memory, LATTICE_EVENTS_MAX * sizeof(*lattice->events));
    }
    lattice_event *event = &lattice->events[lattice->event_count % LATTICE_EVENTS_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(event->text, sizeof(event->text), format, arguments);
    va_end(arguments);
    event->row = (lw_event_row){.number = ++lattice->event_count,
                                .wall_ms = lw_env_wall_ms(lattice->env),
                                .name = lw_text(name),
                                .node = node,
                                .shard = shard,
                                .text = lw_text(event->text)};
}

void lw_lattice_happened(lw_lattice *lattice, const char *name, uint64_t shard, const char *text) {
    lattice_note(lattice, name, lattice_self(lattice), shard, "%s", text);
}

void lattice_end(lw_lattice *lattice, lw_status status, const char *reason) {
    lw_error told = {.status = status};
    (void)snprintf(told.text, sizeof(told.text), "%s", reason);
    if (!lattice->ended && !lattice->stopping) {
        lattice->ended = true;
        lw_logline(lattice->env, status == LW_OK ? LW_LEVEL_INFO : LW_LEVEL_ERROR,
                   "the node leaves the lattice", "reason=\"%s\"", reason);
        lattice->options.ended(lattice->options.argument, &told);
    }
}

void lattice_job_begin(lw_lattice *lattice) {
    lattice->job_count++;
}

void lattice_job_end(lw_lattice *lattice) {
    LW_ASSERT(lattice->job_count > 0);
    lattice->job_count--;
    lw_queue_wake_all(&lattice->idle);
}

void lattice_wake(lw_lattice *lattice) {
    lw_queue_wake_all(&lattice->work);
}

uint32_t lattice_company(const lw_lattice *lattice) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    uint32_t live = members->count - members->gone_count;
    return live - (lw_gossip_self(lattice->gossip)->state != LW_MEMBER_GONE);
}

/* ---- the bus ------------------------------------------------------------------------------------
 */

static void heard(void *argument, const lw_bus_message *message) {
    lw_lattice *lattice = argument;
    if (!lattice->stopping) {
        lw_gossip_figures before, after;
        lw_gossip_figures_get(lattice->gossip, &before);
        lw_gossip_receive(lattice->gossip, message, lattice_now_ms(lattice));
        lw_gossip_figures_get(lattice->gossip, &after);
        if (after.stale > before.stale) {
            LW_MARK(lattice->env, "gossip.stale");
        }
        if (after.forged > before.forged) {
            LW_MARK(lattice->env, "gossip.forged");
        }
        lattice_settle(lattice);
    }
}

static void set_routes(lw_lattice *lattice) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    if (lattice->bus == NULL) {
        return;
    }
    char(*texts)[LW_MEMBER_ADDRESS_MAX + 1] =
        lw_allocate(lattice->memory, LW_BUS_ROUTES_MAX * sizeof(*texts));
    const char *routes[LW_BUS_ROUTES_MAX];
    uint32_t count = 0;
    for (uint32_t index = 0; index < members->count && count < LW_BUS_ROUTES_MAX; index++) {
        const lw_member *member = lw_members_at(members, index);
        if (member->node != lattice_self(lattice) && member->state != LW_MEMBER_GONE &&
            member->bus_address.size > 0) {
            (void)snprintf(texts[count], sizeof(texts[count]), "%.*s",
                           (int)member->bus_address.size, (const char *)member->bus_address.data);
            routes[count] = texts[count];
            count++;
        }
    }
    lw_bus_set_routes(lattice->bus, routes, count);
    lw_free(lattice->memory, texts);
}

/* A change of its address alone is no event. */
static void note_bus(lw_lattice *lattice) {
    const lw_bus *bus = lattice->bus;
    char text[LW_REPORT_TEXT_MAX];
    (void)snprintf(text, sizeof(text), "%s%s%.*s", lw_bus_state_name(bus->state),
                   bus->reason[0] == '\0' ? "" : ": ", LW_REPORT_TEXT_MAX - 64, bus->reason);
    if (strcmp(text, lattice->bus_told) != 0) {
        memcpy(lattice->bus_told, text, sizeof(text));
        lattice_note(lattice, "bus", 0, 0, "the bus is %s", text);
    }
}

/* State, reason or address of the bus is another. */
static void bus_changed(void *argument) {
    lw_lattice *lattice = argument;
    if (lattice->bus == NULL || lattice->stopping) {
        return;
    }
    lw_bus *bus = lattice->bus;
    note_bus(lattice);
    lw_bytes address = lw_text(bus->address);
    if (address.size > 0 && !lw_equal(lw_gossip_self(lattice->gossip)->bus_address, address)) {
        lw_gossip_set_bus_address(lattice->gossip, address, lattice_now_ms(lattice));
        lattice->unsaved = true;
        lattice_greet_all(lattice);
    }
    lattice_settle(lattice);
}

/* Those who use the lattice's next key are on a bus of their own. */
LW_YIELDS static void close_outdated_bus(lw_lattice *lattice) {
    lw_bus *bus = lattice->bus;
    lattice->bus_outdated = false;
    lattice->bus = NULL;
    lattice->bus_retry_ms = 0;
    if (bus != NULL) {
        lw_bus_close(bus);
    }
}

LW_YIELDS static void open_bus(lw_lattice *lattice) {
    static const char purpose[] = "lathwork bus 1";
    const lw_node_identity *identity = lattice->options.identity;
    lw_bus_options options = {.node = identity->node_id,
                              .incarnation = identity->incarnation,
                              .receive = heard,
                              .changed = bus_changed,
                              .argument = lattice};
    uint8_t salt[LW_DIGEST_SIZE];
    lw_digest(lw_text(purpose), salt);
    memcpy(options.lattice, identity->lattice.id, sizeof(options.lattice));
    lw_hkdf(salt, lw_view(identity->lattice.key, LW_SHARED_KEY_SIZE), 1, options.key);
    lw_bus *bus = NULL;
    lw_status status =
        lattice->options.open_bus(lattice->options.bus_argument, lattice->env, &options, &bus);
    lw_seal_wipe(options.key, sizeof(options.key));
    if (status != LW_OK) {
        lw_logline(lattice->env, LW_LEVEL_WARN, "there is no bus: shards do not move for balance",
                   "reason=\"%s\"", lw_error_slot()->text);
        lattice_note(lattice, "bus", 0, 0, "%s", lw_error_slot()->text);
        lattice->bus_retry_ms = lattice_now_ms(lattice) + BUS_RETRY_MS;
        return;
    }
    lattice->bus = bus;
    set_routes(lattice);
    bus_changed(lattice);
}

/* ---- what gossip wants --------------------------------------------------------------------------
 */

static void member_changed(lw_lattice *lattice, const lw_gossip_event *event) {
    lattice->unsaved = true;
    lattice->place_ms = 0;
    if (event->kind == LW_GOSSIP_STATE && event->state == LW_MEMBER_GONE) {
        lw_peers_unwatch(lattice->peers, event->node);
        lattice_part_soon(lattice);
    } else if (event->kind == LW_GOSSIP_JOINED) {
        lattice_meet(lattice, event->node);
    } else {
        lattice_link_member(lattice,
                            lw_members_find(lw_gossip_members(lattice->gossip), event->node));
    }
    set_routes(lattice);
}

/* What it means, of those events that need no more than a sentence. */
static void explain(const lw_lattice *lattice, const lw_gossip_event *event,
                    char text[LW_REPORT_TEXT_MAX]) {
    static const char *const words[] = {
        [LW_GOSSIP_QUIET] = "it is not heard on the bus any more",
        [LW_GOSSIP_HEARD] = "it is heard on the bus",
        [LW_GOSSIP_UNLINKED] = "the link to it broke",
        [LW_GOSSIP_LINKED] = "the link to it is up",
        [LW_GOSSIP_DEAD] = "it was not reached for too long: others get what it held",
        [LW_GOSSIP_COPIED] = "another node runs from a copy of its folder",
        [LW_GOSSIP_EXPELLED] = "it was taken out",
    };
    const lw_member *member = lw_members_find(lw_gossip_members(lattice->gossip), event->node);
    bool known = event->kind < sizeof(words) / sizeof(words[0]) && words[event->kind] != NULL;
    bool told = event->kind == LW_GOSSIP_JOINED || event->kind == LW_GOSSIP_CHANGED;
    if (known) {
        (void)snprintf(text, LW_REPORT_TEXT_MAX, "%s", words[event->kind]);
    } else if (told && member != NULL) {
        char address[LW_PRINTABLE_SIZE], bus[LW_PRINTABLE_SIZE];
        (void)snprintf(text, LW_REPORT_TEXT_MAX, "it is %s, at %s%s%s",
                       lw_member_state_name(event->state),
                       lw_printable(member->address, address, sizeof(address)),
                       member->bus_address.size > 0 ? ", its broker at " : "",
                       lw_printable(member->bus_address, bus, sizeof(bus)));
    } else {
        (void)snprintf(text, LW_REPORT_TEXT_MAX, "%s", lw_member_state_name(event->state));
    }
}

static void say_event(lw_lattice *lattice, const lw_gossip_event *event) {
    const char *name = lw_gossip_event_name(event->kind);
    if (event->kind == LW_GOSSIP_DISPUTED) {
        lattice_note(lattice, name, 0, event->shard,
                     "two descriptors of one epoch: please report this");
        lw_logline(lattice->env, LW_LEVEL_ERROR, "two descriptors of one epoch", "shard=%" PRIu64,
                   event->shard);
        return;
    }
    bool clock = event->kind == LW_GOSSIP_CLOCK_WRONG || event->kind == LW_GOSSIP_CLOCK_RIGHT;
    bool bad = event->kind == LW_GOSSIP_UNLINKED || event->kind == LW_GOSSIP_DEAD ||
               event->kind == LW_GOSSIP_CLOCK_WRONG;
    char label[LW_MEMBER_LABEL_SIZE];
    (void)lw_lattice_label(lattice, event->node, label);
    if (event->kind == LW_GOSSIP_RENAMED) {
        lattice_note(lattice, name, event->node, 0,
                     "another member had this node's name first: it is called %s now", label);
    } else if (clock) {
        char words[LW_MEMBER_CLOCK_SIZE];
        int64_t ahead_ms = lattice_clock_ahead(lattice, event->node);
        lattice_note(lattice, name, event->node, 0, "%s",
                     lw_member_clock_words(ahead_ms, lattice_company(lattice) == 1, words));
    } else {
        char text[LW_REPORT_TEXT_MAX];
        explain(lattice, event, text);
        lattice_note(lattice, name, event->node, 0, "%s", text);
    }
    lw_logline(lattice->env, bad ? LW_LEVEL_WARN : LW_LEVEL_INFO, "a node of the lattice",
               "node=%016" PRIx64 " name=%s change=\"%s\" state=%s", event->node, label, name,
               lw_member_state_name(event->state));
}

static void handle_event(lw_lattice *lattice, const lw_gossip_event *event) {
    say_event(lattice, event);
    switch (event->kind) {
    case LW_GOSSIP_JOINED:
    case LW_GOSSIP_CHANGED:
    case LW_GOSSIP_STATE:
        member_changed(lattice, event);
        break;
    case LW_GOSSIP_DEAD:
        LW_MARK(lattice->env, "lattice.dead");
        lattice->place_ms = 0;
        break;
    case LW_GOSSIP_LINKED:
        lattice->place_ms = 0;
        break;
    case LW_GOSSIP_QUIET:
        LW_MARK(lattice->env, "lattice.quiet");
        lattice_greet(lattice, event->node);
        break;
    case LW_GOSSIP_COPIED:
        LW_MARK(lattice->env, "lattice.copied");
        lattice_end(lattice, LW_REFUSED,
                    "another node runs with this node's identity, from a copy of its data "
                    "folder: stop one of them for good, and let it join anew with an "
                    "empty folder");
        break;
    case LW_GOSSIP_EXPELLED:
        LW_MARK(lattice->env, "lattice.expelled");
        lattice->unsaved = true;
        lattice_end(lattice, LW_REFUSED,
                    "this node was taken out of " LW_LATTICE_FOR_GOOD ": let it join anew "
                    "with an empty folder");
        break;
    case LW_GOSSIP_UNLINKED:
        LW_MARK(lattice->env, "lattice.unlinked");
        break;
    case LW_GOSSIP_RENAMED:
        LW_MARK(lattice->env, "lattice.renamed");
        lattice->unsaved = true;
        lattice_greet_all(lattice);
        break;
    case LW_GOSSIP_CLOCK_WRONG:
        LW_MARK(lattice->env, "lattice.clock_wrong");
        break;
    case LW_GOSSIP_CLOCK_RIGHT:
    case LW_GOSSIP_DISPUTED:
    case LW_GOSSIP_HEARD:
        break;
    }
}

LW_YIELDS static void lattice_main(void *argument);

void lattice_settle(lw_lattice *lattice) {
    lw_gossip_message message;
    lw_gossip_event event;
    if (lattice->peers == NULL || lattice->stopping) {
        return; /* before the start: lw_lattice_start begins with what is known */
    }
    while (lw_gossip_next_event(lattice->gossip, &event)) {
        handle_event(lattice, &event);
    }
    while (lw_gossip_next_message(lattice->gossip, &message)) {
        if (message.kind == LW_BUS_ASK) {
            LW_MARK(lattice->env, "gossip.asked");
        }
        if (lattice->bus != NULL) {
            lw_bus_publish(lattice->bus, message.kind, message.to, message.body);
        }
    }
    if (!lattice->running && lattice_company(lattice) > 0) {
        lattice->running = true;
        lw_env_start(lattice->env, "lattice", lattice_main, lattice);
    }
    lattice_wake(lattice);
}

/* ---- the fiber ----------------------------------------------------------------------------------
 */

static void know_own_shards(lw_lattice *lattice) {
    for (uint32_t index = 0; index < lw_shards_count(lattice->shards); index++) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(lw_shards_at(lattice->shards, index), &shard);
        lw_lattice_learned(lattice, &shard);
    }
}

static void look_after_shards(lw_lattice *lattice, uint64_t now_ms) {
    if (now_ms < lattice->place_ms) {
        return;
    }
    bool soon = LW_RARE(lattice->env, "lattice.looks_soon");
    lattice->place_ms = now_ms + (soon ? LATTICE_SOON_MS : LATTICE_PLACE_MS);
    lw_gossip_wall(lattice->gossip, lw_env_wall_ms(lattice->env), now_ms);
    lattice_place(lattice);
    lattice_learn_time(lattice, now_ms);
    lattice_ask(lattice);
    lattice_greet_next(lattice, now_ms);
    lattice_go_on_with_keys(lattice);
    lattice_tell_leads(lattice, now_ms);
    lattice_leave(lattice, now_ms);
}

LW_YIELDS static uint64_t save_if_needed(lw_lattice *lattice, uint64_t now_ms) {
    if (!lattice->unsaved || lattice_parting(lattice, now_ms) || lattice_save(lattice) == LW_OK) {
        return LW_GOSSIP_NEVER;
    }
    lw_logline(lattice->env, LW_LEVEL_WARN, "the file LATTICE could not be written",
               "reason=\"%s\"", lw_error_slot()->text);
    return now_ms + SAVE_RETRY_MS;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* One turn; when the next one is due. */
LW_YIELDS static uint64_t turn(lw_lattice *lattice) {
    if (lattice->bus_outdated) {
        close_outdated_bus(lattice);
    }
    uint64_t now_ms = lattice_now_ms(lattice);
    if (lattice->bus == NULL && lattice->options.open_bus != NULL &&
        now_ms >= lattice->bus_retry_ms) {
        open_bus(lattice);
        now_ms = lattice_now_ms(lattice);
    }
    if (lattice->stopping) {
        return 0;
    }
    look_after_shards(lattice, now_ms);
    lw_gossip_tick(lattice->gossip, now_ms);
    lattice_settle(lattice);
    uint64_t save_ms = save_if_needed(lattice, now_ms);
    bool gone = lw_gossip_self(lattice->gossip)->state == LW_MEMBER_GONE;
    if (gone && !lattice->unsaved && lw_gossip_deadline(lattice->gossip) == LW_GOSSIP_NEVER) {
        lattice_end(lattice, LW_OK,
                    "this node has left " LW_LATTICE_FOR_GOOD ", and holds nothing any more: "
                    "its data folder can be deleted");
    }
    save_ms = earlier(save_ms, lattice_part(lattice, now_ms));
    return earlier(earlier(save_ms, lattice->place_ms), lw_gossip_deadline(lattice->gossip));
}

LW_YIELDS static void end_company(lw_lattice *lattice) {
    if (lattice->bus != NULL) {
        lw_bus *bus = lattice->bus;
        lattice->bus = NULL;
        lw_bus_close(bus);
    }
    lw_free(lattice->memory, lattice->view);
    lattice->view = NULL;
}

static void lattice_main(void *argument) {
    lw_lattice *lattice = argument;
    lattice->view = lw_allocate(lattice->memory, sizeof(*lattice->view));
    know_own_shards(lattice);
    while (!lattice->stopping && (lattice_company(lattice) > 0 || lattice->unsaved)) {
        uint64_t due_ms = turn(lattice);
        if (!lattice->stopping && due_ms > lattice_now_ms(lattice)) {
            (void)lw_env_wait(lattice->env, &lattice->work, due_ms * LATTICE_NS_PER_MS);
        } else {
            lw_fiber_pass();
        }
    }
    (void)save_if_needed(lattice, 0);
    end_company(lattice);
    lattice->running = false;
    lw_queue_wake_all(&lattice->idle);
}

/* ---- opening and closing ------------------------------------------------------------------------
 */

static const char *copy_text(lw_memory *memory, const char *text) {
    const char *from = text == NULL ? "" : text;
    return (const char *)lw_copy(memory, lw_view(from, strlen(from) + 1)).data;
}

/* What the node was when it stopped: state and name. LW_REFUSED if it had left. */
static lw_status as_before(const lw_node_identity *identity, lw_bytes page, lw_member *self) {
    lw_reader reader = lw_reader_of(page);
    uint32_t count = page.size == 0 ? 0 : lw_read_array(&reader);
    self->state = LW_MEMBER_UP;
    for (uint32_t index = 0; index < count && lw_reader_ok(&reader); index++) {
        lw_member member;
        lw_bytes record = lw_read_bytes(&reader);
        if (lw_reader_ok(&reader) && lw_member_decode(record, &member) == LW_OK &&
            member.node == identity->node_id) {
            self->state = member.state;
            self->name = member.name;
            self->named = member.named;
        }
    }
    if (self->state == LW_MEMBER_GONE) {
        return lw_fail(LW_REFUSED,
                       "this node has left " LW_LATTICE_FOR_GOOD ": let it join anew with "
                       "an empty folder");
    }
    return LW_OK;
}

static lw_status open_gossip(lw_lattice *lattice, lw_bytes page) {
    const lw_lattice_options *options = &lattice->options;
    lw_gossip_options gossip = {
        .memory = lattice->memory,
        .identity = &options->identity->keys,
        .self = {.node = options->identity->node_id,
                 .incarnation = options->identity->incarnation,
                 .address = lw_text(options->address),
                 .zone = lw_text(options->zone),
                 .capacity = options->capacity},
        .grace_ms = options->dead_after_ms,
        .known = lw_env_known(lattice->env),
    };
#ifdef LW_SIMULATION
    gossip.bugs = lw_lattice_planted(lattice->env);
#endif
    memcpy(gossip.cluster_id, options->identity->lattice.id, sizeof(gossip.cluster_id));
    LW_TRY(as_before(options->identity, page, &gossip.self));
    lattice->gossip = lw_gossip_open(&gossip, lattice_now_ms(lattice));
    uint64_t now_ms = lattice_now_ms(lattice);
    if (page.size > 0) {
        LW_TRY(lw_gossip_learn(lattice->gossip, page, now_ms));
    }
    if (options->welcome.size > 0) {
        LW_TRY(lw_gossip_learn(lattice->gossip, options->welcome, now_ms));
    }
    LW_TRY(lw_gossip_set_name(lattice->gossip, lw_text(options->name), now_ms));
    lattice_say_keys(lattice);
    lattice->unsaved = lattice_company(lattice) > 0 || options->name[0] != '\0';
    return LW_OK;
}

static void free_all(lw_lattice *lattice) {
    lw_memory *memory = lattice->memory;
    if (lattice->gossip != NULL) {
        lw_gossip_close(lattice->gossip);
    }
    lattice_tracks_reset(lattice);
    lw_revoked_reset(&lattice->revoked);
    lw_buffer_reset(&lattice->ask_from);
    lw_free(memory, lattice->answered);
    lw_free(memory, lattice->events);
    lw_free(memory, (void *)(uintptr_t)lattice->options.directory);
    lw_free(memory, (void *)(uintptr_t)lattice->options.address);
    lw_free(memory, (void *)(uintptr_t)lattice->options.zone);
    lw_free(memory, (void *)(uintptr_t)lattice->options.name);
    lw_free(memory, lattice);
}

/* When it may be heard on the bus. If this is a copy of the folder of a node that runs, the first
 * member that it is linked to says so (node/peers_judge.c); would it speak before, that node would
 * hear of a later run of itself, and end in its place. */
static uint64_t first_bus_ms(const lw_lattice *lattice) {
    bool lone = lattice_company(lattice) == 0;
    return lone || LW_BUG(lattice->env, "lattice.speaks_at_once")
               ? 0
               : lattice_now_ms(lattice) + INTRODUCTION_MS;
}

lw_status lw_lattice_open(const lw_lattice_options *options, lw_lattice **lattice) {
    LW_ASSERT(options->ended != NULL);
    lw_memory *memory = options->env->memory;
    lw_lattice *opened = lw_allocate_zero(memory, sizeof(*opened));
    opened->ask_from = lw_buffer_in(memory);
    opened->env = options->env;
    opened->memory = memory;
    opened->options = *options;
    opened->options.directory = copy_text(memory, options->directory);
    opened->options.address = copy_text(memory, options->address);
    opened->options.zone = copy_text(memory, options->zone);
    opened->options.name = copy_text(memory, options->name);
    opened->tracks = lw_map_in(memory);
    opened->revoked = lw_revoked_in(memory);
    lw_buffer page = lw_buffer_in(memory), revoked = page;
    lw_status status = lattice_load(opened->env, opened->options.directory, &page, &revoked);
    if (status == LW_OK && revoked.size > 0) {
        status = lattice_learn_revoked(opened, lw_buffer_view(&revoked));
    }
    lw_buffer_reset(&revoked);
    if (status == LW_OK) {
        status = open_gossip(opened, lw_buffer_view(&page));
    }
    lw_buffer_reset(&page);
    if (status == LW_OK && (options->welcome.size > 0 || opened->options.name[0] != '\0')) {
        status = lattice_save(opened);
    }
    opened->options.welcome = (lw_bytes){0};
    if (status != LW_OK) {
        free_all(opened);
        return status;
    }
    opened->bus_retry_ms = first_bus_ms(opened);
    *lattice = opened;
    return LW_OK;
}

void lw_lattice_start(lw_lattice *lattice, lw_store *store, lw_shards *shards, lw_peers *peers) {
    LW_ASSERT(lattice->peers == NULL && !lattice->stopping);
    lattice->store = store;
    lattice->shards = shards;
    lattice->peers = peers;
    lattice_settle(lattice);
    lattice_go_on_with_keys(lattice);
}

void lw_lattice_stop(lw_lattice *lattice) {
    lattice->stopping = true;
    lattice_wake(lattice);
    while (lattice->running || lattice->job_count > 0 || lattice->saving) {
        lw_queue_wait(lattice->saving ? &lattice->saved : &lattice->idle);
    }
    lattice->store = NULL;
    lattice->shards = NULL;
    lattice->peers = NULL;
}

void lw_lattice_close(lw_lattice *lattice) {
    LW_ASSERT(!lattice->running && lattice->job_count == 0);
    free_all(lattice);
}

uint64_t lw_lattice_digest(const lw_lattice *lattice) {
    return lw_members_digest(lw_gossip_members(lattice->gossip));
}

uint64_t lw_lattice_handed(const lw_lattice *lattice) {
    return lattice->handed;
}

const char *lw_lattice_label(const lw_lattice *lattice, uint64_t node,
                             char label[LW_MEMBER_LABEL_SIZE]) {
    return lw_members_label(lw_gossip_members(lattice->gossip), node, label);
}

bool lw_lattice_names_differ(const lw_lattice *lattice) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    bool differ = true;
    for (uint32_t index = 0; index < members->count && differ; index++) {
        const lw_member *member = lw_members_at(members, index);
        differ = member->state == LW_MEMBER_GONE ||
                 (member->name.size > 0 && !lw_members_outnamed(members, member->node));
    }
    return differ;
}

bool lw_lattice_alone(const lw_lattice *lattice) {
    return lw_gossip_members(lattice->gossip)->count == 1;
}
