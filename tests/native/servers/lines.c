/* A server of lines as a textbook has it, and knows nothing of maitred: greets each client with what it knows, then echoes.
 *
 *     lines threads|forks|execs|preforked PORT
 *
 * It has a thread for each client, or a child that is forked for it, or one that
 * becomes cat, or three children that accept.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int listener;

static void greet(int client) {
    char host[INET_ADDRSTRLEN];
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    if (getpeername(client, (struct sockaddr *)&peer, &length)) return;
    inet_ntop(AF_INET, &peer.sin_addr, host, sizeof host);
    dprintf(client, "{\"pid\": %d, \"peer\": [\"%s\", %d]}\n", getpid(), host, ntohs(peer.sin_port));
}

static void *serve(void *argument) {
    int client = (int)(long)argument;
    char line[4096];
    greet(client);
    for (ssize_t got; (got = read(client, line, sizeof line)) > 0;)
        if (write(client, line, (size_t)got) != got) break;
    close(client);
    return NULL;
}

static long next(void) {
    int client = accept(listener, NULL, NULL);
    if (client < 0) err(1, "accept");
    return client;
}

static void in_threads(void) {
    for (;;) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)next())) errx(1, "pthread_create");
        pthread_detach(thread);
    }
}

static void reap(int number) {
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0) continue;
}

static void in_children(int becomes_cat) {
    signal(SIGCHLD, reap); /* which restarts what it interrupts */
    for (;;) {
        long client = next();
        pid_t child = fork();
        if (child < 0) err(1, "fork");
        if (child == 0) {
            close(listener);
            if (becomes_cat) {
                greet((int)client);
                dup2((int)client, 0);
                dup2((int)client, 1);
                close((int)client);
                execlp("cat", "cat", (char *)NULL);
                err(1, "cat");
            }
            serve((void *)client);
            exit(0);
        }
        close((int)client);
    }
}

static void beforehand(void) {
    for (int i = 0; i < 3; i++)
        if (fork() == 0) in_threads();
    for (;;) pause();
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc != 3) errx(2, "usage: lines threads|forks|execs|preforked PORT");
    address.sin_port = htons((unsigned short)atoi(argv[2]));
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) err(1, "bind");
    if (listen(listener, 128)) err(1, "listen");
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(argv[1], "forks")) in_children(0);
    if (!strcmp(argv[1], "execs")) in_children(1);
    if (!strcmp(argv[1], "preforked")) beforehand();
    in_threads();
}
