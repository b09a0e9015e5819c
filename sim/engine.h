/* SPDX-License-Identifier: Apache-2.0 */
/* A run of the storage engine alone (storage/engine.h), as a program has it that embeds it: fibers
 * write, read, hold snapshots, split and merge trees, copy them as files and take copies over,
 * while power fails and the disk does. The keeper boots it as it boots a node, trouble strikes it
 * as it strikes a node; what it shows is held against a model (sim/engine_model.h).
 *
 * Judged is
 * 1. After each restart the engine holds what a prefix of the writes made, with all in it that was
 *    told to be durable, and the trees that reshaping left; at each moment, what all of them made.
 * 2. A snapshot shows the same as long as it is open; versions are there for whoever may read them.
 * 3. A bundle that was made is whole after any crash, and damage in one is not taken over.
 * 4. Damage is told only where bits have rotted, and never served.
 * 5. Without faults it gets on; in the end the folder passes its check. */
#ifndef LW_SIM_ENGINE_H
#define LW_SIM_ENGINE_H

#include "sim/run.h"

enum { LW_SIM_ENGINE_MS = 6000 /* of trouble */ };

/* Draws what the run is like. */
void lw_sim_engine_begin(lw_sim_trial *it);
/* Starts the engine's process: the keeper's. */
void lw_sim_engine_boot(lw_sim_member *member, lw_env *env);
/* All phases. */
void lw_sim_engine_run(lw_sim_trial *it);
/* Whether damage is what is to be expected. */
bool lw_sim_engine_rotted(const lw_sim_trial *it);
void lw_sim_engine_end(lw_sim_trial *it);

#endif
