/* Integers are of eight bytes, the most significant first; see spec/wire.md for the rest. */
#include "wire.h"

#include <endian.h>
#include <string.h>

enum { INT = 8, CLIENT = 3 * INT };

static unsigned char *put(unsigned char *at, int64_t number) {
    uint64_t bytes = htobe64((uint64_t)number);
    memcpy(at, &bytes, INT);
    return at + INT;
}

static int64_t get(const unsigned char *at) {
    uint64_t bytes;
    memcpy(&bytes, at, INT);
    return (int64_t)be64toh(bytes);
}

static struct client get_client(const unsigned char *at) {
    return (struct client){get(at), get(at + INT), get(at + 2 * INT)};
}

size_t wire_encode(const struct message *message, unsigned char packet[REPLY_LIMIT]) {
    unsigned char *at = packet;
    *at++ = (unsigned char)message->kind;
    if (message->kind == RESTART_REPLY || message->kind == NOT_READY) at = put(at, message->incarnation);
    else at = put(put(put(at, message->client.arrival), message->client.cookie), message->client.port);
    at = put(put(at, message->count.clients), message->count.sequence);
    return (size_t)(at - packet);
}

size_t wire_encode_bind(int64_t port, const char *address, unsigned char *packet) {
    size_t length = strlen(address);
    unsigned char *at = packet;
    *at++ = BIND_REQUEST;
    at = put(at, port);
    *at++ = (unsigned char)(length >> 8);
    *at++ = (unsigned char)length;
    memcpy(at, address, length);
    return (size_t)(at - packet) + length;
}

bool wire_decode(const unsigned char *packet, size_t length, struct message *message, struct client *forget) {
    *message = (struct message){.kind = NO_MESSAGE};
    if (length == 1 + CLIENT && packet[0] == HAND_OFF) {
        message->kind = HAND_OFF;
        message->client = get_client(packet + 1);
        return true;
    }
    if (length < 1 + INT + 2 || packet[0] != INITIAL_MSG) return false;
    const unsigned char *list = packet + 1 + INT;
    size_t many = (size_t)list[0] << 8 | list[1];
    if (length != 1 + INT + 2 + many * CLIENT) return false;
    for (size_t i = 0; i < many; i++) forget[i] = get_client(list + 2 + i * CLIENT);
    *message = (struct message){
        .kind = INITIAL_MSG, .incarnation = get(packet + 1), .forget = forget, .forgotten = many};
    return true;
}

enum kind wire_decode_control(const unsigned char *packet, size_t length, int64_t *first, int64_t *second) {
    if (length == 1 + 2 * INT && packet[0] == BIND_REPLY) {
        *first = get(packet + 1);
        *second = get(packet + 1 + INT);
        return BIND_REPLY;
    }
    if (length == 1 + INT && packet[0] == ACKNOWLEDGE) {
        *first = get(packet + 1);
        return ACKNOWLEDGE;
    }
    return NO_MESSAGE;
}
