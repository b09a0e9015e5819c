/* SPDX-License-Identifier: Apache-2.0 */
/* An application with a bug that no test finds, and the simulator does: doctors who go off call.
 *
 *   cc rota.c $(pkg-config --cflags --libs lathwork-sim) -o rota
 *   ./rota --runs 100 isolation=snapshot    somebody goes off call last, and nobody is left
 *   ./rota --runs 100 isolation=strict      never
 *
 * Each ward has three doctors, of whom one must stay on call. Whoever wants to leave looks whether
 * another is there, and goes. Two who look at the same moment both see the other: at snapshot
 * isolation both may go, for each writes a row of his own (write skew). */
#include <lathwork_sim.h>

#include <stdio.h>
#include <string.h>

enum { WARDS = 4, DOCTORS = 3 };

/* ---- the application, as it runs against a real node ----------------------------------------- */

typedef struct shift {
    lw_isolation isolation;
    unsigned ward, doctor;
    int wants_to_leave;
    int on_call; /* doctors of the ward, as the transaction found it */
} shift;

static lw_bytes rota_key(unsigned ward, unsigned doctor, char room[32]) {
    int size = snprintf(room, 32, "ward/%u/doctor/%u", ward, doctor);
    lw_bytes key = {(const uint8_t *)room, (size_t)size};
    return key;
}

static lw_status set_doctor(lw_txn *txn, unsigned ward, unsigned doctor, const char *state) {
    char room[32];
    lw_bytes value = {(const uint8_t *)state, strlen(state)};
    return lw_put(txn, rota_key(ward, doctor, room), value);
}

/* How many of a ward are on call. */
static lw_status count_on_call(lw_txn *txn, unsigned ward, int *on_call) {
    char rooms[DOCTORS][32];
    lw_lookup lookups[DOCTORS];
    memset(lookups, 0, sizeof(lookups));
    for (unsigned doctor = 0; doctor < DOCTORS; doctor++) {
        lookups[doctor].key = rota_key(ward, doctor, rooms[doctor]);
    }
    lw_status status = lw_get_many(txn, lookups, DOCTORS);
    *on_call = 0;
    for (unsigned doctor = 0; status == LW_OK && doctor < DOCTORS; doctor++) {
        *on_call += lookups[doctor].status == LW_OK && lookups[doctor].value.size == strlen("on");
    }
    return status;
}

/* The transaction; lw_run calls it again when somebody else was first. */
static lw_status change_shift(lw_txn *txn, void *argument) {
    shift *change = argument;
    lw_status status = count_on_call(txn, change->ward, &change->on_call);
    if (status != LW_OK || (change->wants_to_leave && change->on_call < 2)) {
        return status; /* nobody else is there: the doctor stays */
    }
    return set_doctor(txn, change->ward, change->doctor, change->wants_to_leave ? "off" : "on");
}

static lw_status run_shift(lw_client *client, shift *change) {
    lw_txn_options options;
    memset(&options, 0, sizeof(options));
    options.isolation = change->isolation;
    return lw_run(client, &options, change_shift, change);
}

/* ---- its simulation -----------------------------------------------------------------------------
 */

static lw_status all_on_call(lw_txn *txn, void *argument) {
    lw_status status = LW_OK;
    (void)argument;
    for (unsigned place = 0; status == LW_OK && place < WARDS * DOCTORS; place++) {
        status = set_doctor(txn, place / DOCTORS, place % DOCTORS, "on");
    }
    return status;
}

static lw_status setup(lw_sim *sim, lw_client *client) {
    (void)sim;
    return lw_run(client, NULL, all_on_call, NULL);
}

static lw_status one_shift(lw_sim *sim, lw_client *client) {
    const char *isolation = lw_sim_setting(sim, "isolation");
    shift change;
    change.isolation = isolation && !strcmp(isolation, "snapshot") ? LW_SNAPSHOT : LW_STRICT;
    change.ward = (unsigned)lw_sim_random_below(sim, WARDS);
    change.doctor = (unsigned)lw_sim_random_below(sim, DOCTORS);
    change.wants_to_leave = lw_sim_random_below(sim, 2) == 0;
    change.on_call = 0;
    lw_status status = run_shift(client, &change);
    lw_sim_note(sim, "ward %u: doctor %u wants %s, sees %d on call: %s", change.ward, change.doctor,
                change.wants_to_leave ? "off" : "on", change.on_call, lw_status_name(status));
    return status;
}

/* A strict transaction sees all wards at one moment. */
static lw_status look_at_all(lw_txn *txn, void *argument) {
    lw_status status = LW_OK;
    for (unsigned ward = 0; status == LW_OK && ward < WARDS; ward++) {
        status = count_on_call(txn, ward, &((int *)argument)[ward]);
    }
    return status;
}

static lw_status somebody_is_there(lw_sim *sim, lw_client *client) {
    int on_call[WARDS];
    lw_status status = lw_run(client, NULL, look_at_all, on_call);
    for (unsigned ward = 0; status == LW_OK && ward < WARDS; ward++) {
        if (on_call[ward] == 0) {
            lw_sim_fail(sim, "nobody is on call: ward %u", ward);
        }
    }
    return status;
}

int main(int argc, char **argv) {
    lw_sim_workload rota;
    memset(&rota, 0, sizeof(rota));
    rota.name = "doctors on call";
    rota.text = "Of each ward one doctor must stay on call. Setting: isolation=snapshot or strict.";
    rota.setup = setup;
    rota.client = one_shift;
    rota.invariant = somebody_is_there;
    rota.check = somebody_is_there;
    return lw_sim_main(argc, argv, &rota);
}
