// SPDX-License-Identifier: MIT
/*
 * delays DEVICE PORT EVERY: writes "ready", and when it is ended how many of iperf3's datagrams to a port of
 * this host it saw, and their delays in ms: the median, the 99th percentile, and the longest. Each has in it
 * when it was sent. Of each flow only one of EVERY, a power of two, is looked at.
 */
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { IP_HEADER = 20, UDP_HEADER = 8, LENGTH = 64, MOST = 1 << 20 };

static double delays[MOST];
static volatile sig_atomic_t is_over;

static void end(int number)
{
	(void)number;
	is_over = 1;
}

static double milliseconds(struct timespec time)
{
	return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static double now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return milliseconds(time);
}

static int compare(const void *a, const void *b)
{
	double first = *(const double *)a, second = *(const double *)b;

	return (first > second) - (first < second);
}

/* A socket that has what comes by a device for a port, with the time at which it came. */
static int open_socket(const char *device, unsigned port, unsigned every)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 7),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, IP_HEADER + 2),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, IP_HEADER + UDP_HEADER + 12, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP_HEADER + UDP_HEADER + 8), /* the datagram's number */
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, every - 1, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, LENGTH),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(*code), .filter = code};
	struct sockaddr_ll address = {.sll_family = AF_PACKET,
				      .sll_protocol = htons(ETH_P_IP),
				      .sll_ifindex = (int)if_nametoindex(device)};
	int one = 1, buffer = 16 << 20, fd = socket(AF_PACKET, SOCK_DGRAM, 0);

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0 ||
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("delays");
		exit(1);
	}
	return fd;
}

/* When the next datagram was sent and when it came, on their clocks; false at the end. */
static int next(int fd, double *sent, double *came)
{
	uint32_t packet[LENGTH / 4];
	char control[CMSG_SPACE(sizeof(struct timespec))];
	struct iovec part = {.iov_base = packet, .iov_len = sizeof(packet)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	const uint32_t *payload = packet + (IP_HEADER + UDP_HEADER) / 4;
	struct cmsghdr *header;

	if (is_over || recvmsg(fd, &message, 0) < 0)
		return 0;
	header = CMSG_FIRSTHDR(&message);
	if (!header)
		return 0;
	*came = milliseconds(*(const struct timespec *)CMSG_DATA(header));
	*sent = ntohl(payload[0]) * 1e3 + ntohl(payload[1]) / 1e3;
	return 1;
}

int main(int argc, char **argv)
{
	struct sigaction ending = {.sa_handler = end};
	double offset = now(CLOCK_REALTIME) - now(CLOCK_MONOTONIC), sent, came;
	size_t count = 0;
	int fd;

	if (argc != 4)
		return 2;
	sigaction(SIGTERM, &ending, NULL); /* without SA_RESTART */
	fd = open_socket(argv[1], (unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
	puts("ready");
	fflush(stdout);
	while (next(fd, &sent, &came)) {
		if (count < MOST)
			delays[count++] = came - offset - sent;
	}
	if (!count)
		return 1;
	qsort(delays, count, sizeof(*delays), compare);
	printf("%zu %.3f %.3f %.3f\n", count, delays[count / 2], delays[count * 99 / 100], delays[count - 1]);
	return 0;
}
