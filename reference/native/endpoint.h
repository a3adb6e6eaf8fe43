/* The endpoint of a server as one of its processes sees it: one state in shared memory, and dialogs.
 *
 * Rules
 * -----
 * 1. All processes that the server forks share one state.  Under one lock a process takes a message, makes the step
 *    that it causes, and sends what is in the outbox.  (`maitred.shell.inside.endpoint` has the same rules for Python.)
 * 2. The lock is held with every signal blocked, so that no handler finds it held by its own thread; it is robust, and
 *    whoever finds its holder dead finishes what that has begun.  One that died in the middle of a step, some
 *    microseconds, takes its server along: a state that was half changed is trusted by nobody.
 * 3. Nothing here allocates memory.
 */
#ifndef MAITRED_ENDPOINT_H
#define MAITRED_ENDPOINT_H

#include "machine.h"

#include <sys/types.h>

/* Become the endpoint of this process: with the control socket, and the id of the server's main process. */
bool endpoint_start(int control, pid_t main);

/* Whether this process is one of the server's.  One that shares its parent's memory (vfork) is not. */
bool endpoint_is_here(void);
bool endpoint_is_shared(void); /* whether it, or the process whose memory it shares, is */
bool endpoint_has_bound(void);
pid_t endpoint_main(void);
int endpoint_control(void);
void endpoint_moved(int from, int to); /* a descriptor of the library's has another number */

/* Ask the Distributor for the port: 0, BIND_YOURSELF, or an errno.  After 0 there is a dialog. */
int endpoint_bind(int64_t port, const char *address);

/* The process's own descriptor of the dialog, or -1 where there is none, or it has ended. */
int endpoint_dialog(int64_t port);

void endpoint_listen(int64_t port);

/* This process accepts no more on the port; if it was the last one, neither does the server.  `wake`: an InitialMsg is
 * left unread, for a thread that waits in accept. */
void endpoint_close(int64_t port, bool wake);

enum taking { TAKEN_ONE, NONE_NOW, NO_ROOM, ENDED };

/* The next client of the port: its connection, and its place among those that are counted. */
enum taking endpoint_take(int64_t port, int *fd, struct client *client, long *place);

/* This process has closed its last descriptor of the client; another may hold one. */
void endpoint_let_go(long place, int64_t cookie);

/* Descriptors may have gone to a process that is not seen: a program that was started, a message with rights. */
void endpoint_passed_on(void);

/* A child has ended: the kernel is asked for the clients that this process does not hold (`holds`). */
void endpoint_look_again(bool killed, bool (*holds)(long place));

/* A fork: the child holds these clients too, and accepts where its parent does. */
void endpoint_before_fork(bool (*holds)(long place));
void endpoint_after_fork_in_parent(pid_t child, bool (*holds)(long place));
void endpoint_after_fork_in_child(void);

/* This process is about to become another program (-1), or could not (1): it holds its clients so many times more. */
void endpoint_hold(bool (*holds)(long place), int more);

/* Of the other parts of the library: moves a descriptor out of the program's way, and keeps the program's hands off. */
int keep(int fd);
void drop(int fd);

#endif
