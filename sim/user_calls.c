/* SPDX-License-Identifier: Apache-2.0 */
/* What a user's callback may call: sim/lathwork_sim.h. */
#include "client/json.h"
#include "sim/user.h"
#include "sim/world_private.h"

#include <inttypes.h>
#include <stdarg.h>

int lw_sim_client_number(const lw_sim *sim) {
    return sim->number;
}

int lw_sim_client_count(const lw_sim *sim) {
    return (int)sim->of->of->client_count;
}

void *lw_sim_state(const lw_sim *sim) {
    return sim->of->state;
}

void *lw_sim_argument(const lw_sim *sim) {
    return sim->of->workload->argument;
}

const char *lw_sim_setting(const lw_sim *sim, const char *name) {
    size_t size = strlen(name);
    for (const char *const *one = sim->of->settings; one != NULL && *one != NULL; one++) {
        if (strncmp(*one, name, size) == 0 && (*one)[size] == '=') {
            return *one + size + 1;
        }
    }
    return NULL;
}

void *lw_sim_allocate(lw_sim *sim, size_t size) {
    void *made = lw_arena_allocate(&sim->of->arena, size > 0 ? size : 1);
    return memset(made, 0, size);
}

/* ---- chance and time ----------------------------------------------------------------------------
 */

uint64_t lw_sim_random(lw_sim *sim) {
    return lw_env_random(sim->env);
}

uint64_t lw_sim_random_below(lw_sim *sim, uint64_t bound) {
    if (bound == 0) {
        lw_user_fail(sim, "lw_sim_random_below was called with a bound of 0");
        return 0;
    }
    return lw_env_random_below(sim->env, bound);
}

uint64_t lw_sim_now_us(const lw_sim *sim) {
    return lw_world_now(sim->of->of->world) / 1000;
}

void lw_sim_sleep_us(lw_sim *sim, uint64_t duration_us) {
    lw_env_sleep(sim->env, duration_us < UINT64_MAX / 1000 ? duration_us * 1000 : UINT64_MAX / 2);
}

int lw_sim_stopping(const lw_sim *sim) {
    return sim->of->of->workload.stopping || sim->of->of->damaged;
}

/* ---- what is said -------------------------------------------------------------------------------
 */

void lw_sim_fail(lw_sim *sim, const char *format, ...) {
    char text[768];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    lw_user_fail(sim, text);
}

/* One line of --history. */
static void write_note(const lw_sim_trial *it, const lw_user_note *note, FILE *to) {
    lw_buffer line = lw_buffer_in(it->memory);
    lw_json json = lw_json_to(&line);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, "seed", it->options->seed);
    lw_json_number(&json, "time_us", note->time_ns / 1000);
    lw_json_text(&json, "who", lw_text(note->role));
    lw_json_bytes(&json, "note", lw_text(note->text));
    lw_json_object_close(&json);
    lw_buffer_append_u8(&line, '\n');
    (void)fwrite(line.data, 1, line.size, to);
    lw_buffer_reset(&line);
}

void lw_sim_note(lw_sim *sim, const char *format, ...) {
    lw_user *user = sim->of;
    lw_user_note *note = &user->notes[user->note_count++ % LW_USER_NOTES];
    note->time_ns = lw_world_now(user->of->world);
    memcpy(note->role, sim->role, sizeof(note->role));
    va_list list;
    va_start(list, format);
    (void)vsnprintf(note->text, sizeof(note->text), format, list);
    va_end(list);
    lw_host_note(sim->host, "note", note->text);
    if (user->of->options->history != NULL) {
        write_note(user->of, note, user->of->options->history);
    }
}

void lw_sim_mark(lw_sim *sim, const char *name) {
    lw_trace_count(&sim->host->world->trace, name, 1);
}
