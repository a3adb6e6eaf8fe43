/* Shared state, dialogs and the control socket: see endpoint.h. */
#include "endpoint.h"

#include "held.h"
#include "real.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    BIND_PATIENCE = 60000, BIND_AGAIN = 1000, /* milliseconds */
    INITIAL_MSG_PATIENCE = 1000, ACKNOWLEDGE_PATIENCE = 1000,
    SLICE = 50, /* of one wait: another thread or process may read the packet in between */
    TRIES = 5, PAUSE = 5, /* to send an answer when the kernel has no memory for it */
    YOUNG = 50, /* the Distributor may still have its copy of a connection that was accepted so shortly ago */
    HOLDERS = 64, /* processes that accept on one port */
    UNREAD_ACKNOWLEDGEMENTS = 8,
    UNANSWERED = INT32_MIN
};

enum doing { IDLE, READING, SENDING, STEPPING };

struct holding { /* of the client at the same place in the state */
    int processes; /* how many are known to hold it */
    int passed_on; /* the number of `passed_on` when it was accepted */
    int64_t accepted; /* when */
    struct where where;
};

struct shared {
    pthread_mutex_t lock;
    struct endpoint state;
    struct holding holdings[CLIENT_LIMIT];
    pid_t accepting[PORT_LIMIT][HOLDERS]; /* in the order of the state's listeners */
    struct { int64_t port, number; } requests[PORT_LIMIT]; /* that wait for their BindReply; port 0: none */
    int64_t awaited; /* the sequence number whose acknowledgement is waited for; 0: of none */
    int unacknowledged;
    atomic_int doing;
    int64_t doing_port;
    atomic_int passed_on; /* rises whenever descriptors may have gone where nobody sees them */
};

struct dialog {
    int64_t port;
    int fd; /* -1: it has ended */
};

struct taken { /* the connection of the hand-off that is being answered */
    int fd;
    struct client client;
    bool delivered;
};

static struct shared *shared;
static pid_t here, server;
static int control = -1;
static struct dialog dialogs[PORT_LIMIT];
static size_t dialog_count;
static unsigned char packet[PACKET_LIMIT]; /* used under the lock */
static struct client forget[FORGET_LIMIT];
static struct taken taken = {.fd = -1};

static void finish_interrupted(void);

/* ------------------------------------------------------------------------------------------ the lock */

struct hold { /* what is to be put back */
    sigset_t signals;
    int cancelled;
};

static void lock(struct hold *hold) {
    sigset_t all;
    sigfillset(&all);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &hold->cancelled);
    pthread_sigmask(SIG_SETMASK, &all, &hold->signals);
    if (pthread_mutex_lock(&shared->lock) == EOWNERDEAD) {
        pthread_mutex_consistent(&shared->lock);
        finish_interrupted();
    }
}

static void release(const struct hold *hold) {
    pthread_sigmask(SIG_SETMASK, &hold->signals, NULL);
    pthread_setcancelstate(hold->cancelled, NULL);
}

static void unlock(const struct hold *hold) {
    pthread_mutex_unlock(&shared->lock);
    release(hold);
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void pause_for(long milliseconds) {
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

bool endpoint_start(int socket, pid_t main) {
    pthread_mutexattr_t attributes;
    void *memory = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    shared = memory;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&shared->lock, &attributes);
    control = socket;
    here = server = main;
    return true;
}

bool endpoint_is_here(void) { return shared && here == getpid(); }

bool endpoint_is_shared(void) { return shared != NULL; }

bool endpoint_has_bound(void) { return dialog_count > 0; }

pid_t endpoint_main(void) { return server; }

void endpoint_moved(int from, int to) {
    if (control == from) control = to;
    for (size_t i = 0; i < dialog_count; i++)
        if (dialogs[i].fd == from) dialogs[i].fd = to;
}

int endpoint_control(void) { return control; }

/* ------------------------------------------------------------------------------------------ steps of the machine */

static enum reason take_step(const struct event *event) {
    struct effect effect;
    atomic_store(&shared->doing, STEPPING);
    enum reason reason = step(&shared->state, event, &effect);
    atomic_store(&shared->doing, IDLE);
    if (effect.kind == DELIVER && taken.fd >= 0 && same_client(&effect.client, &taken.client)) taken.delivered = true;
    return reason;
}

static void begin(enum doing doing, int64_t port) {
    shared->doing_port = port;
    atomic_store(&shared->doing, doing);
}

/* The holder of the lock has died (rule 7 of the machine). */
static void finish_interrupted(void) {
    static const char end[] = "maitred: a process of the server has died in the middle of a step: the server ends\n";
    int doing = atomic_load(&shared->doing);
    int64_t port = shared->doing_port;
    if (doing == STEPPING) {
        if (write(2, end, sizeof end - 1) < 0) pause_for(0);
        kill(server, SIGKILL);
        real.exit(1);
    }
    struct event event = {.kind = INTERRUPTED, .port = port};
    if (doing == SENDING && next_on(&shared->state, port)) event.reply = *next_on(&shared->state, port);
    if (doing != IDLE) take_step(&event);
    for (size_t i = 0; i < shared->state.unsent; i++)
        if (shared->state.outbox[i].message.kind == ACCEPTED) { /* issued, but not sent */
            event = (struct event){.kind = INTERRUPTED, .reply = shared->state.outbox[i]};
            event.port = event.reply.port;
            take_step(&event);
            break;
        }
}

/* ------------------------------------------------------------------------------------------ dialogs */

static struct dialog *dialog_on(int64_t port) {
    for (size_t i = 0; i < dialog_count; i++)
        if (dialogs[i].port == port) return &dialogs[i];
    return NULL;
}

int endpoint_dialog(int64_t port) {
    struct dialog *dialog = dialog_on(port);
    return dialog ? dialog->fd : -1;
}

static void end_dialog(struct dialog *dialog) {
    if (dialog->fd >= 0) drop(dialog->fd);
    dialog->fd = -1;
}

static bool has_room(const struct dialog *dialog) {
    struct pollfd asked = {dialog->fd, POLLOUT, 0};
    return poll(&asked, 1, 0) > 0 && asked.revents & POLLOUT;
}

/* The first byte of the next packet, which stays there; -1 where there is none. */
static int next_tag(const struct dialog *dialog) {
    unsigned char tag;
    return dialog->fd >= 0 && real.recv(dialog->fd, &tag, 1, MSG_PEEK | MSG_DONTWAIT) == 1 ? tag : -1;
}

/* The length of the packet that was read into `packet`; 0 at the end; -1 where there is none now.  `fd` is the
 * descriptor that came with it, where it is exactly one. */
static ssize_t receive(int from, int *fd) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(8 * sizeof(int))];
    } rights;
    struct iovec part = {packet, sizeof packet};
    struct msghdr message;
    ssize_t length;
    do {
        message = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
        length = real.recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (length < 0 && errno == ECONNRESET); /* reported once; then come the data, then the end */
    *fd = -1;
    int count = 0;
    for (struct cmsghdr *head = length < 0 ? NULL : CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= head->cmsg_len; i++) {
            int came;
            memcpy(&came, CMSG_DATA(head) + i * sizeof came, sizeof came);
            if (count++ == 0) *fd = came;
            else real.close(came);
        }
    }
    if (count > 1 || (length >= 0 && message.msg_flags & MSG_CTRUNC && count)) {
        real.close(*fd);
        *fd = -1;
    }
    if (length > 0 && message.msg_flags & MSG_TRUNC) packet[0] = 0; /* longer than any message */
    return length;
}

static int try_to_send(int fd, const struct reply *reply) {
    unsigned char bytes[REPLY_LIMIT];
    size_t length = wire_encode(&reply->message, bytes);
    for (int i = 0; i < TRIES; i++) {
        if (send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return 0;
        if (errno == ECONNRESET || errno == EINTR) continue; /* the first of a dialog is what was unread at its end */
        if ((errno != ENOBUFS && errno != ENOMEM) || reply->message.kind != ACCEPTED) break;
        pause_for(PAUSE);
    }
    return errno;
}

/* Send the reply: whether it has left the outbox. */
static bool send_reply(const struct reply reply) {
    struct dialog *dialog = dialog_on(reply.port);
    if (!dialog) return false; /* another process of the server has it */
    begin(SENDING, reply.port);
    int trouble = dialog->fd < 0 ? EPIPE : try_to_send(dialog->fd, &reply);
    bool over = trouble == EPIPE || trouble == ENOTCONN || trouble == ECONNRESET || trouble == EBADF;
    if (over) end_dialog(dialog);
    if (trouble && reply.message.kind == ACCEPTED) { /* the client is refused: the Distributor has a copy */
        take_step(&(struct event){.kind = INTERRUPTED, .port = reply.port, .reply = reply});
        return true;
    }
    if (trouble && !over) {
        begin(IDLE, 0);
        return false;
    }
    take_step(&(struct event){.kind = SENT, .reply = reply});
    if (!trouble && (reply.message.kind == DISCONNECT || reply.message.kind == NOT_READY)) shared->unacknowledged++;
    return true;
}

/* Send what is in the outbox, as far as there is room: on each dialog, the oldest first. */
static void flush(void) {
    int64_t full[PORT_LIMIT];
    size_t count = 0;
    for (size_t i = 0; i < shared->state.unsent;) {
        struct reply reply = shared->state.outbox[i];
        bool waits = false;
        for (size_t j = 0; j < count; j++) waits |= full[j] == reply.port;
        if (!waits && send_reply(reply)) {
            i = 0;
            continue;
        }
        if (!waits && count < PORT_LIMIT) full[count++] = reply.port;
        i++;
    }
}

enum outcome { READ_ONE, READ_NONE, READ_NO_ROOM, READ_END };

/* Take the next packet of the dialog, make the step that it causes, and send the answer, if there is one to be had.
 * `refusing`: the port is listened on, but is about to be closed. */
static enum outcome read_one(struct dialog *dialog, bool refusing) {
    struct message message;
    int fd;
    if (dialog->fd < 0) return READ_END;
    if (shared->state.unsent >= OUTBOX_LIMIT / 2 || !has_room(dialog)) {
        struct pollfd asked = {dialog->fd, POLLIN, 0};
        return poll(&asked, 1, 0) > 0 ? READ_NO_ROOM : READ_NONE;
    }
    begin(READING, dialog->port);
    ssize_t length = receive(dialog->fd, &fd);
    if (length <= 0) {
        begin(IDLE, 0);
        if (length < 0 && (errno == EAGAIN || errno == EINTR)) return READ_NONE;
        end_dialog(dialog);
        return READ_END;
    }
    if (!wire_decode(packet, (size_t)length, &message, forget) || (message.kind == HAND_OFF && !message.client.cookie)) {
        begin(IDLE, 0);
        if (fd >= 0) real.close(fd);
        return READ_ONE;
    }
    struct event event = {.kind = MESSAGE_READ, .port = dialog->port, .message = message};
    if (message.kind == HAND_OFF) {
        bool room = shared->state.serving < CLIENT_LIMIT;
        event.intact = fd >= 0 && room && !refusing && place_of(&shared->state, &message.client) < 0;
        if (event.intact) taken = (struct taken){fd, message.client, false};
    }
    take_step(&event);
    flush();
    if (taken.fd >= 0 && !taken.delivered) taken.fd = -1;
    if (fd >= 0 && taken.fd != fd) real.close(fd);
    return READ_ONE;
}

/* Read, and so refuse, all that is there for a port that is not listened on, or is about to be closed. */
static void drain(struct dialog *dialog, bool refusing, bool leave_initial_msg) {
    while (!(leave_initial_msg && next_tag(dialog) == INITIAL_MSG) && read_one(dialog, refusing) == READ_ONE) continue;
}

/* ------------------------------------------------------------------------------------------ the control socket */

/* Read what has come; under the lock. */
static void read_control(void) {
    int64_t first = 0, second = 0;
    int fd;
    while (control >= 0) {
        ssize_t length = receive(control, &fd);
        if (length < 0) return;
        if (fd >= 0) real.close(fd);
        if (length == 0) {
            drop(control);
            control = -1;
            return;
        }
        enum kind kind = wire_decode_control(packet, (size_t)length, &first, &second);
        if (kind == ACKNOWLEDGE && first == shared->awaited) shared->awaited = 0;
        for (size_t i = 0; kind == BIND_REPLY && i < PORT_LIMIT; i++)
            if (shared->requests[i].port == first) shared->requests[i].number = second;
    }
}

/* Wait for a moment, and read: the answer to the request, or UNANSWERED. */
static int64_t answer(size_t place) {
    struct hold hold;
    struct pollfd waited = {control, POLLIN, 0};
    poll(&waited, 1, SLICE);
    lock(&hold);
    read_control();
    int64_t number = shared->requests[place].number;
    unlock(&hold);
    return number;
}

static int send_request(int64_t port, const char *address, int end) {
    unsigned char bytes[512];
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } rights = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {bytes, wire_encode_bind(port, address, bytes)};
    memcpy(CMSG_DATA(&rights.head), &end, sizeof end);
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    return real.sendmsg(control, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno == EAGAIN ? 0 : errno;
}

/* Enter the request among those that wait, or, with port 0, take it out. */
static void enter(size_t place, int64_t port) {
    struct hold hold;
    lock(&hold);
    shared->requests[place].port = port;
    shared->requests[place].number = UNANSWERED;
    unlock(&hold);
}

/* Send the request, with the Distributor's end of the dialog, until it is answered: the errno of the answer. */
static int request(int64_t port, const char *address, int end) {
    int64_t begun = now(), asked = 0, number = UNANSWERED;
    size_t place = 0;
    while (place < PORT_LIMIT - 1 && shared->requests[place].port) place++;
    enter(place, port);
    while (control >= 0 && number == UNANSWERED && now() - begun < BIND_PATIENCE) {
        if (!asked || now() - asked >= BIND_AGAIN) {
            int error = send_request(port, address, end);
            if (error) {
                number = error;
                break;
            }
            asked = now();
        }
        number = answer(place);
    }
    enter(place, 0);
    return number == UNANSWERED ? EADDRNOTAVAIL : (int)number;
}

int endpoint_bind(int64_t port, const char *address) {
    struct hold hold;
    int ends[2];
    struct dialog *dialog = dialog_on(port);
    if ((!dialog && dialog_count == PORT_LIMIT) || control < 0) return EADDRNOTAVAIL;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return errno;
    ends[0] = keep(ends[0]); /* the program is not to see them meanwhile, nor to close them */
    ends[1] = keep(ends[1]);
    int number = request(port, address, ends[1]);
    drop(ends[1]);
    if (number || (dialog && dialog->fd >= 0)) {
        drop(ends[0]);
        return number;
    }
    poll(&(struct pollfd){ends[0], POLLIN, 0}, 1, INITIAL_MSG_PATIENCE);
    lock(&hold);
    if (!dialog) dialog = &dialogs[dialog_count++];
    *dialog = (struct dialog){port, ends[0]};
    take_step(&(struct event){.kind = BOUND, .port = port});
    drain(dialog, false, false); /* answers InitialMsg, so that none is there when the program begins to poll */
    unlock(&hold);
    return dialog->fd < 0 ? EADDRINUSE : 0; /* ended at once: another process of the server has the port */
}

/* ------------------------------------------------------------------------------------------ listeners */

static pid_t *holders_of(int64_t port) {
    const struct virtual_listener *listener = listener_on(&shared->state, port);
    return listener ? shared->accepting[listener - shared->state.listeners] : NULL;
}

/* Also of another user: nginx's workers are. */
static bool is_alive(pid_t pid) { return !kill(pid, 0) || errno == EPERM; }

static void hold_port(int64_t port, pid_t pid) {
    pid_t *holders = holders_of(port);
    size_t i = 0;
    while (holders && i < HOLDERS && holders[i] != pid) i++;
    if (!holders || i < HOLDERS) return;
    for (i = 0; i < HOLDERS; i++)
        if (!holders[i] || !is_alive(holders[i])) {
            holders[i] = pid;
            return;
        }
}

static bool is_listening(int64_t port) {
    const struct virtual_listener *listener = listener_on(&shared->state, port);
    return listener && listener->listening;
}

/* This process accepts on the port, and so the server listens there, if it did not. */
static void accept_on(int64_t port) {
    hold_port(port, here);
    if (is_listening(port)) return;
    take_step(&(struct event){.kind = LISTENED, .port = port});
    flush();
}

void endpoint_listen(int64_t port) {
    struct hold hold;
    struct dialog *dialog = dialog_on(port);
    lock(&hold);
    flush();
    accept_on(port);
    while (dialog && next_tag(dialog) == INITIAL_MSG && read_one(dialog, false) == READ_ONE) continue;
    unlock(&hold);
}

void endpoint_close(int64_t port, bool wake) {
    struct hold hold;
    struct dialog *dialog = dialog_on(port);
    bool others = false;
    lock(&hold);
    flush();
    pid_t *holders = holders_of(port);
    for (size_t i = 0; holders && i < HOLDERS; i++) {
        if (holders[i] == here) holders[i] = 0;
        others |= holders[i] && is_alive(holders[i]);
    }
    bool last = !others && is_listening(port);
    int64_t awaited = 0;
    if (last) {
        if (dialog) drain(dialog, true, true);
        take_step(&(struct event){.kind = LISTENER_CLOSED, .port = port});
        awaited = shared->awaited = shared->state.sequence;
        flush();
    }
    unlock(&hold);
    if (others || !dialog) return;
    for (int64_t begun = now(); last && control >= 0 && now() - begun < ACKNOWLEDGE_PATIENCE;) {
        struct pollfd waited = {control, POLLIN, 0};
        poll(&waited, 1, SLICE);
        lock(&hold);
        read_control();
        bool acknowledged = shared->awaited != awaited;
        unlock(&hold);
        if (acknowledged) break;
    }
    lock(&hold);
    drain(dialog, false, wake);
    unlock(&hold);
}

/* ------------------------------------------------------------------------------------------ clients */

/* The hand-off has been answered: the client is this process's now. */
static long seat(int *fd, struct client *client) {
    long place = place_of(&shared->state, &taken.client);
    struct holding *holding = &shared->holdings[place < 0 ? 0 : place];
    if (place >= 0) {
        *holding = (struct holding){1, atomic_load(&shared->passed_on), now(), {0}};
        where_is(taken.fd, &holding->where);
    }
    *fd = taken.fd;
    *client = taken.client;
    taken.fd = -1;
    return place;
}

enum taking endpoint_take(int64_t port, int *fd, struct client *client, long *place) {
    struct hold hold;
    struct dialog *dialog = dialog_on(port);
    enum taking result = NONE_NOW;
    if (!dialog) return ENDED;
    lock(&hold);
    flush();
    accept_on(port);
    for (size_t i = 0; dialog_count > 1 && i < dialog_count; i++)
        if (!is_listening(dialogs[i].port)) drain(&dialogs[i], false, false);
    for (enum outcome outcome = READ_ONE; outcome == READ_ONE && result == NONE_NOW;) {
        outcome = read_one(dialog, false);
        if (outcome == READ_NO_ROOM) result = NO_ROOM;
        if (outcome == READ_END) result = ENDED;
        if (taken.fd >= 0) {
            *place = seat(fd, client);
            result = TAKEN_ONE;
        }
    }
    if (shared->unacknowledged >= UNREAD_ACKNOWLEDGEMENTS) {
        shared->unacknowledged = 0;
        read_control();
    }
    unlock(&hold);
    return result;
}

/* Nobody who is known holds the client: is it gone?  The Distributor may have its own copy for a moment still. */
static bool is_gone(const struct holding *holding) {
    if (holding->passed_on == atomic_load(&shared->passed_on) || !holding->where.family) return true;
    while (is_held(&holding->where)) {
        if (now() - holding->accepted > YOUNG) return false;
        pause_for(1);
    }
    return true;
}

static void gone(long place) {
    struct client client = shared->state.clients[place];
    take_step(&(struct event){.kind = DISCONNECTED, .client = client});
    flush();
}

void endpoint_let_go(long place, int64_t cookie) {
    struct hold hold;
    lock(&hold);
    flush();
    if (shared->state.clients[place].cookie == cookie) {
        struct holding *holding = &shared->holdings[place];
        if (holding->processes > 0) holding->processes--;
        if (!holding->processes && is_gone(holding)) gone(place);
    }
    if (shared->unacknowledged >= UNREAD_ACKNOWLEDGEMENTS) {
        shared->unacknowledged = 0;
        read_control();
    }
    unlock(&hold);
}

void endpoint_passed_on(void) { atomic_fetch_add(&shared->passed_on, 1); }

void endpoint_look_again(bool killed, bool (*holds)(long place)) {
    struct hold hold;
    lock(&hold);
    for (size_t i = 0; i < shared->state.top; i++) {
        struct holding *holding = &shared->holdings[i];
        bool unknown = killed || !holding->processes;
        if (!shared->state.clients[i].cookie || !unknown || holds((long)i) || !holding->where.family) continue;
        if (!is_held(&holding->where)) gone((long)i);
    }
    unlock(&hold);
}

/* ------------------------------------------------------------------------------------------ fork */

static struct hold forking; /* one fork at a time: the lock is held */

static void hold_all(bool (*holds)(long place), int more) {
    for (size_t i = 0; i < shared->state.top; i++)
        if (shared->state.clients[i].cookie && holds((long)i)) shared->holdings[i].processes += more;
}

void endpoint_hold(bool (*holds)(long place), int more) {
    struct hold hold;
    lock(&hold);
    hold_all(holds, more);
    unlock(&hold);
}

void endpoint_before_fork(bool (*holds)(long place)) {
    struct hold hold;
    lock(&hold);
    forking = hold;
    hold_all(holds, 1);
}

void endpoint_after_fork_in_parent(pid_t child, bool (*holds)(long place)) {
    struct hold hold = forking;
    if (child < 0) hold_all(holds, -1);
    for (size_t i = 0; child > 0 && i < shared->state.bound; i++)
        for (size_t j = 0; j < HOLDERS; j++)
            if (shared->accepting[i][j] == here) {
                hold_port(shared->state.listeners[i].port, child);
                break;
            }
    unlock(&hold);
}

void endpoint_after_fork_in_child(void) {
    struct hold hold = forking; /* the lock is the parent's */
    here = getpid();
    release(&hold);
}
