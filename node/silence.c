/* SPDX-License-Identifier: Apache-2.0 */
#include "node/silence.h"

#define LOOK_NS UINT64_C(250000000) /* how often; so late silence is noticed at most */

/* Acknowledged by now, mostly, and so done with. */
static void look_at(lw_silence *silence, lw_listened *one, uint64_t now_ns) {
    uint64_t silence_ns = 0;
    if (now_ns - one->said_ns < LOOK_NS) {
        return;
    }
    if (!lw_socket_unheard(silence->env, one->socket, &silence_ns)) {
        lw_silence_forget(silence, one);
    } else if (silence_ns >= LW_KEEPALIVE_NS && !LW_BUG(silence->env, "server.silence_unnoticed")) {
        LW_MARK(silence->env, "server.client_fell_silent");
        lw_silence_forget(silence, one);
        silence->fell_silent(one);
    }
}

LW_YIELDS static void listen_main(void *argument) {
    lw_silence *silence = argument;
    while (!silence->stopping) {
        uint64_t now_ns = lw_env_now(silence->env);
        for (lw_listened *one = silence->first, *next = NULL; one != NULL; one = next) {
            next = one->next;
            look_at(silence, one, now_ns);
        }
        silence->sleeping = silence->first == NULL; /* Q2 */
        (void)lw_env_wait(silence->env, &silence->work, silence->sleeping ? 0 : now_ns + LOOK_NS);
    }
    silence->listening = false;
    lw_queue_wake_all(&silence->stopped);
}

void lw_silence_open(lw_silence *silence, lw_env *env,
                     void (*fell_silent)(lw_listened *connection)) {
    silence->env = env;
    silence->fell_silent = fell_silent;
    silence->listening = true;
    lw_env_start(env, "silence", listen_main, silence);
}

void lw_silence_close(lw_silence *silence) {
    silence->stopping = true;
    lw_queue_wake_all(&silence->work);
    while (silence->listening) {
        lw_queue_wait(&silence->stopped);
    }
}

void lw_silence_said(lw_silence *silence, lw_listened *connection) {
    if (connection->said_ns != 0) {
        return;
    }
    connection->said_ns = lw_env_now(silence->env);
    connection->previous = silence->last;
    *(silence->last == NULL ? &silence->first : &silence->last->next) = connection;
    silence->last = connection;
    if (silence->sleeping) {
        silence->sleeping = false;
        lw_queue_wake_all(&silence->work);
    }
}

void lw_silence_forget(lw_silence *silence, lw_listened *connection) {
    if (connection->said_ns == 0) {
        return;
    }
    *(connection->previous == NULL ? &silence->first : &connection->previous->next) =
        connection->next;
    *(connection->next == NULL ? &silence->last : &connection->next->previous) =
        connection->previous;
    connection->previous = connection->next = NULL;
    connection->said_ns = 0;
}
