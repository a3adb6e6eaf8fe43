/* Whether some process holds a connection, asked of the kernel: what the library cannot see of its server's clients. */
#ifndef MAITRED_HELD_H
#define MAITRED_HELD_H

#include <linux/inet_diag.h>
#include <stdbool.h>

struct where { /* a connection as the kernel finds it */
    unsigned char family;
    struct inet_diag_sockid id;
};

/* Where the connection of the descriptor is; false if it is none any more. */
bool where_is(int fd, struct where *where);

/* Whether a descriptor of it is left anywhere on the machine; true as well where the kernel does not answer. */
bool is_held(const struct where *where);

#endif
