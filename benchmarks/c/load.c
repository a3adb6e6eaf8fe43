/* The load generator: one thread, one epoll loop, its CPU is no part of any figure.
 *
 *   load MODE PORT CLIENTS WARMUP SECONDS VALUE SEED        prints one JSON object, a `Sample` of benchmarks/load.py
 *
 *   MODE         one result is                                            its time runs from
 *   connections  connect, one request, the whole answer, end of file      connect to end of file
 *   requests     one request and its answer, on an open connection        request to last byte
 *   download     connect, one request, VALUE bytes, end of file           connect to end of file
 *   tail         as connections; 9 of 10 ask for 1 ms of sleep, 1 for     when it was due, to end of file
 *                100 ms; VALUE arrivals a second, at random (Poisson)
 *   hold         connect, one request, its answer; nobody leaves          connect to last byte
 *
 * connections, requests and download are closed loops: so many clients, each of which begins again when it has been
 * answered.  tail is an open loop: arrivals wait for nobody, and with one SEED are the same for every peer.  hold has
 * each of CLIENTS come once, one after the other.  An answer that is wrong, short or reset is a failure and no result.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 1024, PATIENCE = 1000, KINDS = 64, EVENTS = 256, MOST = 60000 };
static const double GRACE = 5.0; /* seconds that clients under way at the end may take to finish */

struct client {
    int fd, sent, next;
    double begun;
    long got, whole; /* bytes; whole is 0 until the head of the answer is complete */
    char head[HEAD + 1], request[96];
};
struct tally { char name[64]; long count; };

static enum { CONNECTIONS, REQUESTS, DOWNLOAD, TAIL, HOLD } mode;
static const char *modes[] = {"connections", "requests", "download", "tail", "hold"};
static struct client *clients;
static struct tally served[KINDS], failed[KINDS];
static int poller, free_list = -1, busy;
static long results, everything, failures, bytes, room, limit;
static double *times, began, from, until;
static struct sockaddr_in address;
static char scratch[1 << 18];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void count(struct tally *table, const char *name) {
    int i = 0;
    while (i < KINDS - 1 && table[i].count && strcmp(table[i].name, name)) i++; /* the last place is for all others */
    if (!table[i].count++) snprintf(table[i].name, sizeof table[i].name, "%s", name);
}

static int over(double time) { return time >= until || failures >= PATIENCE; }

static void leave(struct client *one) {
    close(one->fd);
    one->next = free_list;
    free_list = (int)(one - clients);
    busy--;
}

static void fail(struct client *one, const char *why) {
    failures++;
    count(failed, why);
    leave(one);
}

static void result(struct client *one) {
    double time = now();
    const char *body = strstr(one->head, "\r\n\r\n");
    char pid[16] = "one"; /* a download's body does not say which copy it is of */
    everything++;
    if (mode != DOWNLOAD && body) sscanf(body + 4, "%15[0-9]", pid);
    count(served, pid);
    if (time < from || (time >= until && mode != TAIL)) return;
    if (results == room && !(times = realloc(times, (size_t)(room = room * 2 + 1024) * sizeof *times))) err(1, "realloc");
    times[results++] = time - one->begun;
    if (mode != DOWNLOAD) bytes += one->whole - (long)(body + 4 - one->head);
}

static void watch(struct client *one) {
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = one}};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &event)) err(1, "epoll_ctl");
}

static struct client *start(double begun, const char *path) {
    struct client *one = &clients[free_list];
    free_list = one->next;
    busy++;
    one->begun = begun;
    one->got = one->whole = one->sent = 0;
    one->head[0] = 0;
    snprintf(one->request, sizeof one->request, "GET %s HTTP/1.1\r\nHost: bench\r\n%s\r\n", path,
             mode == REQUESTS || mode == HOLD ? "" : "Connection: close\r\n");
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (one->fd < 0) err(1, "socket");
    if (connect(one->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) fail(one, strerror(errno));
    else watch(one);
    return one;
}

static void ask(struct client *one) {
    one->sent = 1;
    if (send(one->fd, one->request, strlen(one->request), MSG_NOSIGNAL) < 0) fail(one, strerror(errno));
}

/* Take note of what has come: -1 where it cannot be an answer. */
static int take(struct client *one, const char *data, long length) {
    if (one->got < HEAD) {
        long part = length < HEAD - one->got ? length : HEAD - one->got;
        memcpy(one->head + one->got, data, (size_t)part);
        one->head[one->got + part] = 0;
    }
    one->got += length;
    if (!one->whole) {
        char *end = strstr(one->head, "\r\n\r\n"), *size = strcasestr(one->head, "\r\nContent-Length: ");
        if (end && (!size || size > end || strncmp(one->head, "HTTP/1.1 200 ", 13))) return -1;
        if (end) one->whole = end + 4 - one->head + atol(size + 18);
        else if (one->got >= HEAD) return -1;
    }
    return one->whole && one->got > one->whole ? -1 : 0;
}

/* Whether the client goes on with its connection. */
static void turn(struct client *one, unsigned events) {
    int error = 0;
    socklen_t size = sizeof error;
    if (events & EPOLLERR && !getsockopt(one->fd, SOL_SOCKET, SO_ERROR, &error, &size) && error) {
        fail(one, strerror(error));
        return;
    }
    if (!one->sent && events & EPOLLOUT) {
        ask(one);
        return; /* what comes now is a new edge */
    }
    for (;;) {
        long length = recv(one->fd, scratch, sizeof scratch, 0);
        if (length < 0 && errno == EAGAIN) return;
        if (length < 0) {
            fail(one, strerror(errno));
            return;
        }
        double time = length && mode == DOWNLOAD ? now() : 0;
        if (time > from && time < until) bytes += length;
        if (length && take(one, scratch, length)) {
            fail(one, "wrong answer");
            return;
        }
        int whole = one->whole && one->got == one->whole;
        if (!length) {
            if (!whole || mode == REQUESTS || mode == HOLD) {
                fail(one, one->got ? "wrong answer" : "no answer");
                return;
            }
            result(one);
            leave(one);
            return;
        }
        if (whole && mode == HOLD) {
            result(one);
            return; /* and stays */
        }
        if (whole && mode == REQUESTS) {
            result(one);
            one->begun = now();
            if (over(one->begun)) {
                leave(one);
                return;
            }
            one->got = one->whole = 0;
            ask(one);
            return;
        }
    }
}

/* Serve what is ready, waiting for so many seconds at most; less than a millisecond is waited for by trying again. */
static void wait_for(double seconds) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, seconds > 0 ? (int)(seconds * 1000) : 0);
    for (int i = 0; i < ready; i++) turn(events[i].data.ptr, events[i].events);
}

static void closed_loop(int many, const char *path) {
    for (double time = now(); !over(time) || (busy && time < until + GRACE); time = now()) {
        while (busy < many && !over(time)) start(time, path);
        wait_for(0.1);
    }
}

static void open_loop(double rate) {
    double due = began;
    for (double time = due; (due < until && failures < PATIENCE) || (busy && time < until + GRACE); time = now()) {
        while (due <= time && due < until && free_list >= 0) {
            start(due, drand48() < 0.1 ? "/sleep/100000" : "/sleep/1000");
            due += -log(1 - drand48()) / rate;
        }
        wait_for(due < until ? due - now() : 0.1);
    }
}

static void hold(int many) {
    for (int i = 0; i < many && failures < PATIENCE; i++) {
        long before = everything + failures;
        start(now(), "/");
        while (everything + failures == before && now() < until + GRACE) wait_for(0.1);
    }
}

static int by_size(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double quantile(double share) { /* in milliseconds: a result that was seen */
    long place = (long)ceil(share * (double)results);
    return results ? times[place ? place - 1 : 0] * 1e3 : 0;
}

static void show(const char *name, struct tally *table) {
    printf("\"%s\": {", name);
    for (int i = 0; i < KINDS && table[i].count; i++)
        printf("%s\"%s\": %ld", i ? ", " : "", i == KINDS - 1 ? "others" : table[i].name, table[i].count);
    printf("}");
}

int main(int argc, char **argv) {
    char path[32] = "/";
    if (argc != 8) errx(2, "see the beginning of load.c");
    while (strcmp(modes[mode], argv[1]))
        if (++mode > HOLD) errx(2, "no mode %s", argv[1]);
    int many = atoi(argv[3]);
    if (many < 1 || many > MOST) errx(2, "1 to %d clients", MOST);
    double warmup = atof(argv[4]), seconds = atof(argv[5]), value = atof(argv[6]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    srand48(atol(argv[7]));
    address = (struct sockaddr_in){AF_INET, htons((unsigned short)atoi(argv[2])), {htonl(INADDR_LOOPBACK)}, {0}};
    limit = mode == TAIL ? 20000 : many;
    if (!(clients = calloc((size_t)limit, sizeof *clients))) err(1, "calloc");
    for (long i = limit; i--; free_list = (int)i) clients[i].next = free_list;
    poller = epoll_create1(EPOLL_CLOEXEC);
    began = now();
    from = began + warmup;
    until = from + seconds;
    if (mode == DOWNLOAD) snprintf(path, sizeof path, "/%.0f", value);
    if (mode == TAIL) open_loop(value);
    else if (mode == HOLD) hold(many);
    else closed_loop(many, path);
    if (mode != HOLD && busy) {
        char kind[64] = "not finished";
        for (; busy; busy--) count(failed, kind);
    }
    if (results) qsort(times, (size_t)results, sizeof *times, by_size);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"results\": %ld, \"everything\": %ld, \"seconds\": %g, \"p50\": %.4f, \"p99\": %.4f, \"worst\": %.4f, "
           "\"bytes\": %ld, \"cpu\": %.6f, ", results, everything, seconds, quantile(0.5), quantile(0.99), quantile(1),
           bytes, cpu);
    show("served", served);
    printf(", ");
    show("failed", failed);
    printf("}\n");
    return 0;
}
