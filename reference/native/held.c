/* One question of `sock_diag` by addresses and cookie; a connection without an inode has no descriptor any more. */
#include "held.h"

#include "real.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static void address(const struct sockaddr_storage *from, __be16 *port, __be32 *host) {
    if (from->ss_family == AF_INET) {
        *port = ((const struct sockaddr_in *)from)->sin_port;
        memcpy(host, &((const struct sockaddr_in *)from)->sin_addr, 4);
    } else {
        *port = ((const struct sockaddr_in6 *)from)->sin6_port;
        memcpy(host, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
    }
}

bool where_is(int fd, struct where *where) {
    struct sockaddr_storage here, there;
    socklen_t here_length = sizeof here, there_length = sizeof there, length = sizeof where->id.idiag_cookie;
    memset(where, 0, sizeof *where);
    if (real.getsockname(fd, (struct sockaddr *)&here, &here_length) ||
        real.getpeername(fd, (struct sockaddr *)&there, &there_length) ||
        real.getsockopt(fd, SOL_SOCKET, SO_COOKIE, where->id.idiag_cookie, &length))
        return false;
    where->family = (unsigned char)here.ss_family;
    address(&here, &where->id.idiag_sport, where->id.idiag_src);
    address(&there, &where->id.idiag_dport, where->id.idiag_dst);
    return true;
}

bool is_held(const struct where *where) {
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 body;
    } request = {.head = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
                 .body = {.sdiag_family = where->family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0U, .id = where->id}};
    union {
        struct nlmsghdr head;
        char room[1024];
    } answer;
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (netlink < 0) return true;
    bool held = true;
    ssize_t got = -1;
    if (send(netlink, &request, sizeof request, 0) == (ssize_t)sizeof request)
        got = real.recv(netlink, &answer, sizeof answer, MSG_DONTWAIT); /* answered within `send` */
    if (got >= (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) && answer.head.nlmsg_type == NLMSG_ERROR) {
        int error = -((struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
        held = error != ENOENT && error != ESTALE;
    } else if (got >= (ssize_t)NLMSG_LENGTH(sizeof(struct inet_diag_msg))) {
        held = ((struct inet_diag_msg *)NLMSG_DATA(&answer.head))->idiag_inode != 0;
    }
    real.close(netlink);
    return held;
}
