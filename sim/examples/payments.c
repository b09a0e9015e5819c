/* SPDX-License-Identifier: Apache-2.0 */
/* An application that takes doubt for failure: it pays twice.
 *
 *   cc payments.c $(pkg-config --cflags --libs lathwork-sim) -o payments
 *   ./payments --scenario crash --runs 20 doubt=repeat    an order is paid twice
 *   ./payments --scenario crash --runs 20 doubt=ask       never
 *
 * A commit that ends LW_UNDETERMINED may have happened. Who simply runs it again pays again; who
 * asks lw_txn_outcome knows. */
#include <lathwork_sim.h>

#include <inttypes.h>
#include <string.h>

/* What the application knows. */
typedef struct books {
    uint64_t paid;  /* orders it believes to be paid, once each */
    uint64_t begun; /* and those it has begun to pay */
} books;

static const lw_bytes account = {(const uint8_t *)"account", 7};

static lw_status pay_one(lw_txn *txn, void *argument) {
    (void)argument;
    return lw_add(txn, account, 1);
}

/* What became of the commit in doubt; asks until it is told. */
static lw_status ask(lw_sim *sim, lw_client *client) {
    char token[256];
    uint64_t when;
    lw_status status;
    strncpy(token, lw_undetermined_token(client), sizeof(token) - 1);
    token[sizeof(token) - 1] = 0;
    while ((status = lw_txn_outcome(client, token, &when)) != LW_OK && status != LW_NOT_FOUND) {
        lw_sim_sleep_us(sim, 10000);
    }
    return status;
}

/* Pays one order, however long it takes. */
static lw_status pay(lw_sim *sim, lw_client *client) {
    books *all = lw_sim_state(sim);
    const char *doubt = lw_sim_setting(sim, "doubt");
    lw_txn_options hurry;
    memset(&hurry, 0, sizeof(hurry));
    hurry.timeout_ms = 300;
    all->begun++;
    for (;;) {
        lw_status status = lw_run(client, &hurry, pay_one, NULL);
        if (status == LW_UNDETERMINED) {
            lw_sim_mark(sim, "payments.doubt");
            lw_sim_note(sim, "a payment is in doubt");
            if (doubt != NULL && strcmp(doubt, "ask") == 0) {
                status = ask(sim, client);
            }
        }
        if (status == LW_OK) {
            all->paid++;
            return LW_OK;
        }
        lw_sim_sleep_us(sim, 10000);
    }
}

static lw_status check(lw_sim *sim, lw_client *client) {
    const books *all = lw_sim_state(sim);
    int64_t sum;
    lw_status status = lw_add_now(client, account, 0, &sum);
    if (status == LW_OK && (uint64_t)sum != all->paid) {
        lw_sim_fail(sim,
                    "not each order is paid once: %" PRIu64 " orders of %" PRIu64
                    " are paid, and %" PRId64 " payments made",
                    all->paid, all->begun, sum);
    }
    return status;
}

int main(int argc, char **argv) {
    lw_sim_workload payments;
    memset(&payments, 0, sizeof(payments));
    payments.name = "orders are paid once";
    payments.text = "Setting: doubt=repeat or ask, when nobody knows whether a commit happened.";
    payments.state_size = sizeof(books);
    payments.client = pay;
    payments.check = check;
    payments.scenario = "crash";
    return lw_sim_main(argc, argv, &payments);
}
