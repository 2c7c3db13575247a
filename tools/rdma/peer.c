/* SPDX-License-Identifier: MIT */
/*
 * peer.c - the process at the other end of the connection.
 *
 * Messages are written into its inbox by RDMA, and it writes its answers into
 * the sender's memory by RDMA.  A socket says only when, and where to.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "tools/rdma/demo.h"

/* What the sender says: look at your inbox. */
struct notice {
	uint64_t message;
	struct rdma_place answer;
};

/* What both say first. */
struct greeting {
	struct rdma_end end;
	struct rdma_place inbox;
};

static bool send_all(int socket, const void *data, size_t length)
{
	return send(socket, data, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static bool receive_all(int socket, void *data, size_t length)
{
	return recv(socket, data, length, MSG_WAITALL) == (ssize_t)length;
}

static int open_link(const char *adapter, struct rdma_link *link)
{
	int ret = rdma_link_open(adapter, link);

	if (ret == -ENODEV)
		demo_say(adapter ? "there is no RDMA adapter %s" :
				   "there is no RDMA adapter",
			 adapter);
	else if (ret == -ENETDOWN)
		demo_say("the RDMA adapter's port is down, or has no address");
	else if (ret)
		demo_say("cannot use the RDMA adapter: %s", strerror(-ret));
	return ret;
}

static int connect_link(struct rdma_link *link, int socket,
			const struct rdma_place *inbox,
			struct rdma_place *others_inbox)
{
	struct greeting mine = { .end = link->end }, other;
	int ret;

	if (inbox)
		mine.inbox = *inbox;
	if (!send_all(socket, &mine, sizeof(mine)) ||
	    !receive_all(socket, &other, sizeof(other)))
		return -ECONNRESET;
	ret = rdma_link_connect(link, &other.end);
	if (ret)
		demo_say("cannot connect: %s", strerror(-ret));
	else if (others_inbox)
		*others_inbox = other.inbox;
	return ret;
}

/* The peer's memory: an inbox, and a place to write answers from. */
struct desk {
	uint64_t inbox[DEMO_WORDS];
	uint64_t answer[DEMO_WORDS];
};

static bool handle(struct rdma_link *link, struct desk *desk, uint32_t key,
		   const struct notice *notice, struct demo_receipt *receipt)
{
	const struct rdma_place from = { (uintptr_t)desk->answer, key };
	const char *reason = "";
	size_t i;
	int ret;

	receipt->found = desk->inbox[0];
	receipt->right = true;
	for (i = 0; i < DEMO_WORDS; i++) {
		if (desk->inbox[i] != notice->message)
			receipt->right = false;
		desk->answer[i] = ~notice->message;
	}
	ret = rdma_link_write(link, &from, &notice->answer, DEMO_MESSAGE,
			      &reason);
	if (ret)
		demo_say("the peer could not answer: %s %s", strerror(-ret),
			 reason);
	return !ret;
}

static int run_peer(const char *adapter, int socket)
{
	struct demo_receipt receipt;
	struct rdma_link link;
	struct rdma_place inbox;
	struct notice notice;
	struct desk *desk;
	struct ibv_mr *mr;

	desk = mmap(NULL, sizeof(*desk), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (desk == MAP_FAILED || open_link(adapter, &link))
		return 1;
	mr = ibv_reg_mr(link.domain, desk, sizeof(*desk), DEMO_ACCESS);
	if (!mr)
		return 1;
	inbox = (struct rdma_place){ (uintptr_t)desk->inbox, mr->rkey };
	if (connect_link(&link, socket, &inbox, NULL))
		return 1;
	while (receive_all(socket, &notice, sizeof(notice)))
		if (!handle(&link, desk, mr->lkey, &notice, &receipt) ||
		    !send_all(socket, &receipt, sizeof(receipt)))
			return 1;
	ibv_dereg_mr(mr);
	rdma_link_close(&link);
	return 0;
}

int demo_peer_start(const char *adapter, struct demo_peer *peer)
{
	pid_t parent = getpid();
	int sockets[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets)) {
		ret = -errno;
		demo_say("cannot make a socket: %s", strerror(errno));
		return ret;
	}
	ret = open_link(adapter, &peer->link);
	if (ret)
		goto close_sockets;
	/* Nothing was registered yet, so a child is harmless. */
	peer->process = fork();
	if (peer->process < 0) {
		ret = -errno;
		demo_say("cannot start the peer: %s", strerror(errno));
		goto close_link;
	}
	if (!peer->process) {
		close(sockets[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(getppid() == parent ? run_peer(adapter, sockets[1]) : 1);
	}
	close(sockets[1]);
	peer->socket = sockets[0];
	ret = connect_link(&peer->link, peer->socket, NULL, &peer->inbox);
	if (ret)
		demo_peer_stop(peer);
	return ret;

close_link:
	rdma_link_close(&peer->link);
close_sockets:
	close(sockets[0]);
	close(sockets[1]);
	return ret;
}

int demo_peer_stop(struct demo_peer *peer)
{
	int status;

	close(peer->socket); /* which it takes for the end */
	rdma_link_close(&peer->link);
	if (waitpid(peer->process, &status, 0) == peer->process &&
	    WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	demo_say("the peer has failed");
	return -EIO;
}

int demo_peer_tell(struct demo_peer *peer, uint64_t message,
		   const struct rdma_place *answer,
		   struct demo_receipt *receipt)
{
	const struct notice notice = { message, *answer };

	if (send_all(peer->socket, &notice, sizeof(notice)) &&
	    receive_all(peer->socket, receipt, sizeof(*receipt)))
		return 0;
	demo_say("the peer is gone");
	return -ECONNRESET;
}
