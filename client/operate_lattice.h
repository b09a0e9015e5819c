/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask about a lattice and tell it: its members, what happened, what is about to
 * move, and who is to hold a shard. For the command line. */
#ifndef LW_OPERATE_LATTICE_H
#define LW_OPERATE_LATTICE_H

#include "base/fiber.h"
#include "client/lathwork.h"
#include "lattice/member.h"
#include "lattice/message.h"
#include "lattice/report.h"

/* Visits the members as the asked node knows them, tombstones too. Views live during the call. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_nodes(
    lw_client *client, void (*visit)(void *argument, const lw_member_row *row), void *argument);
/* Visits the events of the asked node that come behind number `after`, oldest first. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_events(lw_client *client, uint64_t after,
                                                  void (*visit)(void *argument,
                                                                const lw_event_row *row),
                                                  void *argument);
/* Visits the next step of each shard that the asked node leads. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_plan(
    lw_client *client, void (*visit)(void *argument, const lw_plan_row *row), void *argument);
/* Empties a node, or lets it fill again. Returns once it knows. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_drain(lw_client *client, uint64_t node, bool on);
/* Takes a node out for ever; `force`: one that is lost. Returns once that is known. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_leave(lw_client *client, uint64_t node, bool force);
/* Has `node` hold the shard that begins at `start` in the place of `leaves`, step by step. Returns
 * when it does; when the deadline passes before, what was begun stands. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_move(lw_client *client, lw_bytes start, uint64_t node,
                                                uint64_t leaves);
/* Has the leader of the shard that begins at `start` hand over to `node`. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_transfer(lw_client *client, lw_bytes start,
                                                    uint64_t node);
/* Has the right neighbour of the shard that begins at `start` become part of it: `right`, or
 * whichever it is (0). */
LW_MUST_USE LW_YIELDS lw_status lw_operate_merge(lw_client *client, lw_bytes start, uint64_t right);

/* Visits the tokens that the asked node knows of. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_tokens(
    lw_client *client, void (*visit)(void *argument, const lw_token_row *row), void *argument);
/* Has a token let nobody in any more; visits the members, with whether they know by now. */
LW_MUST_USE LW_YIELDS lw_status
lw_operate_revoke(lw_client *client, const lw_revoke_request *request,
                  void (*visit)(void *argument, uint64_t node, bool knows), void *argument);

/* Has the lattice's key changed, to one of `*epoch`. Returns once the asked node has it. */
LW_MUST_USE LW_YIELDS lw_status lw_operate_rotate(lw_client *client, uint64_t *epoch);

#endif
