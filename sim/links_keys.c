/* SPDX-License-Identifier: Apache-2.0 */
/* The lattice's key is changed in scenario links, as node/lattice_keys.c does it: each node goes
 * from one state to the next whenever it likes, and not before all others may follow. */
#include "sim/links.h"

enum { STEP_PERCENT = 2 }; /* of the looks at a node that may go on */

static uint32_t least_state(const lw_sim_links *of) {
    uint32_t least = LINKS_KEY_FORGOTTEN;
    for (uint32_t place = 0; place < of->node_count; place++) {
        least = of->nodes[place].key_state < least ? of->nodes[place].key_state : least;
    }
    return least;
}

static void new_key(const lw_sim_links *of, lw_shared_key *key) {
    *key = of->key;
    key->epoch++;
    memset(key->key, 9 + (int)key->epoch, sizeof(key->key));
}

void links_put_keys(links_node *node) {
    lw_node_identity *identity = &node->identity;
    lw_shared_key before = node->of->key, next;
    new_key(node->of, &next);
    bool uses = node->key_state >= LINKS_KEY_USED;
    identity->lattice = uses ? next : before;
    identity->others[0] = uses ? before : next;
    identity->other_count =
        node->key_state == LINKS_KEY_ACCEPTED || node->key_state == LINKS_KEY_USED;
}

void links_newest_key(const lw_sim_links *of, lw_shared_key *key) {
    *key = of->key;
    for (uint32_t place = 0; place < of->node_count; place++) {
        if (of->nodes[place].key_state >= LINKS_KEY_USED) {
            new_key(of, key);
            return;
        }
    }
}

static void go_on(links_node *node) {
    node->key_state++;
    links_put_keys(node);
    if (node->key_state == LINKS_KEY_FORGOTTEN) {
        lw_peers_end_old_links(node->peers);
    }
}

void links_change_keys(lw_sim_links *of) {
    for (uint32_t place = 0; place < of->node_count; place++) {
        links_node *node = &of->nodes[place];
        bool may =
            links_up(node) && lw_host_paused_until(node->host) <= lw_world_now(of->of->world);
        if (may && node->key_state < LINKS_KEY_FORGOTTEN && node->key_state <= least_state(of) &&
            lw_chance_percent(&of->of->keeping, STEP_PERCENT)) {
            go_on(node);
        }
    }
    if (least_state(of) == LINKS_KEY_FORGOTTEN) {
        lw_shared_key next;
        new_key(of, &next);
        of->key = next;
        for (uint32_t place = 0; place < of->node_count; place++) {
            of->nodes[place].key_state = LINKS_KEY_BEFORE;
        }
    }
}
