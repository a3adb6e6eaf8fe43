/* Drives the endpoint's machine from lines, so that a test can compare it with `maitred.core.server` step by step.
 *
 *     bound PORT | listened PORT | closed PORT | acknowledged
 *     read PORT INTACT PACKET          a message of the Distributor, as bytes of the wire format, in hexadecimal
 *     disconnected CLIENT              a CLIENT is ARRIVAL COOKIE PORT
 *     sent REPLY                       a REPLY is PORT KIND INCARNATION CLIENT CLIENTS SEQUENCE
 *     interrupted PORT REPLY           KIND 0: the process that died was reading
 *
 * Each line is answered by one: why it was declined (0: it was not), the effect and its client, the sequence number, the
 * listeners, the clients, and the outbox with each message as bytes.
 */
#include "wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct endpoint state;
static struct client forget[FORGET_LIMIT];
static unsigned char packet[PACKET_LIMIT];
static char line[2 * PACKET_LIMIT + 100];

static int64_t number(void) {
    char *word = strtok(NULL, " \n");
    return word ? strtoll(word, NULL, 10) : 0;
}

static struct client client(void) {
    int64_t arrival = number(), cookie = number();
    return (struct client){arrival, cookie, number()};
}

static struct reply reply(void) {
    struct reply made = {.port = number()};
    made.message.kind = (enum kind)number();
    made.message.incarnation = number();
    made.message.client = client();
    made.message.count.clients = number();
    made.message.count.sequence = number();
    return made;
}

static bool read_packet(struct event *event) {
    event->kind = MESSAGE_READ;
    event->port = number();
    event->intact = number() != 0;
    const char *text = strtok(NULL, " \n");
    size_t length = text ? strlen(text) / 2 : 0;
    for (size_t i = 0; i < length; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1) return false;
        packet[i] = (unsigned char)byte;
    }
    return wire_decode(packet, length, &event->message, forget);
}

static bool parse(struct event *event) {
    const char *word = strtok(line, " \n");
    *event = (struct event){.kind = ACKNOWLEDGED};
    if (!word) return false;
    if (!strcmp(word, "read")) return read_packet(event);
    if (!strcmp(word, "bound")) event->kind = BOUND, event->port = number();
    if (!strcmp(word, "listened")) event->kind = LISTENED, event->port = number();
    if (!strcmp(word, "closed")) event->kind = LISTENER_CLOSED, event->port = number();
    if (!strcmp(word, "disconnected")) event->kind = DISCONNECTED, event->client = client();
    if (!strcmp(word, "sent")) event->kind = SENT, event->reply = reply();
    if (!strcmp(word, "interrupted")) event->kind = INTERRUPTED, event->port = number(), event->reply = reply();
    return true;
}

static int by_port(const void *one, const void *other) {
    int64_t a = ((const struct virtual_listener *)one)->port, b = ((const struct virtual_listener *)other)->port;
    return (a > b) - (a < b);
}

static int by_fields(const void *one, const void *other) {
    const int64_t *a = one, *b = other;
    for (int i = 0; i < 3; i++)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return 0;
}

static void print_client(const struct client *shown) {
    printf("%" PRId64 "/%" PRId64 "/%" PRId64, shown->arrival, shown->cookie, shown->port);
}

static void print_state(void) {
    static struct virtual_listener listeners[PORT_LIMIT];
    static struct client clients[CLIENT_LIMIT];
    size_t count = 0;
    memcpy(listeners, state.listeners, sizeof listeners);
    qsort(listeners, state.bound, sizeof *listeners, by_port);
    for (size_t i = 0; i < state.top; i++)
        if (state.clients[i].cookie) clients[count++] = state.clients[i];
    qsort(clients, count, sizeof *clients, by_fields);
    printf(" %" PRId64 " |", state.sequence);
    for (size_t i = 0; i < state.bound; i++)
        printf(" %" PRId64 ":%d:%" PRId64, listeners[i].port, listeners[i].listening, listeners[i].asked);
    printf(" |");
    for (size_t i = 0; i < count; i++) putchar(' '), print_client(&clients[i]);
    printf(" |");
    for (size_t i = 0; i < state.unsent; i++) {
        unsigned char bytes[REPLY_LIMIT];
        size_t length = wire_encode(&state.outbox[i].message, bytes);
        printf(" %" PRId64 ":", state.outbox[i].port);
        for (size_t j = 0; j < length; j++) printf("%02x", bytes[j]);
    }
    putchar('\n');
}

int main(void) {
    while (fgets(line, sizeof line, stdin)) {
        struct event event;
        struct effect effect = {.kind = NOTHING};
        if (!parse(&event)) {
            puts("no message");
            continue;
        }
        printf("%d", step(&state, &event, &effect));
        printf(" %d ", effect.kind);
        print_client(&effect.client);
        print_state();
    }
    return 0;
}
