/* Stands in for the listening sockets of an unmodified program, below its language: an LD_PRELOAD library.
 *
 * A program calls `bind` on a TCP socket.  If the port is one of its server class, the dialog takes the place of the
 * socket, under the same descriptor, at once; so whatever polls that is woken by a hand-off, and O_NONBLOCK is set where
 * it belongs.  From then on `accept` on it takes the next client from the dialog.  All other descriptors are as ever.
 * (The same rules for Python: `maitred.shell.inside.stand_in`.)
 *
 * Rules
 * -----
 * 1. A second family on the same port ([::] beside 0.0.0.0) gets a twin, which is never ready: all clients of the port
 *    come through the first.
 * 2. A duplicate of the original TCP socket answers `getsockopt` and `setsockopt`; `getsockname` gives what the program
 *    bound.  The options that a real listener passes on to its connections are set on them.
 * 3. To `recv` and `getpeername` a listener is not connected; `shutdown` ends the listening and leaves the dialog alone.
 * 4. A client leaves when the last descriptor of its connection is closed, in the last process that holds it.  What this
 *    library cannot see (a program that was started, a message with rights), it asks the kernel; and what it does not
 *    notice at all, the Distributor's audit finds.
 * 5. A descriptor is claimed before it is closed: its number may be used again at once.
 * 6. Descriptors of the library's own are out of the program's way: to close them is to close nothing.
 * 7. A process that shares its parent's memory (vfork, posix_spawn) touches no table.
 */
#include "endpoint.h"
#include "real.h"
#include "wire.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VERSION = 1, TABLE = 1 << 20, LISTENERS = 256, OPTIONS = 32, OPTION = 32, HIGH = 512, ROOM_PATIENCE = 10 };

struct real real;
extern char **environ;

/* ------------------------------------------------------------------------------------------ the real functions */

static void find(void *into, const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(into, &found, sizeof found);
}

#define FIND(name) find(&real.name, #name)

static void find_all(void) {
    FIND(bind), FIND(listen), FIND(accept), FIND(accept4), FIND(getsockname), FIND(getpeername), FIND(getsockopt);
    FIND(setsockopt), FIND(shutdown), FIND(recv), FIND(recvfrom), FIND(recvmsg), FIND(sendmsg), FIND(close_range);
    FIND(fclose), FIND(dup), FIND(dup2), FIND(dup3), FIND(fcntl), FIND(syscall), FIND(fork), FIND(execve);
    FIND(execvpe), FIND(fexecve), FIND(posix_spawn), FIND(posix_spawnp), FIND(wait4), FIND(waitid);
    FIND(system), FIND(popen);
    find(&real.exit, "_exit");
    FIND(close); /* last: it says that the others are there */
}

/* The real function, also where another library calls it before this one is set up. */
#define REAL(name) (__builtin_expect(!real.close, 0) ? (find_all(), real.name) : real.name)

/* ------------------------------------------------------------------------------------------ descriptors */

enum use { OTHER = 0, CONNECTION, LISTENER, OURS };

struct entry { /* of the table of descriptors */
    unsigned char use;
    bool mapped; /* CONNECTION: IPv4's, which the program's listener sees as IPv6 */
    int place; /* CONNECTION: among the clients; LISTENER: among `listeners` */
    int64_t cookie; /* CONNECTION: the client's */
};

struct option {
    int level, name;
    socklen_t length;
    char value[OPTION];
};

struct listener {
    int64_t port; /* 0: not in use */
    int descriptors; /* how many the program has; 0: it has closed it */
    int original; /* the TCP socket */
    int idle; /* of a twin, the other end; else -1 */
    bool listening, twin;
    struct sockaddr_storage name;
    socklen_t name_length;
    bool v6only;
    struct option options[OPTIONS]; /* that its connections inherit */
    int option_count;
};

static struct entry table[TABLE];
static int uses[CLIENT_LIMIT]; /* how many descriptors of each client this process has */
static struct listener listeners[LISTENERS];
static int highest = -1; /* no descriptor above is in the table */
static char busy; /* of the table */

static bool holds(long place) { return uses[place] > 0; }

static struct entry *entry_of(int fd) {
    return fd >= 0 && fd < TABLE && table[fd].use != OTHER && endpoint_is_here() ? &table[fd] : NULL;
}

static struct listener *listener_of(int fd) {
    struct entry *entry = entry_of(fd);
    return entry && entry->use == LISTENER ? &listeners[entry->place] : NULL;
}

static bool is_ours(int fd) {
    struct entry *entry = entry_of(fd);
    return entry && entry->use == OURS;
}

/* The table is changed by one thread at a time, with all signals blocked. */
static void enter(sigset_t *before) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
    while (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE)) sched_yield();
}

static void leave(const sigset_t *before) {
    __atomic_clear(&busy, __ATOMIC_RELEASE);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* The descriptor is another one of what the entry describes. */
static void note(int fd, struct entry entry) {
    sigset_t before;
    if (fd < 0 || fd >= TABLE) return; /* not seen here: the audit sees it */
    enter(&before);
    if (entry.use == CONNECTION) uses[entry.place]++;
    if (entry.use == LISTENER) listeners[entry.place].descriptors++;
    table[fd] = entry;
    if (fd > highest) highest = fd;
    leave(&before);
}

/* Rule 5.  What was there; its `last` is whether this process has no other descriptor of it. */
static struct entry claim(int fd, bool *last) {
    sigset_t before;
    struct entry entry = {.use = OTHER};
    *last = false;
    if (fd < 0 || fd >= TABLE || table[fd].use == OTHER) return entry;
    enter(&before);
    entry = table[fd];
    table[fd].use = OTHER;
    if (entry.use == CONNECTION) *last = --uses[entry.place] == 0;
    if (entry.use == LISTENER) *last = --listeners[entry.place].descriptors == 0;
    leave(&before);
    return entry;
}

static void end_listener(struct listener *listener) {
    bool twin = listener->twin;
    int64_t port = listener->port;
    listener->listening = false;
    drop(listener->original);
    if (listener->idle >= 0) drop(listener->idle);
    listener->port = 0;
    if (!twin) endpoint_close(port, false);
}

/* What was claimed is closed. */
static void closed(struct entry entry, bool last) {
    if (!last) return;
    if (entry.use == CONNECTION) endpoint_let_go(entry.place, entry.cookie);
    if (entry.use == LISTENER) end_listener(&listeners[entry.place]);
}

static int close_it(int fd) {
    bool last;
    if (is_ours(fd)) return errno = EBADF, -1;
    struct entry entry = claim(fd, &last);
    int result = real.close(fd), error = errno;
    closed(entry, last);
    errno = error;
    return result;
}

int keep(int fd) {
    int moved = real.fcntl(fd, F_DUPFD_CLOEXEC, HIGH);
    if (moved >= 0) {
        real.close(fd);
        fd = moved;
    }
    note(fd, (struct entry){.use = OURS});
    return fd;
}

void drop(int fd) {
    bool last;
    if (fd < 0) return;
    claim(fd, &last);
    real.close(fd);
}

/* ------------------------------------------------------------------------------------------ addresses */

static int option_of(int fd, int level, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    return real.getsockopt(fd, level, name, &value, &length) ? -1 : value;
}

static int port_in(const struct sockaddr *address, socklen_t length) {
    if (address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in))
        return ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (address->sa_family == AF_INET6 && length >= 24) return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return 0;
}

/* The port, where this is a bind of a TCP socket, not yet bound, to a port that is not 0; else 0. */
static int port_of(int fd, const struct sockaddr *address, socklen_t length) {
    struct sockaddr_storage name;
    socklen_t room = sizeof name;
    if (!address || length < sizeof(sa_family_t) || option_of(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM) return 0;
    int protocol = option_of(fd, SOL_SOCKET, SO_PROTOCOL);
    if (protocol != IPPROTO_TCP || address->sa_family != option_of(fd, SOL_SOCKET, SO_DOMAIN)) return 0;
    if (real.getsockname(fd, (struct sockaddr *)&name, &room) || port_in((struct sockaddr *)&name, room)) return 0;
    return port_in(address, length);
}

/* The address as the kernel names it, and as the protocol writes it: 0, or why it cannot be bound. */
static int resolve(const struct sockaddr *address, socklen_t length, struct listener *made, char text[80]) {
    char host[INET6_ADDRSTRLEN];
    struct sockaddr_storage *name = &made->name;
    struct sockaddr_in *v4 = (struct sockaddr_in *)name;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)name;
    int probe = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) return errno;
    memcpy(name, address, length < sizeof *name ? length : sizeof *name);
    *(name->ss_family == AF_INET ? &v4->sin_port : &v6->sin6_port) = 0;
    made->name_length = sizeof *name;
    int error = real.bind(probe, (struct sockaddr *)name, length) ||
                        real.getsockname(probe, (struct sockaddr *)name, &made->name_length)
                    ? errno
                    : 0;
    real.close(probe);
    if (error) return error;
    int port = (int)made->port;
    if (name->ss_family == AF_INET) {
        v4->sin_port = htons((uint16_t)port);
        snprintf(text, 80, "%s:%d", inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host), port);
    } else {
        v6->sin6_port = htons((uint16_t)port);
        if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) && !made->v6only) snprintf(text, 80, "*:%d", port);
        else snprintf(text, 80, "[%s]:%d", inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host), port);
    }
    return 0;
}

/* Whether a real bind of the second would find the first in its way. */
static bool overlaps(const struct listener *one, const struct listener *other) {
    bool any_one, any_other;
    if (one->name.ss_family != other->name.ss_family) {
        const struct listener *six = one->name.ss_family == AF_INET6 ? one : other;
        return !six->v6only && IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&six->name)->sin6_addr);
    }
    if (one->name.ss_family == AF_INET) {
        const struct in_addr *a = &((const struct sockaddr_in *)&one->name)->sin_addr;
        const struct in_addr *b = &((const struct sockaddr_in *)&other->name)->sin_addr;
        return a->s_addr == INADDR_ANY || b->s_addr == INADDR_ANY || a->s_addr == b->s_addr;
    }
    const struct in6_addr *a = &((const struct sockaddr_in6 *)&one->name)->sin6_addr;
    const struct in6_addr *b = &((const struct sockaddr_in6 *)&other->name)->sin6_addr;
    any_one = IN6_IS_ADDR_UNSPECIFIED(a), any_other = IN6_IS_ADDR_UNSPECIFIED(b);
    return any_one || any_other || !memcmp(a, b, sizeof *a);
}

/* An IPv4 address as an IPv6 socket has it, or the other way round. */
static void as_other_family(struct sockaddr_storage *name, socklen_t *length) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (name->ss_family == AF_INET) {
        memcpy(&v4, name, sizeof v4);
        v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
        v6.sin6_addr.s6_addr[10] = v6.sin6_addr.s6_addr[11] = 0xff;
        memcpy(v6.sin6_addr.s6_addr + 12, &v4.sin_addr, 4);
        memcpy(name, &v6, *length = sizeof v6);
    } else {
        memcpy(&v6, name, sizeof v6);
        v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = v6.sin6_port};
        memcpy(&v4.sin_addr, v6.sin6_addr.s6_addr + 12, 4);
        memcpy(name, &v4, *length = sizeof v4);
    }
}

/* Whether the listener's program expects another family than the connection has: an IPv4 peer may come by either. */
static bool is_mapped(const struct listener *listener, const struct sockaddr_storage *peer) {
    if (listener->name.ss_family == AF_INET6) return peer->ss_family == AF_INET && !listener->v6only;
    return peer->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)peer)->sin6_addr);
}

static void give(const struct sockaddr_storage *name, socklen_t length, struct sockaddr *address, socklen_t *room) {
    if (!address || !room) return;
    memcpy(address, name, length < *room ? length : *room);
    *room = length;
}

/* ------------------------------------------------------------------------------------------ options */

/* Which a connection inherits, so far as programs set them on listeners (`maitred.shell.inside.inherited_options` has
 * how the Python stand-in finds all). */
static const int INHERITED[][2] = {
    {SOL_SOCKET, SO_KEEPALIVE}, {SOL_SOCKET, SO_LINGER}, {SOL_SOCKET, SO_OOBINLINE}, {SOL_SOCKET, SO_RCVTIMEO},
    {SOL_SOCKET, SO_SNDTIMEO}, {SOL_SOCKET, SO_MARK}, {SOL_SOCKET, SO_RCVLOWAT}, {SOL_SOCKET, SO_BUSY_POLL},
    {SOL_SOCKET, SO_SNDBUF}, {SOL_SOCKET, SO_RCVBUF}, {SOL_SOCKET, SO_TIMESTAMP}, {SOL_SOCKET, SO_MAX_PACING_RATE},
    {IPPROTO_IP, IP_TOS}, {IPPROTO_IP, IP_TTL}, {IPPROTO_IP, IP_MTU_DISCOVER}, {IPPROTO_IPV6, IPV6_TCLASS},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS}, {IPPROTO_TCP, TCP_NODELAY}, {IPPROTO_TCP, TCP_KEEPIDLE},
    {IPPROTO_TCP, TCP_KEEPINTVL}, {IPPROTO_TCP, TCP_KEEPCNT}, {IPPROTO_TCP, TCP_SYNCNT}, {IPPROTO_TCP, TCP_LINGER2},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP}, {IPPROTO_TCP, TCP_USER_TIMEOUT}, {IPPROTO_TCP, TCP_CONGESTION},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT}, {IPPROTO_TCP, TCP_CORK}};

/* Those in which the original differs from a new socket. */
static void note_inherited_options(struct listener *listener) {
    int plain = socket(listener->name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    listener->option_count = 0;
    if (plain < 0) return;
    for (size_t i = 0; i < sizeof INHERITED / sizeof *INHERITED && listener->option_count < OPTIONS; i++) {
        struct option option = {.level = INHERITED[i][0], .name = INHERITED[i][1], .length = OPTION};
        char other[OPTION] = {0};
        socklen_t length = OPTION;
        if (real.getsockopt(listener->original, option.level, option.name, option.value, &option.length)) continue;
        if (real.getsockopt(plain, option.level, option.name, other, &length)) continue;
        if (length == option.length && !memcmp(other, option.value, length)) continue;
        if (option.level == SOL_SOCKET && (option.name == SO_SNDBUF || option.name == SO_RCVBUF)) {
            int twice; /* is what the kernel gives of what was set */
            memcpy(&twice, option.value, sizeof twice);
            memcpy(option.value, &(int){twice / 2}, sizeof twice);
        }
        listener->options[listener->option_count++] = option;
    }
    real.close(plain);
}

/* ------------------------------------------------------------------------------------------ bind, listen */

#pragma GCC visibility push(default) /* from here on, whatever is not static stands in for a function of the C library */

/* Put the dialog, or the twin, in the place of the descriptor, which keeps its flags. */
static int replace(int fd, int source) {
    int status = real.fcntl(fd, F_GETFL), flags = real.fcntl(fd, F_GETFD);
    if (real.dup3(source, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0) return errno;
    int now = real.fcntl(fd, F_GETFL);
    real.fcntl(fd, F_SETFL, (now & ~O_NONBLOCK) | (status & O_NONBLOCK));
    return 0;
}

static int make_twin(struct listener *listener, int *source) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return errno;
    listener->idle = keep(ends[0]);
    *source = ends[1];
    return 0;
}

static int stand_in(int fd, struct listener *made, const char *text) {
    bool beside = false;
    int place = -1;
    for (int i = 0; i < LISTENERS; i++) {
        struct listener *other = &listeners[i];
        if (!other->port && place < 0) place = i;
        if (other->port != made->port) continue;
        bool share = option_of(fd, SOL_SOCKET, SO_REUSEPORT) > 0 && option_of(other->original, SOL_SOCKET, SO_REUSEPORT) > 0;
        if (overlaps(made, other) && !share) return EADDRINUSE;
        beside |= !overlaps(made, other) && !other->twin;
    }
    if (place < 0) return ENOBUFS;
    int number = endpoint_bind(made->port, text);
    if (number) return number;
    int source = endpoint_dialog(made->port);
    made->twin = beside;
    made->idle = -1;
    if (beside && (number = make_twin(made, &source))) return number;
    made->original = keep(real.dup(fd));
    listeners[place] = *made;
    number = replace(fd, source);
    if (beside) real.close(source);
    if (!number) note(fd, (struct entry){.use = LISTENER, .place = place});
    return number;
}

int bind(int fd, const struct sockaddr *address, socklen_t length) {
    struct listener made = {0};
    char text[80];
    if (!endpoint_is_here()) return REAL(bind)(fd, address, length);
    if (listener_of(fd)) return errno = EINVAL, -1;
    made.port = port_of(fd, address, length);
    if (!made.port) return real.bind(fd, address, length);
    made.v6only = address->sa_family == AF_INET6 && option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY) > 0;
    int number = resolve(address, length, &made, text);
    if (!number) number = stand_in(fd, &made, text);
    if (number == BIND_YOURSELF) return real.bind(fd, address, length);
    if (number) return errno = number, -1;
    return 0;
}

int listen(int fd, int backlog) {
    struct listener *listener = listener_of(fd);
    if (!listener) return REAL(listen)(fd, backlog);
    listener->listening = true;
    note_inherited_options(listener);
    if (!listener->twin) endpoint_listen(listener->port);
    return 0;
}

/* ------------------------------------------------------------------------------------------ accept */

/* A dialog that has ended is readable for ever: a twin takes its place, so that the program does not spin. */
static void replace_ended(struct listener *listener) {
    int source = -1;
    if (make_twin(listener, &source)) return;
    listener->twin = true;
    for (int fd = 0; fd <= highest; fd++)
        if (listener_of(fd) == listener) replace(fd, source);
    real.close(source);
}

/* Make the connection such as a real accept gives it; -1 where the client has reset it. */
static int seated(struct listener *listener, int fd, struct entry entry, struct sockaddr *address, socklen_t *room, int flags) {
    struct sockaddr_storage peer = {0};
    socklen_t length = sizeof peer;
    bool last;
    struct entry stale = claim(fd, &last); /* the number is in use again, though nobody was seen to close it */
    closed(stale, last);
    note(fd, entry);
    if (real.getpeername(fd, (struct sockaddr *)&peer, &length)) {
        close_it(fd);
        return -1;
    }
    if (is_mapped(listener, &peer)) {
        table[fd].mapped = true;
        as_other_family(&peer, &length);
    }
    for (int i = 0; i < listener->option_count; i++) {
        const struct option *option = &listener->options[i]; /* some not of its family, or only before it is connected */
        real.setsockopt(fd, option->level, option->name, option->value, option->length);
    }
    int status = real.fcntl(fd, F_GETFL);
    int wanted = (status & ~O_NONBLOCK) | (flags & SOCK_NONBLOCK ? O_NONBLOCK : 0);
    if (wanted != status) real.fcntl(fd, F_SETFL, wanted);
    if (!(flags & SOCK_CLOEXEC)) real.fcntl(fd, F_SETFD, 0);
    give(&peer, length, address, room);
    return fd;
}

/* Until something has come, as a real accept waits: restarted after a signal where the program has it so, and as long
 * as SO_RCVTIMEO says.  The packet stays there. */
static int wait_for_packet(int fd) {
    char byte;
    return real.recv(fd, &byte, 1, MSG_PEEK) < 0 && errno != ECONNRESET ? -1 : 0;
}

static int accept_from(int fd, struct sockaddr *address, socklen_t *room, int flags) {
    bool waited = false;
    for (;;) {
        struct listener *listener = listener_of(fd);
        int connection;
        struct client client;
        struct entry entry = {.use = CONNECTION};
        long place = -1;
        if (!listener || !listener->listening) return errno = EINVAL, -1;
        enum taking taking = listener->twin ? NONE_NOW : endpoint_take(listener->port, &connection, &client, &place);
        if (taking == TAKEN_ONE) {
            entry.place = (int)place;
            entry.cookie = client.cookie;
            connection = seated(listener, connection, entry, address, room, flags);
            if (connection >= 0) return connection;
            continue;
        }
        if (taking == ENDED) replace_ended(listener);
        int dialog = endpoint_dialog(listener->port);
        bool blocking = !(real.fcntl(fd, F_GETFL) & O_NONBLOCK);
        if (taking == NO_ROOM && (blocking || !waited)) { /* the Distributor does not read: nobody can be answered */
            poll(&(struct pollfd){dialog, POLLOUT, 0}, 1, ROOM_PATIENCE);
            waited = true;
            continue;
        }
        if (!blocking) return errno = EAGAIN, -1;
        if (wait_for_packet(fd)) return -1;
    }
}

int accept4(int fd, struct sockaddr *address, socklen_t *room, int flags) {
    if (!listener_of(fd)) return REAL(accept4)(fd, address, room, flags);
    return accept_from(fd, address, room, flags);
}

int accept(int fd, struct sockaddr *address, socklen_t *room) {
    if (!listener_of(fd)) return REAL(accept)(fd, address, room);
    return accept_from(fd, address, room, 0);
}

/* ------------------------------------------------------------------------------------------ names and options */

int getsockname(int fd, struct sockaddr *restrict address, socklen_t *restrict room) {
    struct entry *entry = entry_of(fd);
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    if (!entry || entry->use == OURS || (entry->use == CONNECTION && !entry->mapped))
        return REAL(getsockname)(fd, address, room);
    if (entry->use == LISTENER) {
        give(&listeners[entry->place].name, listeners[entry->place].name_length, address, room);
        return 0;
    }
    int failed = real.getsockname(fd, (struct sockaddr *)&name, &length);
    if (failed) return failed;
    as_other_family(&name, &length);
    give(&name, length, address, room);
    return 0;
}

int getpeername(int fd, struct sockaddr *restrict address, socklen_t *restrict room) {
    struct entry *entry = entry_of(fd);
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    if (entry && entry->use == LISTENER) return errno = ENOTCONN, -1;
    if (!entry || !entry->mapped) return REAL(getpeername)(fd, address, room);
    int failed = real.getpeername(fd, (struct sockaddr *)&name, &length);
    if (failed) return failed;
    as_other_family(&name, &length);
    give(&name, length, address, room);
    return 0;
}

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict length) {
    struct listener *listener = listener_of(fd);
    if (!listener) return REAL(getsockopt)(fd, level, name, value, length);
    int failed = real.getsockopt(listener->original, level, name, value, length);
    if (!failed && level == SOL_SOCKET && name == SO_ACCEPTCONN && *length >= sizeof(int))
        memcpy(value, &(int){listener->listening}, sizeof(int));
    return failed;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    struct listener *listener = listener_of(fd);
    if (!listener) return REAL(setsockopt)(fd, level, name, value, length);
    int failed = real.setsockopt(listener->original, level, name, value, length);
    if (!failed && level == SOL_SOCKET && name == SO_RCVTIMEO) real.setsockopt(fd, level, name, value, length);
    if (!failed && listener->listening) note_inherited_options(listener);
    return failed;
}

int shutdown(int fd, int how) {
    struct listener *listener = listener_of(fd);
    if (!listener) return REAL(shutdown)(fd, how);
    if (!listener->listening) return errno = ENOTCONN, -1;
    if (how != SHUT_WR) {
        listener->listening = false;
        if (!listener->twin) endpoint_close(listener->port, true); /* the InitialMsg wakes whoever waits in accept */
    }
    return 0;
}

ssize_t recv(int fd, void *buffer, size_t length, int flags) {
    if (listener_of(fd)) return errno = ENOTCONN, -1;
    return REAL(recv)(fd, buffer, length, flags);
}

ssize_t recvfrom(int fd, void *restrict buffer, size_t length, int flags, struct sockaddr *restrict from,
                 socklen_t *restrict room) {
    if (listener_of(fd)) return errno = ENOTCONN, -1;
    return REAL(recvfrom)(fd, buffer, length, flags, from, room);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    if (listener_of(fd)) return errno = ENOTCONN, -1;
    return REAL(recvmsg)(fd, message, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    ssize_t (*send_it)(int, const struct msghdr *, int) = REAL(sendmsg);
    if (message && message->msg_controllen && endpoint_is_here()) endpoint_passed_on(); /* perhaps a connection */
    return send_it(fd, message, flags);
}

/* ------------------------------------------------------------------------------------------ close */

int close(int fd) {
    if (!entry_of(fd)) return REAL(close)(fd);
    return close_it(fd);
}

int fclose(FILE *file) {
    int fd = fileno(file);
    bool last;
    if (!entry_of(fd) || is_ours(fd)) return REAL(fclose)(file);
    struct entry entry = claim(fd, &last);
    int result = real.fclose(file), error = errno;
    closed(entry, last);
    errno = error;
    return result;
}

int close_range(unsigned first, unsigned last, int flags) {
    int (*real_range)(unsigned, unsigned, int) = REAL(close_range);
    if (!endpoint_is_here() || flags & CLOSE_RANGE_CLOEXEC) return real_range(first, last, flags);
    for (unsigned fd = first; (int)fd <= highest && fd <= last && fd < TABLE; fd++) {
        if (table[fd].use == CONNECTION || table[fd].use == LISTENER) close_it((int)fd);
        if (table[fd].use != OURS) continue;
        if (fd > first) real_range(first, fd - 1, flags);
        first = fd + 1;
    }
    return first > last ? 0 : real_range(first, last, flags);
}

void closefrom(int first) { close_range(first < 0 ? 0 : (unsigned)first, ~0U, 0); }

/* ------------------------------------------------------------------------------------------ duplicates */

static int duplicated(int fd, int made) {
    struct entry *entry = made >= 0 ? entry_of(fd) : NULL;
    if (entry && entry->use != OURS) note(made, *entry);
    return made;
}

int dup(int fd) {
    if (is_ours(fd)) return errno = EBADF, -1;
    return duplicated(fd, REAL(dup)(fd));
}

/* The library's own descriptor makes way for the program's. */
static void make_way(int fd) {
    int moved = real.fcntl(fd, F_DUPFD_CLOEXEC, HIGH);
    endpoint_moved(fd, moved);
    for (int i = 0; i < LISTENERS; i++) {
        if (listeners[i].port && listeners[i].original == fd) listeners[i].original = moved;
        if (listeners[i].port && listeners[i].idle == fd) listeners[i].idle = moved;
    }
    note(moved, (struct entry){.use = OURS});
}

static int dup_over(int from, int to, int flags, bool exact) {
    bool last = false;
    struct entry entry = {.use = OTHER};
    if (!endpoint_is_here()) return exact ? REAL(dup3)(from, to, flags) : REAL(dup2)(from, to);
    if (is_ours(from)) return errno = EBADF, -1;
    if (from == to || real.fcntl(from, F_GETFD) < 0) return exact ? real.dup3(from, to, flags) : real.dup2(from, to);
    if (is_ours(to)) make_way(to);
    entry = claim(to, &last);
    int made = exact ? real.dup3(from, to, flags) : real.dup2(from, to), error = errno;
    duplicated(from, made);
    if (made < 0) note(to, entry);
    else closed(entry, last);
    errno = error;
    return made;
}

int dup2(int from, int to) { return dup_over(from, to, 0, false); }

int dup3(int from, int to, int flags) { return dup_over(from, to, flags, true); }

static int fcntl_it(int fd, int command, void *argument) {
    if (is_ours(fd)) return errno = EBADF, -1;
    int result = REAL(fcntl)(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result;
}

#define ARGUMENT(last) \
    va_list rest; \
    va_start(rest, last); \
    void *argument = va_arg(rest, void *); \
    va_end(rest)

int fcntl(int fd, int command, ...) {
    ARGUMENT(command);
    return fcntl_it(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
    ARGUMENT(command);
    return fcntl_it(fd, command, argument);
}

/* libuv closes so. */
long syscall(long number, ...) {
    va_list rest;
    long a[6];
    va_start(rest, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_close) return close((int)a[0]);
    if (number == SYS_close_range) return close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
    if (number == SYS_accept4 && listener_of((int)a[0]))
        return accept4((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2], (int)a[3]);
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ------------------------------------------------------------------------------------------ processes */

pid_t fork(void) {
    if (!endpoint_is_here()) return REAL(fork)();
    sigset_t before;
    endpoint_before_fork(holds);
    enter(&before); /* the child would find the table busy, without the thread that is at it */
    pid_t child = real.fork();
    int error = errno;
    leave(&before);
    if (child) endpoint_after_fork_in_parent(child, holds);
    else endpoint_after_fork_in_child();
    errno = error;
    return child;
}

/* A child ends: what it holds, it lets go.  (The end of the main process is the server's.) */
static void end_child(void) {
    if (!endpoint_is_here() || getpid() == endpoint_main()) return;
    for (int fd = 0; fd <= highest; fd++)
        if (table[fd].use == CONNECTION || table[fd].use == LISTENER) close_it(fd);
}

void _exit(int status) {
    end_child();
    REAL(exit)(status);
    __builtin_unreachable();
}

void _Exit(int status) { _exit(status); }

__attribute__((destructor)) static void at_exit(void) {
    if (!endpoint_is_here() || getpid() == endpoint_main()) return;
    fflush(NULL); /* which exit does only after this: a stream may be a client's */
    end_child();
}

/* This process, or a child that shares its memory, is about to become another program.  The server's main process may do
 * so until it has bound a port: the next program is the server then, as behind a shell, or a launcher. */
static bool about_to_exec(void) {
    if (!endpoint_is_shared()) return false;
    endpoint_passed_on();
    if (!endpoint_is_here()) return false;
    if (getpid() == endpoint_main() && !endpoint_has_bound()) real.fcntl(endpoint_control(), F_SETFD, 0);
    if (getpid() != endpoint_main()) endpoint_hold(holds, -1);
    return true;
}

static int not_become(bool here) {
    int error = errno;
    if (here && getpid() != endpoint_main()) endpoint_hold(holds, 1);
    if (here) real.fcntl(endpoint_control(), F_SETFD, FD_CLOEXEC);
    errno = error;
    return -1;
}

int execve(const char *path, char *const argv[], char *const environment[]) {
    int (*become)(const char *, char *const[], char *const[]) = REAL(execve);
    bool here = about_to_exec();
    become(path, argv, environment);
    return not_become(here);
}

int execv(const char *path, char *const argv[]) { return execve(path, argv, environ); }

int execvpe(const char *file, char *const argv[], char *const environment[]) {
    int (*become)(const char *, char *const[], char *const[]) = REAL(execvpe);
    bool here = about_to_exec();
    become(file, argv, environment);
    return not_become(here);
}

int execvp(const char *file, char *const argv[]) { return execvpe(file, argv, environ); }

int fexecve(int fd, char *const argv[], char *const environment[]) {
    int (*become)(int, char *const[], char *const[]) = REAL(fexecve);
    bool here = about_to_exec();
    become(fd, argv, environment);
    return not_become(here);
}

enum { ARGUMENTS = 1024 };

/* Collect the arguments of execl and its like; what follows the NULL is the environment, where there is one. */
#define COLLECT(first) \
    char *argv[ARGUMENTS] = {(char *)(first)}; \
    va_list rest; \
    va_start(rest, first); \
    for (int i = 1; argv[i - 1] && i < ARGUMENTS - 1; i++) argv[i] = va_arg(rest, char *)

int execl(const char *path, const char *first, ...) {
    COLLECT(first);
    va_end(rest);
    return execv(path, argv);
}

int execlp(const char *file, const char *first, ...) {
    COLLECT(first);
    va_end(rest);
    return execvp(file, argv);
}

int execle(const char *path, const char *first, ...) {
    COLLECT(first);
    char *const *environment = va_arg(rest, char *const *);
    va_end(rest);
    return execve(path, argv, environment);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                char *const argv[], char *const environment[]) {
    if (endpoint_is_shared()) endpoint_passed_on();
    return REAL(posix_spawn)(pid, path, actions, attributes, argv, environment);
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const environment[]) {
    if (endpoint_is_shared()) endpoint_passed_on();
    return REAL(posix_spawnp)(pid, file, actions, attributes, argv, environment);
}

int system(const char *command) {
    if (endpoint_is_shared()) endpoint_passed_on();
    return REAL(system)(command);
}

FILE *popen(const char *command, const char *type) {
    if (endpoint_is_shared()) endpoint_passed_on();
    return REAL(popen)(command, type);
}

static pid_t reaped(pid_t child, int status) {
    int error = errno;
    if (child > 0 && endpoint_is_here()) endpoint_look_again(WIFSIGNALED(status), holds);
    errno = error;
    return child;
}

pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage) {
    int ended = 0;
    pid_t child = REAL(wait4)(pid, &ended, options, usage);
    if (status && child > 0) *status = ended;
    return reaped(child, ended);
}

pid_t waitpid(pid_t pid, int *status, int options) { return wait4(pid, status, options, NULL); }

pid_t wait3(int *status, int options, struct rusage *usage) { return wait4(-1, status, options, usage); }

pid_t wait(int *status) { return wait4(-1, status, 0, NULL); }

int waitid(idtype_t type, id_t id, siginfo_t *info, int options) {
    siginfo_t own = {0};
    int result = REAL(waitid)(type, id, info ? info : &own, options);
    if (info) own = *info;
    if (!result) reaped(own.si_pid, own.si_code == CLD_EXITED ? 0 : SIGKILL);
    return result;
}

/* ------------------------------------------------------------------------------------------ the beginning */

/* A field of the start contract: an integer.  In JSON no string can hold what is searched for. */
static long field(const char *record, const char *name) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "\"%s\":", name);
    const char *found = strstr(record, wanted);
    return found ? strtol(found + strlen(wanted), NULL, 10) : -1;
}

static void end_with(const char *why, long number) {
    fprintf(stderr, "maitred: the native stand-in cannot serve this program: %s (%ld)\n", why, number);
    REAL(exit)(1);
}

/* The variable stays: a program that the main process becomes finds it again, and any other process is not `main`. */
__attribute__((constructor)) static void start(void) {
    find_all();
    const char *record = getenv("MAITRED_SERVER");
    if (!record || field(record, "main") != getpid()) return;
    long version = field(record, "version"), control = field(record, "control");
    if (version != VERSION) end_with("the start contract has a version that is not known here", version);
    if (control < 0 || real.fcntl((int)control, F_GETFD) < 0) return; /* handed to a program before this one */
    real.fcntl((int)control, F_SETFD, FD_CLOEXEC);
    note((int)control, (struct entry){.use = OURS}); /* under its number, by which the variable names it */
    if (!endpoint_start((int)control, getpid())) end_with("there is no memory to share", errno);
}
