/* SPDX-License-Identifier: MIT */
/*
 * demo-plain.c - makes the right copy with plain I/O and compares others to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

/* The output function of Vigna's SplitMix64. */
static uint64_t scramble(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

void demo_transform(const void *in, void *out, uint32_t length, uint64_t block)
{
	const unsigned char *from = in;
	unsigned char *to = out;
	uint64_t place = block * (DEMO_BLOCK / sizeof(uint64_t));
	uint32_t whole = length / sizeof(uint64_t) * sizeof(uint64_t);
	uint64_t word, stream;
	uint32_t i;

	for (i = 0; i < whole; i += sizeof(word)) {
		memcpy(&word, from + i, sizeof(word));
		word ^= scramble(++place);
		memcpy(to + i, &word, sizeof(word));
	}
	stream = scramble(++place);
	for (; i < length; i++, stream >>= 8)
		to[i] = from[i] ^ (unsigned char)stream;
	memset(to + length, 0, DEMO_BLOCK - length);
}

static int read_all(int fd, void *buffer, size_t length, uint64_t offset)
{
	unsigned char *to = buffer;
	ssize_t n;

	for (; length; length -= n, to += n, offset += n) {
		n = pread(fd, to, length, (off_t)offset);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n ? -errno : -EIO;
	}
	return 0;
}

static int write_all(int fd, const void *buffer, size_t length, uint64_t offset)
{
	const unsigned char *from = buffer;
	ssize_t n;

	for (; length; length -= n, from += n, offset += n) {
		n = pwrite(fd, from, length, (off_t)offset);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n ? -errno : -EIO;
	}
	return 0;
}

static int out_of_memory(void)
{
	demo_say("out of memory");
	return -ENOMEM;
}

int demo_plain_copy(const struct demo_input *input, int fd)
{
	uint64_t total = demo_total_blocks(input);
	unsigned char *in = malloc(2 * DEMO_BLOCK);
	unsigned char *out = in + DEMO_BLOCK;
	uint64_t block;
	int ret = 0;

	if (!in)
		return out_of_memory();
	for (block = 0; block < total && !ret; block++) {
		uint32_t length = demo_length(input, block);

		ret = read_all(input->fd, in, length, demo_offset(input, block));
		if (ret) {
			demo_say("reading %s: %s", input->path, strerror(-ret));
			break;
		}
		demo_transform(in, out, length, block);
		ret = write_all(fd, out, DEMO_BLOCK, block * DEMO_BLOCK);
		if (ret)
			demo_say("writing the plain copy: %s", strerror(-ret));
		demo_progress("plain copy", block + 1, total);
	}
	demo_progress_end();
	free(in);
	return ret;
}

/* Whose contents are these?  A stale buffer still holds another block. */
static int find_block(uint64_t blocks, int right_fd, const void *found,
		      unsigned char *right, struct demo_wrong *wrong)
{
	uint64_t block;
	int ret;

	for (block = 0; block < blocks; block++) {
		ret = read_all(right_fd, right, DEMO_BLOCK, block * DEMO_BLOCK);
		if (ret)
			return ret;
		if (memcmp(right, found, DEMO_BLOCK))
			continue;
		wrong->holds = block;
		wrong->known = true;
		break;
	}
	return 0;
}

int demo_compare(uint64_t blocks, int right_fd, int fd, struct demo_wrong *wrong)
{
	unsigned char *right = malloc(2 * DEMO_BLOCK);
	unsigned char *found = right + DEMO_BLOCK;
	uint64_t block;
	int ret = 0;

	if (!right)
		return out_of_memory();
	memset(wrong, 0, sizeof(*wrong));
	/* The copy was made with O_DIRECT and may be read without. */
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT);
	for (block = 0; block < blocks && !ret; block++) {
		uint64_t offset = block * DEMO_BLOCK;

		demo_progress("comparing", block + 1, blocks);
		ret = read_all(right_fd, right, DEMO_BLOCK, offset);
		if (!ret)
			ret = read_all(fd, found, DEMO_BLOCK, offset);
		if (ret || !memcmp(right, found, DEMO_BLOCK))
			continue;
		if (wrong->blocks++)
			continue;
		wrong->first = block;
		ret = find_block(blocks, right_fd, found, right, wrong);
	}
	if (ret)
		demo_say("reading the copies: %s", strerror(-ret));
	free(right);
	return ret;
}
