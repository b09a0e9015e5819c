/* SPDX-License-Identifier: Apache-2.0 */
#include "client/contacts.h"

lw_contacts lw_contacts_in(lw_env *env, lw_bytes label) {
    return (lw_contacts){.env = env, .label = label};
}

void lw_contacts_reset(lw_contacts *contacts) {
    lw_memory *memory = contacts->env->memory;
    for (uint32_t index = 0; index < contacts->count; index++) {
        lw_link_reset(&contacts->all[index]->link);
        lw_free(memory, contacts->all[index]);
    }
    lw_free(memory, contacts->all);
    contacts->all = NULL;
    contacts->count = contacts->capacity = 0;
}

void lw_contacts_abandon(lw_contacts *contacts) {
    for (uint32_t index = 0; index < contacts->count; index++) {
        lw_link_abandon(&contacts->all[index]->link);
    }
    contacts->session = 0;
}

/* ---- finding -------------------------------------------------------------------------------- */

static lw_contact *in_use(lw_contact *contact) {
    return contact->alias != NULL ? contact->alias : contact;
}

static lw_contact *find(const lw_contacts *contacts, lw_bytes address) {
    for (uint32_t index = 0; index < contacts->count; index++) {
        if (lw_equal(lw_text(contacts->all[index]->link.address), address)) {
            return contacts->all[index];
        }
    }
    return NULL;
}

static bool is_address(lw_bytes address) {
    return address.size > 0 && address.size < LW_ADDRESS_SIZE &&
           memchr(address.data, ':', address.size) != NULL &&
           memchr(address.data, 0, address.size) == NULL;
}

lw_contact *lw_contacts_at(lw_contacts *contacts, lw_bytes address) {
    lw_contact *found = find(contacts, address);
    if (found != NULL) {
        return in_use(found);
    }
    if (contacts->count == LW_CONTACT_COUNT_MAX || !is_address(address)) {
        return NULL;
    }
    if (contacts->count == contacts->capacity) {
        contacts->capacity = contacts->capacity == 0 ? 4 : 2 * contacts->capacity;
        contacts->all = lw_reallocate(contacts->env->memory, contacts->all,
                                      contacts->capacity * sizeof(lw_contact *));
    }
    char text[LW_ADDRESS_SIZE] = {0};
    memcpy(text, address.data, address.size);
    lw_contact *made = lw_allocate_zero(contacts->env->memory, sizeof(*made));
    lw_link_init(&made->link, contacts->env, text, contacts->label);
    contacts->all[contacts->count++] = made;
    return made;
}

lw_contact *lw_contacts_of(const lw_contacts *contacts, uint64_t node) {
    lw_contact *best = NULL;
    for (uint32_t index = 0; index < contacts->count && node != 0; index++) {
        lw_contact *one = contacts->all[index];
        if (one->node == node && (best == NULL || one->failed < best->failed)) {
            best = one;
        }
    }
    return best == NULL ? NULL : in_use(best);
}

void lw_contacts_learn(lw_contacts *contacts, uint64_t node, lw_bytes address) {
    lw_contact *known = lw_contacts_of(contacts, node);
    if (known != NULL && known->failed == 0) {
        return; /* it can be reached, be it under another address */
    }
    lw_contact *contact = lw_contacts_at(contacts, address);
    if (contact != NULL && !lw_handle_valid(contact->link.socket)) {
        contact->node = node;
    }
}

uint64_t lw_contacts_retention_ms(const lw_contacts *contacts) {
    uint64_t shortest = 0;
    for (uint32_t index = 0; index < contacts->count; index++) {
        uint64_t said = contacts->all[index]->link.retention_ms;
        shortest = said != 0 && (shortest == 0 || said < shortest) ? said : shortest;
    }
    return shortest;
}

/* ---- choosing ------------------------------------------------------------------------------- */

static bool holds_replica(const lw_shard_descriptor *shard, uint64_t node) {
    for (uint32_t index = 0; shard != NULL && index < shard->replica_count; index++) {
        if (shard->replicas[index].node == node) {
            return true;
        }
    }
    return false;
}

/* Whether `one` is to be asked rather than `other`. */
static bool better(const lw_contact *one, const lw_contact *other, const lw_shard_descriptor *shard,
                   uint64_t since) {
    bool one_tried = one->failed > since, other_tried = other->failed > since;
    if (one_tried != other_tried) {
        return other_tried;
    }
    bool one_there = lw_handle_valid(one->link.socket);
    bool other_there = lw_handle_valid(other->link.socket);
    if (one_there != other_there && !one_tried) {
        return one_there;
    }
    bool one_holds = holds_replica(shard, one->node);
    bool other_holds = holds_replica(shard, other->node);
    if (one_holds != other_holds && !one_tried) {
        return one_holds;
    }
    return one->failed < other->failed;
}

static lw_contact *leader_of(lw_contacts *contacts, const lw_shard_descriptor *shard) {
    lw_contact *leader = lw_contacts_of(contacts, shard->leader);
    if (leader == NULL && shard->leader_address.size > 0) {
        leader = lw_contacts_at(contacts, shard->leader_address);
    }
    return leader;
}

lw_contact *lw_contacts_choose(lw_contacts *contacts, const lw_shard_descriptor *shard,
                               uint64_t since) {
    LW_ASSERT(contacts->count > 0);
    if (contacts->count == 1) {
        return contacts->all[0];
    }
    lw_contact *best = shard == NULL ? NULL : leader_of(contacts, shard);
    if (best != NULL && best->broken <= since) {
        return best;
    }
    best = NULL;
    for (uint32_t index = 0; index < contacts->count; index++) {
        lw_contact *one = contacts->all[index];
        LW_ASSERT(one != NULL);
        if (one->alias == NULL && (best == NULL || better(one, best, shard, since))) {
            best = one;
        }
    }
    LW_ASSERT(best != NULL);
    return best;
}

bool lw_contacts_untried(const lw_contacts *contacts, uint64_t since, uint64_t began) {
    for (uint32_t index = 0; index < contacts->count; index++) {
        const lw_contact *one = contacts->all[index];
        if (one->alias == NULL && one->failed <= since && one->broken <= began) {
            return true;
        }
    }
    return false;
}

/* ---- using ---------------------------------------------------------------------------------- */

void lw_contacts_prepare(lw_contacts *contacts, lw_contact *contact) {
    while (contacts->session == 0) {
        lw_env_entropy(contacts->env, &contacts->session, sizeof(contacts->session));
    }
    contact->link.session = contacts->session;
}

void lw_contacts_greeted(lw_contacts *contacts, lw_contact *contact) {
    if (contact->link.node == 0 || contact->link.node == contact->node) {
        return;
    }
    contact->node = contact->link.node;
    for (uint32_t index = 0; index < contacts->count; index++) {
        lw_contact *other = contacts->all[index];
        if (other == contact || other->node != contact->node) {
            continue;
        }
        if (other->alias == NULL && lw_handle_valid(other->link.socket)) {
            LW_MARK(contacts->env, "client.two_addresses_of_a_node");
            lw_link_abandon(&other->link); /* the node has cut it off already */
        }
        other->alias = contact;
    }
}

void lw_contacts_fail(lw_contacts *contacts, lw_contact *contact, bool broken) {
    contact->failed = ++contacts->failures;
    if (!broken) {
        return;
    }
    contact->broken = contact->failed;
    for (uint32_t index = 0; index < contacts->count; index++) {
        if (contacts->all[index]->alias == contact) {
            contacts->all[index]->alias = NULL; /* it may be reached there again */
        }
    }
}
