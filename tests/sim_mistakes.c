/* SPDX-License-Identifier: Apache-2.0 */
/* A user's program of liblathwork-sim, for tests/test_install.sh: what is asked for by what=… */
#include <lathwork_sim.h>

#include <stdio.h>
#include <string.h>

static lw_status open_another(lw_sim *sim) {
    lw_client_options options;
    lw_client *other;
    int64_t now;
    memset(&options, 0, sizeof(options));
    options.address = "10.9.8.7:1";
    lw_status status = lw_open(&options, &other);
    lw_bytes key = {(const uint8_t *)"k", 1};
    if (status == LW_OK) {
        status = lw_add_now(other, key, 1, &now);
        lw_sim_note(sim, "opened");
    }
    lw_close(other);
    return status;
}

static lw_status spin(lw_client *client) {
    lw_bytes empty = {NULL, 0};
    lw_status status;
    do {
        status = lw_add_now(client, empty, 1, NULL); /* fails at once: no key is empty */
    } while (status != LW_OK);
    return status;
}

static lw_status round_of(lw_sim *sim, lw_client *client) {
    const char *what = lw_sim_setting(sim, "what");
    if (what != NULL && strcmp(what, "give-up") == 0) {
        return LW_INTERNAL;
    }
    return what != NULL && strcmp(what, "spin") == 0 ? spin(client) : open_another(sim);
}

int main(int argc, char **argv) {
    lw_sim_workload workload;
    memset(&workload, 0, sizeof(workload));
    workload.client = round_of;
    workload.duration_ms = 1000;
    if (argc == 2 && strcmp(argv[1], "outside") == 0) {
        lw_client *client;
        lw_status status = lw_open(NULL, &client);
        lw_sim_result result;
        printf("%s\n", status == LW_INVALID_ARGUMENT ? "refused" : "opened");
        lw_close(client);
        (void)!lw_sim_run(&workload, NULL, &result);
        return (int)status;
    }
    return lw_sim_main(argc, argv, &workload);
}
