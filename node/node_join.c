/* SPDX-License-Identifier: Apache-2.0 */
/* Who a node is, and how it gets into a lattice.
 *
 * A folder that is started without --join founds a lattice; one that is started with it never does:
 * it is made for a node that belongs to none yet, which knocks at the members it was told of until
 * one takes it in. What it is told there, the lattice's key and the members, is durable before it
 * serves: first the key, then the members (node/lattice.h), so a crash in between leaves a node
 * that knocks once more, and does not start without that.
 *
 * Invariants
 * 1. One that does not answer keeps a newcomer from the next one for a second at first: it may be
 *    stopped, or a newcomer itself. Only then all are waited for longer, in turn. */
#include "node/node_state.h"

#include <stdio.h>

enum {
    JOIN_MS = 30 * 1000, /* for all attempts */
    ATTEMPT_MS = 1000,   /* of the first round, and twice as long in each later one, */
    ATTEMPT_MS_MAX = 8000,
    PAUSE_MS = 200,
};
#define NS_PER_MS UINT64_C(1000000)

static LW_YIELDS lw_status open_once(lw_node *node) {
    const char *directory = node->options.directory;
    return node->options.join == NULL
               ? lw_identity_open(node->env, directory, &node->identity)
               : lw_identity_open_to_join(node->env, directory, &node->identity);
}

lw_status node_open_identity(lw_node *node) {
    /* A node starts on a full disk too, so that something can be deleted. */
    lw_status status = open_once(node);
    if (status == LW_FULL && lw_reserve_spend(lw_store_reserve(node->store))) {
        status = open_once(node);
    }
    return status;
}

/* ---- knocking ------------------------------------------------------------------------------- */

/* The next of the addresses in a list with commas; false at its end. */
static bool next_address(const char **list, char address[LW_ADDRESS_SIZE]) {
    size_t size = strcspn(*list, ",");
    if (size == 0) {
        return false;
    }
    (void)snprintf(address, LW_ADDRESS_SIZE, "%.*s", (int)size, *list);
    *list += size + ((*list)[size] == ',' ? 1 : 0);
    return true;
}

/* Asks each member once, until one takes the node in: who refuses may have heard of less than
 * others, of the lattice's key say. LW_UNAVAILABLE: none of them answers. */
static LW_YIELDS lw_status knock(lw_node *node, const lw_token *token, uint64_t attempt_ms,
                                 uint64_t until_ns, lw_peers_welcome *welcome) {
    char address[LW_ADDRESS_SIZE];
    lw_status status = lw_fail(LW_UNAVAILABLE, "no address is another node's");
    lw_error refusal = {.status = LW_OK};
    lw_node_identity newcomer =
        node->identity; /* it may have been taken in, and not know by whom */
    memset(&newcomer.lattice, 0, sizeof(newcomer.lattice));
    for (const char *list = node->options.join; next_address(&list, address);) {
        uint64_t end_ns = lw_env_now(node->env) + attempt_ms * NS_PER_MS;
        if (strcmp(address, node->address) == 0) {
            continue;
        }
        lw_buffer_clear(&welcome->members);
        status = lw_peers_join(node->env, address, token, &newcomer, node->address,
                               end_ns < until_ns ? end_ns : until_ns, welcome);
        if (status == LW_REFUSED && refusal.status == LW_OK) {
            refusal = *lw_error_slot();
        } else if (status != LW_UNAVAILABLE && status != LW_REFUSED) {
            break;
        }
    }
    lw_seal_wipe(&newcomer, sizeof(newcomer));
    bool refused = refusal.status != LW_OK && (status == LW_UNAVAILABLE || status == LW_REFUSED);
    return refused ? lw_fail(LW_REFUSED, "%s", refusal.text) : status;
}

static void tell_of_waiting(const lw_node *node) {
    char join[LW_PRINTABLE_SIZE], reason[LW_ERROR_TEXT_SIZE];
    lw_logline(node->env, LW_LEVEL_WARN, "nobody takes the node in yet: it goes on asking",
               "join=\"%s\" for_ms=%d reason=\"%s\"",
               lw_printable(lw_text(node->options.join), join, sizeof(join)), JOIN_MS,
               lw_printable(lw_text(lw_error_slot()->text), reason, sizeof(reason)));
}

static LW_YIELDS lw_status knock_until_heard(lw_node *node, const lw_token *token,
                                             lw_peers_welcome *welcome) {
    uint64_t until_ns = lw_env_now(node->env) + JOIN_MS * NS_PER_MS;
    uint64_t attempt_ms =
        LW_BUG(node->env, "node.waits_for_the_silent") ? ATTEMPT_MS_MAX : ATTEMPT_MS;
    lw_status status;
    bool told = false;
    while ((status = knock(node, token, attempt_ms, until_ns, welcome)) == LW_UNAVAILABLE &&
           lw_env_now(node->env) + PAUSE_MS * NS_PER_MS < until_ns) {
        attempt_ms = attempt_ms < ATTEMPT_MS_MAX ? 2 * attempt_ms : ATTEMPT_MS_MAX;
        if (!told) {
            tell_of_waiting(node);
            told = true;
        }
        lw_env_sleep(node->env, PAUSE_MS * NS_PER_MS);
    }
    return status;
}

/* Before the node belongs to them: else it would come back under a name of its own. */
static lw_status check_name(const lw_node *node, lw_bytes members) {
    lw_reader reader = lw_reader_of(members);
    uint32_t count = lw_read_array(&reader);
    lw_bytes name = lw_text(node->options.name == NULL ? "" : node->options.name);
    for (uint32_t index = 0; index < count && name.size > 0 && lw_reader_ok(&reader); index++) {
        lw_member member;
        lw_bytes record = lw_read_bytes(&reader);
        if (lw_reader_ok(&reader) && lw_member_decode(record, &member) == LW_OK &&
            member.node != node->identity.node_id && member.state != LW_MEMBER_GONE &&
            lw_equal(member.name, name)) {
            return lw_member_name_taken(&member);
        }
    }
    return LW_OK;
}

static LW_YIELDS lw_status take_welcome(lw_node *node, const lw_peers_welcome *welcome) {
    if (node->identity.lattice.epoch == 0) {
        LW_TRY(check_name(node, lw_buffer_view(&welcome->members)));
        LW_TRY(lw_identity_adopt(node->env, node->options.directory, &welcome->lattice,
                                 &node->identity));
    } else if (lw_identity_key(&node->identity, welcome->lattice.epoch) == NULL) {
        LW_MARK(node->env, "node.came_back_by_token");
        LW_TRY(lw_identity_set_keys(node->env, node->options.directory, &welcome->lattice, NULL, 0,
                                    &node->identity));
    }
    lw_buffer_append(&node->welcome, lw_buffer_view(&welcome->members));
    return LW_OK;
}

/* Who names only itself would wait for itself. */
static lw_status check_join(const lw_node *node) {
    char address[LW_ADDRESS_SIZE];
    for (const char *list = node->options.join; next_address(&list, address);) {
        if (strcmp(address, node->address) != 0) {
            return LW_OK;
        }
    }
    return lw_fail(LW_INVALID_ARGUMENT,
                   "--join %s names this node itself: it takes the address of another one, which "
                   "is a member already",
                   node->options.join);
}

static lw_status read_token(const lw_node_options *options, lw_token *token) {
    if (options->token == NULL) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "to join a lattice a node needs a token: make one in a member's folder with "
                       "lathwork token --data DIR, and start this one with --token-file FILE");
    }
    return lw_token_parse(lw_text(options->token), token);
}

lw_status lw_node_may_join(const lw_node_options *options) {
    lw_token token;
    lw_status status = read_token(options, &token);
    lw_seal_wipe(&token, sizeof(token));
    return status;
}

static lw_status check_token(const lw_node *node, lw_token *token) {
    LW_TRY(read_token(&node->options, token));
    const lw_shared_key *own = &node->identity.lattice;
    if (own->epoch != 0 && memcmp(own->id, token->cluster_id, sizeof(own->id)) != 0) {
        return lw_fail(LW_REFUSED,
                       "the folder %s belongs to another lattice than the token: start "
                       "it without --join, or give the new node an empty folder",
                       node->options.directory);
    }
    return LW_OK;
}

/* A folder belongs to a lattice once and for all. One that was started alone by mistake is told
 * from one that has joined, or was joined, by having no company. */
static LW_YIELDS lw_status stay(const lw_node *node, bool alone) {
    lw_token token;
    if (node->options.token != NULL &&
        lw_token_parse(lw_text(node->options.token), &token) == LW_OK) {
        return check_token(node, &token);
    }
    if (alone) {
        return lw_fail(LW_REFUSED,
                       "the folder %s belongs to a lattice of its own: start it without --join, or "
                       "give the new node an empty folder",
                       node->options.directory);
    }
    return LW_OK;
}

/* Whether the lattice's key was changed while this member was away: its token is of a later one. */
static bool was_left_behind(const lw_node *node) {
    lw_token token;
    const lw_shared_key *own = &node->identity.lattice;
    bool behind = own->epoch != 0 && node->options.token != NULL &&
                  lw_token_parse(lw_text(node->options.token), &token) == LW_OK &&
                  memcmp(own->id, token.cluster_id, sizeof(own->id)) == 0 &&
                  token.key_epoch > own->epoch &&
                  lw_identity_key(&node->identity, token.key_epoch) == NULL;
    lw_seal_wipe(&token, sizeof(token));
    return behind;
}

/* It was taken in, and ended before it had written down by whom: alone it would know nobody, and be
 * known by nobody. */
static lw_status knock_once_more(const lw_node *node) {
    return lw_fail(
        LW_REFUSED,
        "the folder %s belongs to a lattice, and the node was stopped before it knew who "
        "else does: start it once more with --join and --token-file",
        node->options.directory);
}

lw_status node_join(lw_node *node) {
    bool belongs = node->identity.lattice.epoch != 0;
    bool founded = lw_identity_founded(&node->identity);
    bool knows = lw_lattice_knows_others(node->env, node->options.directory);
    if (node->options.join == NULL) {
        return belongs && !founded && !knows ? knock_once_more(node) : LW_OK;
    }
    if (belongs && (founded || knows) && !was_left_behind(node)) {
        return stay(node, founded && !knows);
    }
    lw_token token;
    lw_peers_welcome welcome = {.members = lw_buffer_in(node->env->memory)};
    lw_status status = check_join(node);
    status = status == LW_OK ? check_token(node, &token) : status;
    if (status == LW_OK) {
        status = knock_until_heard(node, &token, &welcome);
    }
    if (status == LW_OK) {
        status = take_welcome(node, &welcome);
    }
    lw_seal_wipe(&token, sizeof(token));
    lw_seal_wipe(&welcome.lattice, sizeof(welcome.lattice));
    lw_buffer_reset(&welcome.members);
    return status;
}
