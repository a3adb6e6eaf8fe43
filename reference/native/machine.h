/* The Application Server's endpoint as a state machine: `maitred.core.server` in C, so that a server in any language can
 * be handed clients.
 *
 * The names, the order and the rules are those of that module, whose docstring has the rules and the theory; the numbers
 * of rules in comments are its numbers.  tests/native drives both with the same events and compares every state.
 *
 * Two things differ in form.  `step` changes the state in its place, since it lies in memory that all processes of a
 * server share.  And tables have limits here, to which the caller keeps: `CLIENT_LIMIT` clients, `PORT_LIMIT` ports,
 * and a hand-off is read only while the outbox is half empty.
 */
#ifndef MAITRED_MACHINE_H
#define MAITRED_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PORT_LIMIT = 128, CLIENT_LIMIT = 16384, OUTBOX_LIMIT = 1024 };

/* ------------------------------------------------------------------------------------------ messages */

struct client { /* of the wire format: a connection, from its acceptance to its end */
    int64_t arrival, cookie, port;
};

struct count { /* OWN-3.3a: absolute, with a rising number */
    int64_t clients, sequence;
};

enum kind { /* the tags of the wire format; 0 is none */
    NO_MESSAGE = 0,
    INITIAL_MSG = 1,
    HAND_OFF,
    RESTART_REPLY,
    ACCEPTED,
    REFUSED,
    DISCONNECT,
    NOT_READY,
    BIND_REQUEST = 16,
    BIND_REPLY,
    ACKNOWLEDGE
};

struct message { /* of a dialog, in either direction; each kind uses some of the fields */
    enum kind kind;
    int64_t incarnation;
    struct client client;
    struct count count;
    const struct client *forget;
    size_t forgotten; /* how many */
};

/* ------------------------------------------------------------------------------------------ state */

struct virtual_listener { /* what stands for the program's listening socket on one port */
    int64_t port;
    bool listening;
    int64_t asked; /* the incarnation of an InitialMsg that is owed RestartReply; 0: of none */
};

struct reply { /* what is to be sent on the dialog of the port */
    int64_t port;
    struct message message;
};

struct endpoint { /* all that a server knows of its clients; zeros are the first state */
    struct virtual_listener listeners[PORT_LIMIT];
    size_t bound; /* how many of them */
    struct client clients[CLIENT_LIMIT]; /* a client keeps its place; a cookie of 0 is an empty one */
    size_t top; /* no client is at this place or above */
    int64_t serving; /* how many clients */
    int64_t sequence; /* of the last count issued */
    struct reply outbox[OUTBOX_LIMIT]; /* issued, and not known to be in the socket, the oldest first */
    size_t unsent; /* how many */
};

/* ------------------------------------------------------------------------------------------ events */

enum event_kind { BOUND, LISTENED, LISTENER_CLOSED, MESSAGE_READ, DISCONNECTED, ACKNOWLEDGED, SENT, INTERRUPTED };

struct event {
    enum event_kind kind;
    int64_t port; /* not of DISCONNECTED, ACKNOWLEDGED, SENT */
    struct message message; /* MESSAGE_READ: InitialMsg or HandOff */
    bool intact; /* of a hand-off: its descriptor has come with it */
    struct client client; /* DISCONNECTED */
    struct reply reply; /* SENT, INTERRUPTED; there NO_MESSAGE: the process that died was reading */
};

/* ------------------------------------------------------------------------------------------ effects */

enum effect_kind { NOTHING, DELIVER, DISCARD };

struct effect { /* a step has at most one */
    enum effect_kind kind;
    struct client client;
};

enum reason { TAKEN, NOT_BOUND, OTHER_PORT, UNKNOWN_CLIENT, NOT_DELIVERED, NOT_NEXT };

/* Why the event may not happen in the state; TAKEN where it may. */
enum reason guard(const struct endpoint *state, const struct event *event);

/* Let the event happen, if it may: changes the state, and says what is to be done. */
enum reason step(struct endpoint *state, const struct event *event, struct effect *effect);

/* The oldest reply on the port that is not known to be in the socket, or NULL. */
const struct reply *next_on(const struct endpoint *state, int64_t port);

/* The listener of the port, or NULL where none was bound. */
const struct virtual_listener *listener_on(const struct endpoint *state, int64_t port);

/* The place of the client among `clients`, or -1. */
long place_of(const struct endpoint *state, const struct client *client);

bool same_client(const struct client *one, const struct client *other);

#endif
