/* An Application Server of maitred in one file of C: the endpoint that spec/start.md describes, with nothing left out.
 *
 *     cc -O2 -o endpoint endpoint.c
 *     maitred run --static 3 -- ./endpoint 127.0.0.1:8000
 *
 * It echoes what its clients send, and sends "PID\n" before.  One thread, one loop of poll, no dependency.  In the order
 * of the contract: the environment, a port (`ask_for_port`), messages (`on_dialog`), what is sent (`flush`), clients.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { VERSION = 1, LIMIT = 65535, BIND_YOURSELF = -1 };
enum { INITIAL_MSG = 1, HAND_OFF, RESTART_REPLY, ACCEPTED, REFUSED, DISCONNECT, BIND_REQUEST = 16, BIND_REPLY };
enum { INT = 8, CLIENT = 3 * INT, COUNT = 2 * INT }; /* bytes of a field */

struct client {
    int fd; /* of the connection */
    char name[CLIENT]; /* the Client of the wire format, as it came */
};

static int control = -1, dialog = -1;
static struct client *clients; /* those that are counted */
static int64_t served, max_clients, sequence;
static char left[CLIENT]; /* the last one that has left, */
static int owed; /* and whether its Disconnect is still to be sent */

/* ------------------------------------------------------------------------------------------ packets */

static char *put(char *at, int64_t number) {
    uint64_t bytes = htobe64((uint64_t)number);
    memcpy(at, &bytes, INT);
    return at + INT;
}

static int64_t get(const char *at) {
    uint64_t bytes;
    memcpy(&bytes, at, INT);
    return (int64_t)be64toh(bytes);
}

/* One packet with at most one descriptor beside it (-1: none).  Never waits. */
static ssize_t send_packet(int to, const char *packet, size_t length, int fd) {
    union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } rights = {
        .head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {(char *)packet, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        memcpy(CMSG_DATA(&rights.head), &fd, sizeof fd);
        message.msg_control = &rights;
        message.msg_controllen = sizeof rights;
    }
    return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The length of the packet that was read; 0 at the end; -1 where there is none now. */
static ssize_t receive_packet(int from, char *packet, int *fd) {
    union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } rights;
    struct iovec part = {packet, LIMIT};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    ssize_t length;
    do length = recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == ECONNRESET); /* reported once; then come the data, then the end */
    *fd = -1;
    struct cmsghdr *head = length < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(head), sizeof *fd);
    return length;
}

/* A message on the dialog: tag, the fields before the count, the count.  Whether it is in the socket. */
static int send_reply(char tag, const char *fields, size_t length) {
    char packet[1 + CLIENT + COUNT] = {tag};
    memcpy(packet + 1, fields, length);
    put(put(packet + 1 + length, served), ++sequence);
    return send_packet(dialog, packet, 1 + length + COUNT, -1) >= 0;
}

/* ------------------------------------------------------------------------------------------ the beginning */

/* A field of the start contract: an integer.  In JSON no string can hold what is searched for. */
static int64_t field(const char *record, const char *name) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "\"%s\":", name);
    const char *found = strstr(record, wanted);
    if (!found) errx(1, "MAITRED_SERVER has no field %s", name);
    return strtoll(found + strlen(wanted), NULL, 10);
}

/* The next message on the control socket that is no acknowledgement; its length, or 0 after a second without one. */
static ssize_t await_control(char *packet) {
    struct pollfd waited = {control, POLLIN, 0};
    int fd;
    while (poll(&waited, 1, 1000) > 0) {
        ssize_t length = receive_packet(control, packet, &fd);
        if (length == 0) errx(1, "the control socket has ended");
        if (fd >= 0) close(fd);
        if (length > 0 && packet[0] == BIND_REPLY) return length;
    }
    return 0;
}

/* What stands in the place of bind and listen. */
static void ask_for_port(const char *address) {
    static char packet[LIMIT];
    const char *colon = strrchr(address, ':');
    int ends[2], port = colon ? atoi(colon + 1) : 0;
    size_t length = strlen(address);
    if (port < 1 || port > 65535 || length > 255) errx(2, "%s is not HOST:PORT, such as 127.0.0.1:8000", address);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) err(1, "socketpair");
    do { /* until it is answered: the Distributor may be starting, or starting again */
        packet[0] = BIND_REQUEST;
        char *at = put(packet + 1, port);
        *at++ = 0;
        *at++ = (char)length;
        memcpy(at, address, length);
        if (send_packet(control, packet, (size_t)(at - packet) + length, ends[1]) < 0 && errno != EAGAIN)
            err(1, "the control socket");
    } while (!await_control(packet) || get(packet + 1) != port);
    int64_t answer = get(packet + 1 + INT);
    if (answer == BIND_YOURSELF) errx(1, "port %d is none of this server class: name one that is", port);
    if (answer) errx(1, "%s: %s", address, strerror((int)answer));
    close(ends[1]);
    dialog = ends[0];
}

/* ------------------------------------------------------------------------------------------ clients */

/* The last reference to the connection is closed.  Of several that have left, the last message says it all. */
static void disconnect(int64_t place) {
    close(clients[place].fd);
    memcpy(left, clients[place].name, CLIENT);
    clients[place] = clients[--served];
    owed = 1;
}

static void serve(int64_t place) {
    char bytes[4096];
    ssize_t got = recv(clients[place].fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0 || send(clients[place].fd, bytes, (size_t)got, MSG_DONTWAIT | MSG_NOSIGNAL) != got)
        disconnect(place); /* or it does not read, and there is no room for more */
}

/* ------------------------------------------------------------------------------------------ the dialog */

static void end_dialog(void) {
    close(dialog);
    dialog = -1;
}

/* Two phases: the answer is in the socket first, then the connection is this program's. */
static void on_hand_off(const char *name, int fd) {
    if (fd < 0 || served == max_clients) { /* the descriptor was lost on the way (MSG_CTRUNC) */
        if (fd >= 0) close(fd);
        if (!send_reply(REFUSED, name, CLIENT)) end_dialog();
        return;
    }
    clients[served].fd = fd;
    memcpy(clients[served++].name, name, CLIENT);
    if (!send_reply(ACCEPTED, name, CLIENT)) { /* the Distributor has a copy: it is offered to another server */
        close(fd);
        served--;
        end_dialog();
        return;
    }
    char text[32];
    int length = snprintf(text, sizeof text, "%d\n", getpid());
    if (send(fd, text, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL) != length) disconnect(served - 1);
}

/* Not to count these any more: the kernel does not know their connections, or this program's copy is the last one. */
static void forget(const char *list) {
    int64_t many = (unsigned char)list[0] << 8 | (unsigned char)list[1];
    for (const char *name = list + 2; many--; name += CLIENT)
        for (int64_t place = 0; place < served; place++)
            if (!memcmp(clients[place].name, name, CLIENT)) {
                close(clients[place].fd);
                clients[place--] = clients[--served];
            }
}

static void on_dialog(void) {
    static char packet[LIMIT];
    int fd;
    ssize_t length = receive_packet(dialog, packet, &fd);
    if (length < 0) return;
    if (length == 0) end_dialog();
    else if (packet[0] == HAND_OFF && length == 1 + CLIENT) on_hand_off(packet + 1, fd);
    else if (packet[0] == INITIAL_MSG && length >= 1 + INT + 2) {
        forget(packet + 1 + INT);
        if (!send_reply(RESTART_REPLY, packet + 1, INT)) end_dialog();
    } else if (fd >= 0) close(fd); /* a message that this version does not know */
}

/* Send the Disconnect that is owed, as soon as the dialog has room. */
static void flush(void) {
    if (!owed || dialog < 0) return;
    if (send_reply(DISCONNECT, left, CLIENT)) owed = 0;
    else if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) end_dialog();
}

/* ------------------------------------------------------------------------------------------ the loop */

/* After the end of the dialog nobody new comes: those who are there are served, then the process ends. */
static void loop(void) {
    struct pollfd *ready = calloc((size_t)max_clients + 2, sizeof *ready);
    if (!ready) err(1, "no memory");
    while (dialog >= 0 || served) {
        int64_t there = served;
        ready[0] = (struct pollfd){control, POLLIN, 0};
        ready[1] = (struct pollfd){dialog, owed ? POLLOUT : POLLIN, 0};
        for (int64_t i = 0; i < there; i++) ready[2 + i] = (struct pollfd){clients[i].fd, POLLIN, 0};
        if (poll(ready, (nfds_t)there + 2, -1) < 0 && errno != EINTR) err(1, "poll");
        for (int64_t i = there; i-- > 0;) /* from the end: `disconnect` moves the last one */
            if (ready[2 + i].revents) serve(i);
        flush();
        /* A message is read only where its answer has room, so that nothing has to wait. */
        if (ready[1].revents && !owed && poll(&(struct pollfd){dialog, POLLOUT, 0}, 1, 10) > 0) on_dialog();
        if (ready[0].revents) {
            static char packet[LIMIT];
            int fd;
            ssize_t length = receive_packet(control, packet, &fd); /* an acknowledgement: nothing follows from it */
            if (fd >= 0) close(fd);
            if (length == 0) {
                close(control);
                control = -1;
            }
        }
    }
}

int main(int argc, char **argv) {
    const char *record = getenv("MAITRED_SERVER");
    if (argc != 2) errx(2, "usage: maitred run -- %s HOST:PORT", argv[0]);
    if (!record) errx(2, "is to be started by maitred: maitred run -- %s %s", argv[0], argv[1]);
    if (field(record, "version") != VERSION)
        errx(1, "the start contract has version %lld; %d is known here", (long long)field(record, "version"), VERSION);
    control = (int)field(record, "control");
    max_clients = field(record, "max_clients");
    clients = calloc((size_t)max_clients, sizeof *clients);
    if (!clients || fcntl(control, F_SETFD, FD_CLOEXEC)) err(1, "the beginning");
    unsetenv("MAITRED_SERVER");
    ask_for_port(argv[1]);
    loop();
    return 0;
}
