/* The messages of a server's channels as bytes: spec/wire.md, as far as a server reads and writes them. */
#ifndef MAITRED_WIRE_H
#define MAITRED_WIRE_H

#include "machine.h"

enum {
    PACKET_LIMIT = 65535,
    REPLY_LIMIT = 1 + 24 + 16, /* the longest of a dialog's replies */
    FORGET_LIMIT = (PACKET_LIMIT - 11) / 24,
    BIND_YOURSELF = -1
};

/* The bytes of a reply: how many. */
size_t wire_encode(const struct message *message, unsigned char packet[REPLY_LIMIT]);

/* The bytes of a BindRequest: how many. */
size_t wire_encode_bind(int64_t port, const char *address, unsigned char *packet);

/* The message of a dialog that the bytes are: false where they are none that a server is sent.
 * `forget` has room for FORGET_LIMIT clients, and must last as long as the message. */
bool wire_decode(const unsigned char *packet, size_t length, struct message *message, struct client *forget);

/* A BindReply (port and errno), or an Acknowledge (`first` is its sequence): which one; else NO_MESSAGE. */
enum kind wire_decode_control(const unsigned char *packet, size_t length, int64_t *first, int64_t *second);

#endif
