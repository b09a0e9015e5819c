/* SPDX-License-Identifier: Apache-2.0 */
/* `lathwork sim --check FILE`: judges a history that was recorded anywhere. */
#include "client/json.h"
#include "sim/check.h"
#include "sim/command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { PIECE_SIZE = 1 << 16 };

static lw_exit read_file(lw_command *command, const char *path, lw_buffer *contents) {
    FILE *file = fopen(path, "r");
    size_t size = 0;
    while (file != NULL &&
           (size = fread(lw_buffer_reserve(contents, PIECE_SIZE), 1, PIECE_SIZE, file)) > 0) {
        contents->size += size;
    }
    bool failed = file == NULL || ferror(file) != 0;
    int reason = errno;
    if (file != NULL) {
        (void)fclose(file);
    }
    return failed ? lw_command_fail(command, LW_REFUSED, strerror(reason), NULL,
                                    "cannot read \"%s\"", path)
                  : LW_EXIT_DONE;
}

static void print_verdict(const lw_command *command, const lw_history *history, bool sound,
                          lw_buffer *text) {
    uint64_t counts[3] = {0}, strict = 0;
    for (const lw_history_txn *txn = history->txns; txn != NULL; txn = txn->next) {
        counts[txn->outcome]++;
        strict += txn->strict;
    }
    uint64_t others = 0;
    for (int how = 0; how < 3; how++) {
        others += history->singles.counts[how] + history->bank.counts[how];
        counts[how] += history->singles.counts[how] + history->bank.counts[how];
    }
    if (!command->json) {
        lw_buffer_print(text,
                        "transactions %" PRIu64 ": %" PRIu64 " acknowledged, %" PRIu64
                        " refused, %" PRIu64 " in doubt; %" PRIu64 " strict; %u keys\n%s\n",
                        history->txn_count + others, counts[LW_OUTCOME_OK], counts[LW_OUTCOME_FAIL],
                        counts[LW_OUTCOME_INFO], strict, history->key_count,
                        !sound                             ? "NOT SOUND"
                        : history->txn_count + others == 0 ? "there is nothing to judge"
                                                           : "sound: no anomaly was found");
        return;
    }
    lw_json json = lw_json_to(text);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, "transactions", history->txn_count + others);
    lw_json_number(&json, "committed", counts[LW_OUTCOME_OK]);
    lw_json_number(&json, "refused", counts[LW_OUTCOME_FAIL]);
    lw_json_number(&json, "in_doubt", counts[LW_OUTCOME_INFO]);
    lw_json_number(&json, "strict", strict);
    lw_json_number(&json, "keys", history->key_count);
    lw_json_boolean(&json, "sound", sound);
    lw_json_object_close(&json);
    lw_buffer_append_u8(text, '\n');
}

static lw_check_level level_of(const lw_command *command) {
    if (!lw_command_given(command, LW_FLAG_ISOLATION)) {
        return LW_CHECK_AS_TOLD;
    }
    const char *name = command->flags[LW_FLAG_ISOLATION].text;
    return strcmp(name, "strict") == 0 ? LW_CHECK_STRICT : LW_CHECK_SNAPSHOT;
}

lw_exit lw_sim_command_check(lw_command *command, lw_memory *memory) {
    const char *path = command->flags[LW_FLAG_CHECK].text;
    lw_buffer text = lw_buffer_in(memory);
    lw_history history = lw_history_in(memory);
    lw_exit code = read_file(command, path, &text);
    if (code == LW_EXIT_DONE) {
        lw_status status = lw_history_parse(&history, lw_buffer_view(&text));
        if (status != LW_OK) {
            code = lw_command_fail(command, status, lw_error_slot()->text,
                                   "docs/SIMULATION.md has the format", "cannot understand \"%s\"",
                                   path);
        }
    }
    lw_buffer_clear(&text);
    if (code == LW_EXIT_DONE) {
        lw_buffer report = lw_buffer_in(memory);
        bool sound = lw_check_history(&history, level_of(command), memory, &report);
        if (report.size > 0) {
            (void)fwrite(report.data, 1, report.size, stderr);
        }
        lw_buffer_reset(&report);
        print_verdict(command, &history, sound, &text);
        lw_command_drain(command, &text, true);
        code = sound ? LW_EXIT_DONE : LW_EXIT_NEGATIVE;
    }
    lw_history_reset(&history);
    lw_buffer_reset(&text);
    return code;
}
