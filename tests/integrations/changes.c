/* SPDX-License-Identifier: MIT */
/* changes.c - ways in which a buffer loses its pages and gets others. */
#define _GNU_SOURCE
#include "tests/integrations/changes.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The file of the buffer. */
static int shared = -1;

static void *map(void *where, size_t length)
{
	void *addr = mmap(where, length, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS |
				  (where ? MAP_FIXED_NOREPLACE : 0),
			  -1, 0);

	return addr == MAP_FAILED ? NULL : addr;
}

static void *raw_map(void *where, size_t length)
{
	long addr = syscall(SYS_mmap, where, length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS |
				    (where ? MAP_FIXED_NOREPLACE : 0),
			    -1, 0);

	return addr == -1 ? NULL : (void *)addr;
}

static void *make_private(size_t length)
{
	return map(NULL, length);
}

static void *unmap_and_map(void *buffer, size_t length)
{
	return munmap(buffer, length) ? NULL : map(buffer, length);
}

static void *raw_unmap_and_map(void *buffer, size_t length)
{
	if (syscall(SYS_munmap, buffer, length))
		return NULL;
	return raw_map(buffer, length);
}

static void *map_over(void *buffer, size_t length)
{
	long addr = syscall(SYS_mmap, buffer, length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return addr == -1 ? NULL : (void *)addr;
}

static void *move_onto(void *buffer, size_t length)
{
	void *other = raw_map(NULL, length);
	long addr;

	if (!other)
		return NULL;
	memset(other, 0xee, length);
	addr = syscall(SYS_mremap, other, length, length,
		       MREMAP_MAYMOVE | MREMAP_FIXED, buffer);
	return addr == -1 ? NULL : (void *)addr;
}

static void *give_back(void *buffer, size_t length)
{
	return syscall(SYS_madvise, buffer, length, MADV_DONTNEED) ? NULL :
								     buffer;
}

static void *make_shared(size_t length)
{
	void *addr;

	shared = memfd_create("changes", MFD_CLOEXEC);
	if (shared < 0 || ftruncate(shared, (off_t)length))
		return NULL;
	addr = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
	return addr == MAP_FAILED ? NULL : addr;
}

static void *cut(void *buffer, size_t length)
{
	if (ftruncate(shared, 0) || ftruncate(shared, (off_t)length))
		return NULL;
	return buffer;
}

static int punch_hole(int fd, size_t length)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 (off_t)length);
}

static void *punch(void *buffer, size_t length)
{
	return punch_hole(shared, length) ? NULL : buffer;
}

/* A new segment, which goes when nobody has it any more. */
static void *attach(void *where, size_t length)
{
	int segment = shmget(IPC_PRIVATE, length, IPC_CREAT | 0600);
	void *addr;

	if (segment < 0)
		return NULL;
	addr = shmat(segment, where, 0);
	shmctl(segment, IPC_RMID, NULL);
	return addr == (void *)-1 ? NULL : addr;
}

static void *make_segment(size_t length)
{
	return attach(NULL, length);
}

static void *detach_and_attach(void *buffer, size_t length)
{
	return shmdt(buffer) ? NULL : attach(buffer, length);
}

/* The other process, which does as it is told. */

struct order {
	bool advise;
	uint64_t addr;
	uint64_t length;
};

static int line = -1;
static pid_t other_process;

static int obey(pid_t parent, int fd, const struct order *order)
{
	struct iovec range = { (void *)(uintptr_t)order->addr, order->length };
	int process;
	long done;

	if (!order->advise)
		return punch_hole(fd, order->length) ? errno : 0;
	process = (int)syscall(SYS_pidfd_open, parent, 0);
	if (process < 0)
		return errno;
	done = syscall(SYS_process_madvise, process, &range, 1, MADV_PAGEOUT, 0);
	close(process);
	return done < 0 ? errno : 0;
}

/* An order comes with the file that it is about, if it is about one. */
static bool receive_order(int socket, struct order *order, int *fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { order, sizeof(*order) };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header;

	*fd = -1;
	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != sizeof(*order))
		return false;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(header), sizeof(*fd));
	return true;
}

static void run_other(pid_t parent, int socket)
{
	struct order order;
	int fd, result;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (receive_order(socket, &order, &fd)) {
		result = obey(parent, fd, &order);
		if (fd >= 0)
			close(fd);
		if (write(socket, &result, sizeof(result)) != sizeof(result))
			break;
	}
	_exit(0);
}

static bool send_order(const struct order *order, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct order copy = *order;
	struct iovec iov = { &copy, sizeof(copy) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	int result;

	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	if (sendmsg(line, &message, MSG_NOSIGNAL) != sizeof(copy) ||
	    read(line, &result, sizeof(result)) != sizeof(result))
		return false;
	errno = result;
	return !result;
}

static void *other_punches(void *buffer, size_t length)
{
	const struct order order = { .length = length };

	return send_order(&order, shared) ? buffer : NULL;
}

/* The kernel lets others advise this, and a pinned page stays. */
static void *other_advises(void *buffer, size_t length)
{
	const struct order order = { true, (uintptr_t)buffer, length };

	return send_order(&order, -1) ? buffer : NULL;
}

bool changes_begin(void)
{
	pid_t parent = getpid();
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		return false;
	other_process = fork();
	if (!other_process) {
		close(sockets[0]);
		run_other(parent, sockets[1]);
	}
	close(sockets[1]);
	line = sockets[0];
	return other_process > 0;
}

void changes_end(void)
{
	close(line);
	waitpid(other_process, NULL, 0);
}

/* A block as large as this is a mapping of its own, which free() unmaps. */
static void *make_block(size_t length)
{
	mallopt(M_MMAP_THRESHOLD, (int)length / 2);
	return malloc(length);
}

/* The address comes back as a rule. */
static void *free_and_malloc(void *buffer, size_t length)
{
	free(buffer);
	return malloc(length);
}

const struct change changes[] = {
	{ "free-malloc", make_block, free_and_malloc },
	{ "munmap-mmap", make_private, unmap_and_map },
	{ "raw-munmap", make_private, raw_unmap_and_map },
	{ "map-fixed-over", make_private, map_over },
	{ "mremap-onto", make_private, move_onto },
	{ "madvise-dontneed", make_private, give_back },
	{ "ftruncate", make_shared, cut },
	{ "punch-hole", make_shared, punch },
	{ "other-punches", make_shared, other_punches },
	{ "other-madvises", make_private, other_advises },
	{ "shmdt-shmat", make_segment, detach_and_attach },
};

const size_t change_count = sizeof(changes) / sizeof(*changes);
