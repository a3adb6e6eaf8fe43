/* The smallest server that the benchmark can put behind every peer: one thread, one epoll loop, HTTP's outside only.
 *
 *   server listen PORT              listens on 127.0.0.1:PORT
 *   server shared PORT COPIES       one listener, so many processes that accept from it
 *   server reuseport PORT COPIES    so many processes, each with a listener of its own (SO_REUSEPORT)
 *   server ... PORT                 with MAITRED_SERVER in the environment: an Application Server of maitred
 *
 * "GET /" answers 64 bytes that begin with the pid, "GET /N" answers N bytes, and "GET /sleep/N" sleeps N microseconds
 * first, in which the process does nothing else.  "Connection: close" ends the connection after the answer.
 *
 * As an Application Server it keeps the start contract, spec/start.md, and speaks spec/wire.md itself.  It keeps
 * no clients in its registry, so the Distributor's audit finds nothing to correct there.  Nothing else is left out.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 1024, FDS = 65536, EVENTS = 64, CHUNK = 256 * 1024, CLIENT = 24, COUNT = 16 };
enum { INITIAL = 1, HAND_OFF = 2, RESTART_REPLY = 3, ACCEPTED = 4, DISCONNECT = 6, BIND = 16, BIND_REPLY = 17 };

struct connection {
    int watched, length;
    char request[REQUEST + 1];
    char client[CLIENT]; /* the Client of the wire format, as it came */
};

static struct connection *connections[FDS]; /* by descriptor; made once, used again */
static int pid, poller, listener = -1, dialog = -1, control = -1;
static int64_t clients, sequence;
static char chunk[CHUNK];

static void watch(int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) err(1, "epoll_ctl");
}

/* ---------------------------------------------------------------- maitred's wire format */

static void put(char **at, int64_t number) {
    uint64_t bytes = htobe64((uint64_t)number);
    memcpy(*at, &bytes, sizeof bytes);
    *at += sizeof bytes;
}

static int64_t get(const char *at) {
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    return (int64_t)be64toh(bytes);
}

/* A message that ends with the server's count; before it stand `length` bytes of fields. */
static void say(char tag, const char *fields, size_t length) {
    char packet[1 + CLIENT + COUNT], *at = packet;
    *at++ = tag;
    memcpy(at, fields, length);
    at += length;
    put(&at, clients);
    put(&at, ++sequence);
    if (send(dialog, packet, (size_t)(at - packet), MSG_NOSIGNAL) < 0) err(1, "dialog");
}

/* One packet, and the descriptor that came beside it or -1. */
static ssize_t receive(int channel, char *packet, size_t room, int *fd) {
    union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } rights;
    struct iovec part = {packet, room};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    ssize_t length;
    do length = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == ECONNRESET); /* said once; then the data, then the end */
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *fd = -1;
    if (head && head->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(head), sizeof(int));
    return length;
}

/* Ask for the port as the Python stand-in does when the program calls bind. */
static void bind_through_maitred(int port) {
    const char *described = strstr(getenv("MAITRED_SERVER"), "\"control\": ");
    char packet[64], address[32], *at = packet;
    int ends[2];
    if (!described) errx(1, "MAITRED_SERVER names no control socket");
    control = atoi(described + strlen("\"control\": "));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) err(1, "socketpair");
    int length = snprintf(address, sizeof address, "127.0.0.1:%d", port);
    *at++ = BIND;
    put(&at, port);
    *at++ = 0;
    *at++ = (char)length;
    memcpy(at, address, (size_t)length);
    at += length;
    union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } rights = {
        .head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&rights.head), &ends[1], sizeof(int));
    struct iovec part = {packet, (size_t)(at - packet)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    do { /* until the Distributor has read it: it may be new, or on its way */
        struct pollfd answer = {control, POLLIN, 0};
        if (sendmsg(control, &message, MSG_NOSIGNAL) < 0) err(1, "control socket");
        if (poll(&answer, 1, 1000) > 0) break;
    } while (1);
    close(ends[1]);
    dialog = ends[0];
    do if (recv(control, packet, sizeof packet, 0) <= 0) errx(1, "no Distributor");
    while (packet[0] != BIND_REPLY);
    if (get(packet + 9)) errx(1, "bind %s: %s", address, strerror((int)get(packet + 9)));
    watch(dialog, EPOLLIN);
    watch(control, EPOLLIN);
}

/* ---------------------------------------------------------------- clients */

static void finish(int fd) {
    close(fd);
    clients--;
    if (dialog >= 0) say(DISCONNECT, connections[fd]->client, CLIENT);
}

static int send_all(int fd, const char *bytes, size_t length) {
    while (length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            poll(&(struct pollfd){fd, POLLOUT, 0}, 1, -1);
            continue;
        }
        if (sent < 0) return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static int answer(int fd, const char *request) {
    char head[128];
    size_t size = strtoul(request + strlen("GET /"), NULL, 10);
    if (!strncmp(request, "GET /sleep/", strlen("GET /sleep/"))) {
        long pause = atol(request + strlen("GET /sleep/"));
        nanosleep(&(struct timespec){pause / 1000000, pause % 1000000 * 1000}, NULL);
    }
    int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size ? size : 64);
    if (!size) length += snprintf(head + length, sizeof head - (size_t)length, "%-63d\n", pid);
    if (send_all(fd, head, (size_t)length)) return -1;
    for (; size > CHUNK; size -= CHUNK)
        if (send_all(fd, chunk, CHUNK)) return -1;
    return size ? send_all(fd, chunk, size) : 0;
}

/* Read what there is and answer each whole request. */
static void serve(int fd) {
    struct connection *one = connections[fd];
    ssize_t got = recv(fd, one->request + one->length, (size_t)(REQUEST - one->length), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) {
        if (!one->watched++) watch(fd, EPOLLIN);
        return;
    }
    if (got <= 0) {
        finish(fd);
        return;
    }
    one->length += (int)got;
    one->request[one->length] = 0;
    for (char *end; (end = strstr(one->request, "\r\n\r\n"));) {
        *end = 0;
        if (answer(fd, one->request) || strstr(one->request, "Connection: close")) {
            finish(fd);
            return;
        }
        end += 4;
        one->length -= (int)(end - one->request);
        memmove(one->request, end, (size_t)one->length + 1);
    }
    if (!one->watched++) watch(fd, EPOLLIN);
}

static void begin(int fd, const char *client) {
    if (!connections[fd] && !(connections[fd] = malloc(sizeof(struct connection)))) err(1, "malloc");
    connections[fd]->watched = connections[fd]->length = 0;
    clients++;
    if (client) {
        memcpy(connections[fd]->client, client, CLIENT);
        say(ACCEPTED, client, CLIENT); /* before the program sees a byte of the connection */
    }
    serve(fd);
}

static void hear(void) {
    char packet[65536]; /* an InitialMsg may name many clients */
    int fd;
    ssize_t length = receive(dialog, packet, sizeof packet, &fd);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) errx(1, "the dialog has ended");
    if (packet[0] == INITIAL) say(RESTART_REPLY, packet + 1, 8);
    else if (packet[0] == HAND_OFF && fd >= 0 && fd < FDS) begin(fd, packet + 1);
    else errx(1, "a message of kind %d that this server does not know", packet[0]);
}

static int listen_on(int port, int reuse) {
    struct sockaddr_in address = {AF_INET, htons((uint16_t)port), {htonl(INADDR_LOOPBACK)}, {0}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, reuse ? SO_REUSEPORT : SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024)) err(1, "127.0.0.1:%d", port);
    return fd;
}

static void loop(void) {
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            char acknowledgement[16];
            if (fd == dialog) hear();
            else if (fd == control) (void)!recv(control, acknowledgement, sizeof acknowledgement, MSG_DONTWAIT);
            else if (fd != listener) serve(fd);
            else if ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) begin(fd, NULL);
        }
    }
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    int shared = !strcmp(mode, "shared"), reuse = !strcmp(mode, "reuseport");
    int port = argc > 2 ? atoi(argv[2]) : 0, copies = argc > 3 ? atoi(argv[3]) : 0;
    if (getenv("MAITRED_SERVER")) {
        pid = getpid();
        poller = epoll_create1(EPOLL_CLOEXEC);
        bind_through_maitred(atoi(argv[argc - 1]));
        loop();
    }
    if (!port || (strcmp(mode, "listen") && !((shared || reuse) && copies))) errx(2, "see the beginning of server.c");
    if (!reuse) listener = listen_on(port, 0);
    for (int i = 1; i < copies; i++)
        if (!fork()) { /* the first of the copies is this process, with which the others end */
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            break;
        }
    if (reuse) listener = listen_on(port, 1);
    pid = getpid();
    poller = epoll_create1(EPOLL_CLOEXEC);
    watch(listener, EPOLLIN | (shared ? EPOLLEXCLUSIVE : 0u));
    loop();
}
