/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/scenario.h"

#include "sim/cores.h"
#include "sim/lore.h"

#define NETWORK_FAULTS                                                  \
    [LW_FAULT_CONNECTION_RESET] = true, [LW_FAULT_SLOW_SEGMENT] = true, \
    [LW_FAULT_SHORT_RECEIVE] = true, [LW_FAULT_CRASH_RESET] = true, [LW_FAULT_LATE_SEGMENT] = true
#define CLOCK_FAULTS                                                                           \
    [LW_FAULT_CLOCK_DRIFT] = true, [LW_FAULT_WALL_OFFSET] = true, [LW_FAULT_WALL_JUMP] = true, \
    [LW_FAULT_WALL_STUCK] = true
#define BUS_FAULTS                                                                       \
    [LW_FAULT_BUS_LOSS] = true, [LW_FAULT_BUS_TWICE] = true, [LW_FAULT_BUS_LATE] = true, \
    [LW_FAULT_BUS_SPOILT] = true, [LW_FAULT_BUS_AGAIN] = true
#define DISK_FAULTS                                                                            \
    [LW_FAULT_SYNC_ERROR] = true, [LW_FAULT_SYNC_STICKY] = true, [LW_FAULT_READ_ERROR] = true, \
    [LW_FAULT_WRITE_ERROR] = true, [LW_FAULT_FULL] = true, [LW_FAULT_SLOW_DISK] = true

const lw_scenario lw_scenarios[] = {
    {.name = "calm", .text = "nothing goes wrong"},
    {.name = "crash",
     .text = "power fails, processes die and stop, the network stalls and breaks",
     .faults = {NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 1500,
     .pause_every_ms = 4000,
     .cut_every_ms = 4000},
    {.name = "disk",
     .text = "as crash, and the disk fails, is slow, and fills up",
     .faults = {NETWORK_FAULTS, CLOCK_FAULTS, DISK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 3000,
     .pause_every_ms = 8000,
     .cut_every_ms = 8000,
     .full_percent = 30},
    {.name = "engine",
     .text = "the storage engine alone: power fails, the disk fails, fills up and rots",
     .faults = {DISK_FAULTS, [LW_FAULT_STALE_SECTOR] = true, [LW_FAULT_BIT_FLIP] = true},
     .crash_every_ms = 400,
     .full_percent = 15,
     .engine = true},
    {.name = "lattice",
     .text = "three nodes: power fails, processes die and stop, links and the bus stall and break",
     .node_count = 3,
     .faults = {NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 1500,
     .pause_every_ms = 4000,
     .cut_every_ms = 3000,
     .outage = true},
    {.name = "lattice-disk",
     .text = "as lattice, and disks fail, are slow, fill up, and one is lost for good",
     .node_count = 3,
     .faults = {BUS_FAULTS, NETWORK_FAULTS, CLOCK_FAULTS,
                DISK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 3000,
     .pause_every_ms = 8000,
     .cut_every_ms = 6000,
     .full_percent = 30,
     .lose_percent = 50,
     .outage = true},
    {.name = "lattice-moves",
     .text = "five nodes that drain, leave, and hand over shards and their lead, in trouble",
     .node_count = 5,
     .faults = {BUS_FAULTS, NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 3000,
     .pause_every_ms = 6000,
     .cut_every_ms = 4000,
     .operate_every_ms = 500,
     .lose_percent = 25,
     .outage = true},
    {.name = "lattice-storm",
     .text = "few seconds of elections: leaders are struck, wherever in the code they are",
     .node_count = 3,
     .node_min = 2,
     .faults = {NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 2000,
     .pause_every_ms = 4000,
     .cut_every_ms = 4000,
     .operate_every_ms = 400,
     .outage = true,
     .storm = true},
    {.name = "lattice-calm",
     .text = "three nodes, and nothing goes wrong but that a folder is copied",
     .node_count = 3,
     .node_min = 2,
     .copy_percent = 30},
    {.name = "lattice-rot",
     .text = "three nodes: bits rot in their tables and logs, also where nobody reads, and all of "
             "it is mended",
     .node_count = 3,
     .faults = {BUS_FAULTS, NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 5000,
     .pause_every_ms = 8000,
     .cut_every_ms = 8000,
     .rot_every_ms = 700},
    {.name = "shards",
     .text =
         "shards and their collector alone, without servers and clients: a storm, late messages, "
         "silent readers, or a bit that flips",
     .node_count = 3,
     .node_min = 3,
     .faults = {[LW_FAULT_CLOCK_DRIFT] = true,
                [LW_FAULT_STALE_SECTOR] = true,
                [LW_FAULT_BUS_LOSS] = true,
                [LW_FAULT_BUS_TWICE] = true,
                [LW_FAULT_BUS_LATE] = true},
     .crash_every_ms = 1500,
     .pause_every_ms = 2500,
     .cut_every_ms = 2000,
     .outage = true,
     .storm = true,
     .bare = true},
    {.name = "links",
     .text = "links between nodes alone, in hostile company: silence, strangers, old copies",
     .node_count = 4,
     .faults = {NETWORK_FAULTS, [LW_FAULT_CLOCK_DRIFT] = true},
     .links = true},
    {.name = "gossip",
     .text = "what nodes know of each other and of shards: machines alone, in hostile company",
     .node_min = 2,
     .faults =
         {[LW_FAULT_BUS_LOSS] = true, [LW_FAULT_BUS_TWICE] = true, [LW_FAULT_BUS_LATE] = true},
     .machines = lore_play},
    {.name = "raft",
     .text = "consensus alone, dozens of elections: cores without nodes, storage and clients",
     .machines = lw_cores_play},
    {.name = "rot",
     .text = "as crash, and bits rot on the disk: damage is found, never served",
     .faults = {NETWORK_FAULTS, [LW_FAULT_BIT_FLIP] = true},
     .crash_every_ms = 2000,
     .damage = true},
    {0},
};

const lw_scenario *lw_scenario_find(const char *name) {
    for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
        if (strcmp(one->name, name) == 0) {
            return one;
        }
    }
    return NULL;
}
