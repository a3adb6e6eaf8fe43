/* The steps of the endpoint, in the order of `maitred.core.server`: guards, then a function for each event. */
#include "machine.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------ tables */

bool same_client(const struct client *one, const struct client *other) {
    return one->cookie == other->cookie && one->arrival == other->arrival && one->port == other->port;
}

static bool same_message(const struct message *one, const struct message *other) {
    return one->kind == other->kind && one->incarnation == other->incarnation &&
           same_client(&one->client, &other->client) && one->count.clients == other->count.clients &&
           one->count.sequence == other->count.sequence;
}

static bool same_reply(const struct reply *one, const struct reply *other) {
    return one->port == other->port && same_message(&one->message, &other->message);
}

const struct virtual_listener *listener_on(const struct endpoint *state, int64_t port) {
    for (size_t i = 0; i < state->bound; i++)
        if (state->listeners[i].port == port) return &state->listeners[i];
    return NULL;
}

static void set_listener(struct endpoint *state, int64_t port, bool listening, int64_t asked) {
    size_t i = 0;
    while (i < state->bound && state->listeners[i].port != port) i++;
    if (i == PORT_LIMIT) return;
    if (i == state->bound) state->bound++;
    state->listeners[i] = (struct virtual_listener){port, listening, asked};
}

long place_of(const struct endpoint *state, const struct client *client) {
    for (size_t i = 0; i < state->top; i++)
        if (state->clients[i].cookie && same_client(&state->clients[i], client)) return (long)i;
    return -1;
}

static void add_client(struct endpoint *state, const struct client *client) {
    if (place_of(state, client) >= 0) return;
    size_t i = 0;
    while (i < state->top && state->clients[i].cookie) i++;
    if (i == CLIENT_LIMIT) return;
    if (i == state->top) state->top++;
    state->clients[i] = *client;
    state->serving++;
}

static void remove_client(struct endpoint *state, const struct client *client) {
    long place = place_of(state, client);
    if (place < 0) return;
    state->clients[place] = (struct client){0, 0, 0};
    state->serving--;
    while (state->top && !state->clients[state->top - 1].cookie) state->top--;
}

/* ------------------------------------------------------------------------------------------ guards */

const struct reply *next_on(const struct endpoint *state, int64_t port) {
    for (size_t i = 0; i < state->unsent; i++)
        if (state->outbox[i].port == port) return &state->outbox[i];
    return NULL;
}

/* The reply is the Accepted of this client. */
static bool answers(const struct reply *reply, const struct client *client) {
    return reply->message.kind == ACCEPTED && same_client(&reply->message.client, client);
}

static enum reason is_next(const struct endpoint *state, int64_t port, const struct reply *reply) {
    const struct reply *next = next_on(state, port);
    return next && same_reply(next, reply) ? TAKEN : NOT_NEXT;
}

enum reason guard(const struct endpoint *state, const struct event *event) {
    switch (event->kind) {
    case BOUND:
    case ACKNOWLEDGED:
        return TAKEN;
    case MESSAGE_READ:
        if (event->message.kind == HAND_OFF && event->message.client.port != event->port) return OTHER_PORT;
        return listener_on(state, event->port) ? TAKEN : NOT_BOUND;
    case LISTENED:
    case LISTENER_CLOSED:
        return listener_on(state, event->port) ? TAKEN : NOT_BOUND;
    case DISCONNECTED:
        for (size_t i = 0; i < state->unsent; i++)
            if (answers(&state->outbox[i], &event->client)) return NOT_DELIVERED;
        return place_of(state, &event->client) >= 0 ? TAKEN : UNKNOWN_CLIENT;
    case SENT:
        return is_next(state, event->reply.port, &event->reply);
    case INTERRUPTED:
        if (event->reply.message.kind == NO_MESSAGE) return listener_on(state, event->port) ? TAKEN : NOT_BOUND;
        return is_next(state, event->port, &event->reply);
    }
    return NOT_NEXT;
}

/* ------------------------------------------------------------------------------------------ the step */

static void without(struct endpoint *state, const struct reply *sent) {
    size_t kept = 0;
    for (size_t i = 0; i < state->unsent; i++)
        if (!same_reply(&state->outbox[i], sent)) state->outbox[kept++] = state->outbox[i];
    state->unsent = kept;
}

/* Rule 6: both say the same kind of thing, of the same dialog. */
static bool is_outdated(const struct reply *old, int64_t port, enum kind kind) {
    bool readiness = kind == RESTART_REPLY || kind == NOT_READY;
    bool same = readiness ? old->message.kind == RESTART_REPLY || old->message.kind == NOT_READY
                          : kind == DISCONNECT && old->message.kind == DISCONNECT;
    return same && old->port == port;
}

/* Put a reply into the outbox, with the next count (rule 2), in the place of what it makes out of date (rule 6). */
static void issue(struct endpoint *state, int64_t port, struct message message) {
    size_t kept = 0;
    for (size_t i = 0; i < state->unsent; i++)
        if (!is_outdated(&state->outbox[i], port, message.kind)) state->outbox[kept++] = state->outbox[i];
    message.count = (struct count){state->serving, ++state->sequence};
    if (kept < OUTBOX_LIMIT) state->outbox[kept++] = (struct reply){port, message};
    state->unsent = kept;
}

static void issue_ready(struct endpoint *state, int64_t port, enum kind kind, int64_t incarnation) {
    issue(state, port, (struct message){.kind = kind, .incarnation = incarnation});
}

static void issue_for(struct endpoint *state, int64_t port, enum kind kind, const struct client *client) {
    issue(state, port, (struct message){.kind = kind, .client = *client});
}

static void bound(struct endpoint *state, int64_t port) {
    if (!listener_on(state, port)) set_listener(state, port, false, 0);
}

static void listened(struct endpoint *state, int64_t port) {
    int64_t asked = listener_on(state, port)->asked;
    set_listener(state, port, true, 0);
    if (asked) issue_ready(state, port, RESTART_REPLY, asked);
}

static void listener_closed(struct endpoint *state, int64_t port) {
    set_listener(state, port, false, 0);
    issue_ready(state, port, NOT_READY, 0);
}

/* Rule 4; and rule 3, where the audit has found connections gone. */
static void asked(struct endpoint *state, int64_t port, const struct message *message) {
    for (size_t i = 0; i < message->forgotten; i++) remove_client(state, &message->forget[i]);
    if (listener_on(state, port)->listening) {
        issue_ready(state, port, RESTART_REPLY, message->incarnation);
        return;
    }
    set_listener(state, port, false, message->incarnation);
    issue_ready(state, port, NOT_READY, message->incarnation);
}

/* Rule 1: accept_nw2, or not. */
static void offered(struct endpoint *state, int64_t port, const struct client *client, bool intact,
                    struct effect *effect) {
    if (intact && listener_on(state, port)->listening) {
        add_client(state, client);
        issue_for(state, port, ACCEPTED, client);
        return;
    }
    issue_for(state, port, REFUSED, client);
    *effect = (struct effect){DISCARD, *client};
}

static void message_read(struct endpoint *state, const struct event *event, struct effect *effect) {
    if (event->message.kind == INITIAL_MSG) asked(state, event->port, &event->message);
    if (event->message.kind == HAND_OFF) offered(state, event->port, &event->message.client, event->intact, effect);
}

static void disconnected(struct endpoint *state, const struct client *client) {
    remove_client(state, client);
    issue_for(state, client->port, DISCONNECT, client);
}

/* Rule 1: the program may have the client now. */
static void sent(struct endpoint *state, const struct reply *reply, struct effect *effect) {
    if (reply->message.kind == ACCEPTED) *effect = (struct effect){DELIVER, reply->message.client};
    without(state, reply);
}

/* Its connection has died with the process that had it. */
static void taken_back(struct endpoint *state, struct reply reply) {
    without(state, &reply);
    remove_client(state, &reply.message.client);
    issue_for(state, reply.port, REFUSED, &reply.message.client);
}

/* It is not known what was read, which may be an InitialMsg; nor whether a Refused was sent: a second one might be read
 * as the answer to a later hand-off. */
static void wants_to_be_asked(struct endpoint *state, int64_t port, const struct reply *reply) {
    if (reply->message.kind != NO_MESSAGE) without(state, reply);
    set_listener(state, port, listener_on(state, port)->listening, 0);
    issue_ready(state, port, NOT_READY, 0);
}

/* Rule 7.  A hand-off's answer is never deferred, so whoever is not delivered was with the process that died. */
static void interrupted(struct endpoint *state, int64_t port, const struct reply *reply) {
    for (size_t i = 0; i < state->unsent;) {
        if (state->outbox[i].message.kind == ACCEPTED) taken_back(state, state->outbox[i]); /* its place is free now */
        else i++;
    }
    if (reply->message.kind == NO_MESSAGE || reply->message.kind == REFUSED) {
        wants_to_be_asked(state, port, reply);
    } else if (reply->message.kind != ACCEPTED) {
        without(state, reply);
        issue(state, port, reply->message);
    }
}

enum reason step(struct endpoint *state, const struct event *event, struct effect *effect) {
    *effect = (struct effect){.kind = NOTHING};
    enum reason reason = guard(state, event);
    if (reason != TAKEN) return reason;
    const struct event now = *event; /* its reply may be one of the outbox, which changes */
    switch (now.kind) {
    case BOUND:
        bound(state, now.port);
        break;
    case LISTENED:
        listened(state, now.port);
        break;
    case LISTENER_CLOSED:
        listener_closed(state, now.port);
        break;
    case MESSAGE_READ:
        message_read(state, &now, effect);
        break;
    case DISCONNECTED:
        disconnected(state, &now.client);
        break;
    case ACKNOWLEDGED: /* the server "receives and discards" it */
        break;
    case SENT:
        sent(state, &now.reply, effect);
        break;
    case INTERRUPTED:
        interrupted(state, now.port, &now.reply);
        break;
    }
    return TAKEN;
}
