/* SPDX-License-Identifier: Apache-2.0 */
/* The bank of planted bugs: in which scenario the simulator finds each, for `make sim-bugs`
 * (tests/sim_bugs.py reads this file), and from which seed on tests/test_sim_bugs.c looks for it:
 * one that found it when it was last looked; 0: it takes too many. */
#ifndef LW_PLANTED_BUGS_H
#define LW_PLANTED_BUGS_H

/* X(bug, scenario, seed) */
#define LW_PLANTED_BUGS(X)                                           \
    X("bundle.no_sync", "engine", 2)                                 \
    X("client.asks_behind_the_bound", "calm", 2)                     \
    X("client.doubt_is_failure", "crash", 3)                         \
    X("directory.dispute_merged", "gossip", 4)                       \
    X("directory.last_entry_stands", "gossip", 1)                    \
    X("engine.flush_before_log", "engine", 7)                        \
    X("file.no_directory_sync", "crash", 3)                          \
    X("gc.collects_before_all_settled", "shards", 96)                \
    X("gc.locks_left", "calm", 50)                                   \
    X("gc.new_leader_forgets_floor", "shards", 288)                  \
    X("gc.one_note_for_all_readers", "shards", 36)                   \
    X("gc.passes_pins", "calm", 5)                                   \
    X("gc.pins_await_the_walk", "shards", 1)                         \
    X("gc.read_below_the_safepoint", "calm", 5)                      \
    X("gc.readers_have_no_lease", "shards", 2)                       \
    X("gc.unasked_shard_ignored", "shards", 13)                      \
    X("gossip.clock_believed", "gossip", 1)                          \
    X("gossip.expiry_ignored", "gossip", 12)                         \
    X("gossip.names_shared", "gossip", 5)                            \
    X("gossip.never_asks", "gossip", 2)                              \
    X("gossip.overtaken_stay_so", "gossip", 256)                     \
    X("gossip.sender_unchecked", "gossip", 4)                        \
    X("gossip.silence_is_death", "gossip", 3)                        \
    X("gossip.words_are_links", "gossip", 10)                        \
    X("group.ack_before_fsync", "lattice-storm", 11)                 \
    X("group.applies_otherwise", "lattice-storm", 2)                 \
    X("group.apply_uncommitted", "lattice", 1)                       \
    X("group.digests_not_compared", "shards", 28)                    \
    X("group.forgets_what_came_meanwhile", "lattice-rot", 1)         \
    X("group.start_unnoted", "shards", 700)                          \
    X("group.vote_not_persisted", "lattice-storm", 2)                \
    X("identity.keys_unsaved", "lattice-moves", 4)                   \
    X("ingest.no_directory_sync", "engine", 44)                      \
    X("ingest.not_verified", "engine", 25)                           \
    X("lattice.expelled_by_itself", "lattice-moves", 16)             \
    X("lattice.revoked_is_let_in", "lattice", 13)                    \
    X("lattice.speaks_at_once", "lattice-calm", 22)                  \
    X("log.ack_before_durable", "disk", 18)                          \
    X("log.ignore_durable_mark", "rot", 13)                          \
    X("log.no_directory_sync", "disk", 2)                            \
    X("log.no_generation", "engine", 161)                            \
    X("log.recycle_too_early", "engine", 12)                         \
    X("member.anyone_signs", "gossip", 5)                            \
    X("member.gone_comes_back", "gossip", 5)                         \
    X("member.last_record_stands", "gossip", 2)                      \
    X("merge.before_all_froze", "shards", 6)                         \
    X("merge.marks_not_raised", "shards", 11)                        \
    X("merge.readers_not_awaited", "shards", 242)                    \
    X("merge.reads_while_frozen", "shards", 4)                       \
    X("merge.sweeper_not_awaited", "shards", 141)                    \
    X("merge.tombstone_drops_data", "shards", 22)                    \
    X("merge.unfreeze_unasked", "shards", 6)                         \
    X("node.kill_believes_any_mark", "shards", 502)                  \
    X("node.kill_looks_at_nothing", "lattice-storm", 50)             \
    X("node.kill_waits_for_nothing", "shards", 2)                    \
    X("peers.old_copy_let_in", "links", 1)                           \
    X("peers.plain_for_anyone", "links", 1)                          \
    X("peers.seeks_nobody", "links", 2)                              \
    X("peers.silence_believed", "links", 23)                         \
    X("peers.stale_link_awaited", "links", 219)                      \
    X("peers.strangers_unbounded", "links", 9)                       \
    X("placement.all_must_be_seen", "gossip", 12)                    \
    X("placement.even_voters", "gossip", 1)                          \
    X("placement.laggards_are_healthy", "gossip", 1)                 \
    X("placement.neighbours_apart", "gossip", 37)                    \
    X("placement.quorum_ignored", "gossip", 10)                      \
    X("placement.room_awaited", "gossip", 132)                       \
    X("raft.any_log_elected", "raft", 2)                             \
    X("raft.changes_early", "raft", 5)                               \
    X("raft.commit_unverified", "raft", 4)                           \
    X("raft.config_kept", "raft", 2)                                 \
    X("raft.cut_always", "raft", 3)                                  \
    X("raft.cuts_ignored", "raft", 4)                                \
    X("raft.gone_amid_install", "raft", 151)                         \
    X("raft.gone_believed", "raft", 45)                              \
    X("raft.joins_behind", "raft", 1)                                \
    X("raft.learners_counted", "raft", 1)                            \
    X("raft.lease_from_answer", "raft", 64)                          \
    X("raft.lease_in_transfer", "raft", 2)                           \
    X("raft.lease_without_drift", "raft", 18)                        \
    X("raft.made_anew_votes", "raft", 90)                            \
    X("raft.old_handover", "raft", 149)                              \
    X("raft.old_term_counted", "raft", 2)                            \
    X("raft.one_set_counted", "raft", 56)                            \
    X("raft.read_early", "raft", 1)                                  \
    X("raft.read_unconfirmed", "raft", 11)                           \
    X("raft.stays_unheard", "raft", 16)                              \
    X("raft.unpersisted_entries", "raft", 1)                         \
    X("raft.unsaved_vote", "raft", 1)                                \
    X("raft.votes_after_restart", "raft", 119)                       \
    X("raft.votes_freely", "raft", 5)                                \
    X("replica.forgets_what_it_forgot", "shards", 288)               \
    X("replica.intents_not_watched", "shards", 6)                    \
    X("replica.late_lock_given", "shards", 1)                        \
    X("replica.leadership_unchecked", "lattice-storm", 2)            \
    X("replica.leftovers_not_asked_for", "shards", 6)                \
    X("replica.lock_reads_in_the_past", "lattice-storm", 8)          \
    X("replica.locked_by_who_led", "shards", 1141)                   \
    X("replica.locks_outlive_leadership", "lattice-storm", 3)        \
    X("replica.marks_of_before", "lattice-storm", 1)                 \
    X("replica.reads_unconfirmed", "shards", 29)                     \
    X("replica.rotten_counts_as_refused", "lattice-rot", 5)          \
    X("replica.rotten_newcomer_left_so", "lattice-disk", 19)         \
    X("replica.too_few_voters", "lattice-storm", 31)                 \
    X("replica.voters_unheard", "shards", 1)                         \
    X("reserve.stop_ignored", "engine", 19)                          \
    X("scrub.skips_checksums", "lattice-rot", 18)                    \
    X("server.session_waits_for_requests", "calm", 1)                \
    X("server.silence_unnoticed", "calm", 7)                         \
    X("shard.child_without_locks", "calm", 1)                        \
    X("shard.read_while_given_away", "shards", 22)                   \
    X("shard.route_unchecked", "calm", 2)                            \
    X("shard.split_without_latch", "calm", 5)                        \
    X("shards.damaged_anew_unheard", "lattice-disk", 58)             \
    X("shards.gone_before_its_tombstone", "shards", 56)              \
    X("shards.hearsay_of_leaders", "shards", 7)                      \
    X("shards.hint_insisted_on", "shards", 79)                       \
    X("shards.old_removal_believed", "shards", 1)                    \
    X("shards.only_leader_asked", "shards", 202)                     \
    X("shards.only_peers_asked", "shards", 168)                      \
    X("shards.orphan_waits_on", "shards", 17)                        \
    X("shards.overlap_ignored", "lattice", 2)                        \
    X("shards.set_aside_for_ever", "shards", 98)                     \
    X("shards.snapshot_of_before", "shards", 23)                     \
    X("shards.tombstone_ignored", "shards", 168)                     \
    X("snapshot.never_makes_way", "shards", 104)                     \
    X("snapshot.sent_for_nothing", "shards", 104)                    \
    X("store.clip_ignored", "calm", 1)                               \
    X("store.drop_hider_early", "calm", 22)                          \
    X("store.drop_tombstone_early", "calm", 5)                       \
    X("store.flush_index_before_table", "disk", 8)                   \
    X("store.need_not_looked_at_again", "engine", 521)               \
    X("store.newest_of_anything", "calm", 1)                         \
    X("store.no_directory_sync", "crash", 1)                         \
    X("store.numbers_go_back", "engine", 106)                        \
    X("store.safepoint_passed", "engine", 2)                         \
    X("store.slice_without_rest", "engine", 1)                       \
    X("store.snapshot_ignored", "engine", 1)                         \
    X("store.unlink_before_catalog", "disk", 1)                      \
    X("store.unlink_shared", "engine", 1)                            \
    X("table.no_checksum", "engine", 111)                            \
    X("timestamps.begun_by_wall_clock", "lattice-storm", 9)          \
    X("timestamps.ceiling_left_high", "lattice-calm", 82)            \
    X("timestamps.gives_what_it_fetches", "shards", 7)               \
    X("timestamps.oracle_serves_without_lease", "lattice-storm", 29) \
    X("timestamps.stale_cached_timestamp", "lattice-moves", 8)       \
    X("timestamps.time_not_asked", "lattice-storm", 6)               \
    X("txn.apply_before_durable", "crash", 16)                       \
    X("txn.ceiling_not_durable", "shards", 34)                       \
    X("txn.check_ignores_expiry", "calm", 17)                        \
    X("txn.commit_without_lock", "crash", 16)                        \
    X("txn.expired_by_the_clock", "calm", 6)                         \
    X("txn.expiring_dropped_early", "calm", 25)                      \
    X("txn.expiry_not_validated", "calm", 4)                         \
    X("txn.fallback_kept_async", "calm", 2)                          \
    X("txn.floor_lost", "crash", 3)                                  \
    X("txn.missing_counts_as_locked", "crash", 3)                    \
    X("txn.missing_is_rolled_back", "crash", 10)                     \
    X("txn.missing_not_recorded", "shards", 1)                       \
    X("txn.no_idempotence", "crash", 1)                              \
    X("txn.no_rollback_record", "crash", 4)                          \
    X("txn.no_validation", "calm", 1)                                \
    X("txn.own_rollback_unseen", "crash", 2)                         \
    X("txn.prewrite_not_drawn", "calm", 28)                          \
    X("txn.ranges_not_validated", "calm", 4)                         \
    X("txn.read_ignores_locks", "calm", 3)                           \
    X("txn.read_mark_ignored", "calm", 8)                            \
    X("txn.reads_ignore_latches", "calm", 2)                         \
    X("txn.rollback_dropped_early", "crash", 111)                    \
    X("txn.rollback_of_committed", "crash", 1)                       \
    X("txn.secondary_decided_alone", "calm", 1)                      \
    X("txn.seen_ignored", "calm", 1)                                 \
    X("txn.snapshot_of_before", "calm", 1)                           \
    X("txn.timestamps_shared", "calm", 1)                            \
    X("txn.written_not_marked", "calm", 3)                           \
    X("value.live_file_removed", "calm", 1)                          \
    X("value.no_checksum", "engine", 22)                             \
    X("value.not_synced", "calm", 1)

/* Planted bugs that no run was seen to show: the test that catches each. Y(bug, test) */
#define LW_TESTED_BUGS(Y)                                      \
    Y("bundle.begins_unsynced", "test_bundles")                \
    Y("file.leftover_used", "test_identity")                   \
    Y("gc.lease_ends_with_the_oldest", "test_gc_lattice")      \
    Y("gc.readers_noted_alone", "test_gc_lattice")             \
    Y("gc.settled_before_it_serves", "test_gc_lattice")        \
    Y("group.damaged_tree_lets_in", "test_repair_lead")        \
    Y("group.halt_is_forgotten", "test_differ")                \
    Y("group.keeps_beyond_the_budget", "test_group")           \
    Y("intake.unbounded", "test_intake")                       \
    Y("lattice.key_used_early", "test_trust")                  \
    Y("lattice.leaves_unheard", "test_lattice")                \
    Y("merge.amid_a_snapshot", "test_merge_group")             \
    Y("merge.asked_of_who_gave_it_away", "test_replica_group") \
    Y("merge.awaits_who_asks", "test_merge_group")             \
    Y("merge.end_of_session_unheard", "test_merge")            \
    Y("node.kill_asks_once", "test_kill_lattice")              \
    Y("node.leads_while_it_stops", "test_lattice")             \
    Y("node.waits_for_the_silent", "test_lattice")             \
    Y("peers.forgotten_key_links", "test_peers_admission")     \
    Y("peers.pause_stays_long", "test_peers")                  \
    Y("peers.used_key_alone_counts", "test_peers_admission")   \
    Y("placement.handed_forgotten", "test_leads")              \
    Y("replica.copy_unlearns_commit", "test_kill")             \
    Y("replica.damaged_child_ends_all", "test_headless")       \
    Y("replica.doubt_not_noted", "test_kill_lattice")          \
    Y("replica.dropped_tree_answers", "test_replica")          \
    Y("replica.grace_begins_anew", "test_replica_group")       \
    Y("replica.killed_unlooked", "test_kill")                  \
    Y("replica.locks_kept_twice", "test_replica")              \
    Y("replica.locks_unbounded", "test_replica")               \
    Y("scrub.keeps_damaged_log", "test_scrub")                 \
    Y("session.ends_unasked", "test_server")                   \
    Y("shard.epoch_unchecked_at_apply", "test_replica")        \
    Y("shards.beneath_left_over", "test_merge_group")          \
    Y("shards.damaged_leads_again", "test_repair_lead")        \
    Y("shards.left_one_looks_at_nothing", "test_merge_group")  \
    Y("shards.left_behind_stays_halted", "test_differ")        \
    Y("shards.members_of_before", "test_repair_lead")          \
    Y("shards.merged_stays_headless", "test_headless")         \
    Y("shards.ended_for_nothing", "test_merge_group")          \
    Y("shards.merged_looks_begin_anew", "test_merge_group")    \
    Y("shards.nothing_handed_over", "test_lattice")            \
    Y("shards.one_holder_asked", "test_merge_group")           \
    Y("shards.orphan_asks_who_leads", "test_merge_group")      \
    Y("shards.parent_of_left_overlooked", "test_merge_group")  \
    Y("shards.part_keeps_it_headless", "test_merge_group")     \
    Y("shards.passing_parent_overlooked", "test_merge_group")  \
    Y("shards.sent_in_circles", "test_repair_lead")            \
    Y("shards.stale_replica_believed", "test_moves")           \
    Y("shards.started_twice", "test_start")                    \
    Y("shards.waiting_orphan_stays", "test_merge_group")       \
    Y("snapshot.awaits_the_lost", "test_snapshot_turns")       \
    Y("snapshot.holds_its_turn", "test_snapshot_turns")        \
    Y("txn.remote_commit_ignores_marks", "test_remote_commit")

#endif
