/* SPDX-License-Identifier: MIT */
/* handover.h - hand a descriptor to another process, over a socket. */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

union handover_control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

static inline bool handover_send(int socket, int fd)
{
	union handover_control control = { .room = { 0 } };
	char byte = 0;
	struct iovec data = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	control.header = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(sizeof(int)),
	};
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(socket, &message, 0) == 1;
}

/* The descriptor, or -1. */
static inline int handover_receive(int socket)
{
	union handover_control control;
	char byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(socket, &message, 0) == 1 && CMSG_FIRSTHDR(&message))
		memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}

#endif
