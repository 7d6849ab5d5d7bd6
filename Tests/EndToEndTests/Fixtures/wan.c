// SPDX-License-Identifier: MIT
/*
 * wan NETNS_A NETNS_B DELAY_MS RATE LOSS_PERCENT [tap|tun [SEED [BUFFER_MS]]]: a long link between two
 * network namespaces, without any qdisc. Each gets a device wan0, with 10.78.0.1 and fd78::1 in A, 10.78.0.2
 * and fd78::2 in B. Each direction delays packets by DELAY_MS behind a bottleneck of RATE bytes per second
 * (0: none) with a buffer of a round trip and 100 kB, and loses LOSS_PERCENT of them at random. Writes
 * "ready" and, on SIGTERM or when its parent is gone, a line with counts.
 *
 * Where the link is fast and loses nothing, TCP segments cross in packets of up to 64 KB, as GRO of a fast
 * card would deliver them; else one by one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define DEVICE "wan0"
#define RING_SIZE (128ul << 20)
#define SLOT (128ul << 10) // room for the largest packet
#define NEVER UINT64_MAX
#define LEAST_BUFFER 100000ul
#define TICK 100000ul	   // ns: as cards gather packets; a wake-up each would cost a core
#define FAST_RATE 64000000 // 64 KB take a millisecond

// A packet under way, followed by its bytes; the first of them are a virtio_net_hdr.
struct packet {
	uint64_t due, length; // due: ns of the monotonic clock
};

struct direction {
	int from, to;
	uint64_t head, tail; // positions in the ring
	char ring[RING_SIZE];
	uint64_t link_free; // when the bottleneck is through with all that it has
	uint64_t random;
	uint64_t packets, lost, overflowed, failed;
};

static uint64_t delay, rate, buffer_time; // ns, bytes/s, ns
static double loss;

static void fail(const char *what)
{
	fprintf(stderr, "wan: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int is_lost(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (double)(*state >> 11) * 0x1p-53 < loss;
}

// Bytes on a wire: a GSO packet is worth many with headers of their own.
static uint64_t wire_length(const struct packet *packet)
{
	const struct virtio_net_hdr *header = (const void *)(packet + 1);
	const unsigned char *bytes = (const unsigned char *)(header + 1);
	uint64_t length = packet->length - sizeof(*header), headers;

	if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return length;
	headers = header->csum_start + (bytes[header->csum_start + 12] >> 4) * 4u; // up to TCP's end
	return length + (length - headers - 1) / header->gso_size * headers;
}

// The position behind a packet in the ring. None begins so near the end that the largest wouldn't fit.
static uint64_t behind(uint64_t position, uint64_t length)
{
	uint64_t next = position + ((sizeof(struct packet) + length + 7) & ~7ul);
	uint64_t left = RING_SIZE - next % RING_SIZE;

	return left < SLOT ? next + left : next;
}

// Takes one packet from the sending namespace. Returns whether there was one.
static int take(struct direction *self)
{
	struct packet *packet = (void *)(self->ring + self->tail % RING_SIZE);
	ssize_t length;
	uint64_t time;

	// While our ring is full, the device's own queue fills.
	if (RING_SIZE - (self->tail - self->head) < SLOT)
		return 0;
	length = read(self->from, packet + 1, SLOT - sizeof(*packet));
	if (length <= 0)
		return 0;
	time = now();
	self->packets++;
	if (self->link_free < time)
		self->link_free = time;
	if (is_lost(&self->random)) {
		self->lost++;
	} else if (self->link_free - time > buffer_time) {
		self->overflowed++;
	} else {
		packet->length = (uint64_t)length;
		if (rate)
			self->link_free += wire_length(packet) * 1000000000 / rate;
		packet->due = self->link_free + delay;
		self->tail = behind(self->tail, packet->length);
	}
	return 1;
}

// Delivers what is due, and returns when the next packet is; NEVER if there is none.
static uint64_t deliver(struct direction *self)
{
	while (self->head != self->tail) {
		struct packet *packet = (void *)(self->ring + self->head % RING_SIZE);
		if (packet->due > now())
			return packet->due;
		if (write(self->to, packet + 1, packet->length) < 0)
			self->failed++;
		self->head = behind(self->head, packet->length);
	}
	self->head = self->tail = 0; // memory that is still in the caches
	return NEVER;
}

static void *carry(void *argument)
{
	struct direction *self = argument;
	struct pollfd input = {.fd = self->from, .events = POLLIN};

	prctl(PR_SET_TIMERSLACK, 1ul);
	for (;;) {
		uint64_t due = deliver(self);
		uint64_t tick = (due / TICK + 1) * TICK, time = now(), rest = tick > time ? tick - time : 0;
		struct timespec timeout = {(time_t)(rest / 1000000000), (long)(rest % 1000000000)};

		if (!take(self))
			ppoll(&input, 1, due == NEVER ? NULL : &timeout, NULL);
	}
	return NULL;
}

static void enter(const char *namespace)
{
	int folder = open("/run/netns", O_RDONLY | O_CLOEXEC);
	int fd = openat(folder, namespace, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		fail(namespace);
}

// Makes the device in the namespace that we are in, as host 1 or 2. Returns its descriptor.
static int make_device(int host, int is_tap)
{
	int is_whole = loss <= 0 && (!rate || rate >= FAST_RATE);
	struct ifreq request = {.ifr_name = DEVICE};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	char command[512];

	request.ifr_flags = (short)(IFF_NO_PI | IFF_VNET_HDR | (is_tap ? IFF_TAP : IFF_TUN));
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 ||
	    ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | (is_whole ? TUN_F_TSO4 | TUN_F_TSO6 : 0)) < 0)
		fail("/dev/net/tun");
	// One hardware address for both ends: without ARP, the kernel sends to its own. A short queue would
	// lose bursts that we don't read in time.
	snprintf(command, sizeof(command),
		 "ip link set " DEVICE "%s arp off mtu 1500 txqueuelen 100000 up &&"
		 "ip address add 10.78.0.%d/24 dev " DEVICE " && ip address add fd78::%d/64 dev " DEVICE
		 " nodad",
		 is_tap ? " address 02:00:00:00:00:78" : "", host, host);
	if (system(command))
		exit(1);
	return fd;
}

// Packets that the device itself dropped in the namespace that we are in.
static uint64_t dropped_by_device(void)
{
	FILE *file = fopen("/proc/thread-self/net/dev", "re");
	uint64_t dropped = 0;
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, " " DEVICE ": %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %lu", &dropped);
	return dropped;
}

int main(int argc, char **argv)
{
	static struct direction directions[2];
	struct timespec second = {.tv_sec = 1};
	uint64_t seed = argc > 7 ? strtoull(argv[7], NULL, 10) : 1;
	pid_t parent = getppid();
	pthread_t thread;
	sigset_t ending;

	if (argc < 6)
		return 2;
	delay = (uint64_t)(atof(argv[3]) * 1e6);
	rate = strtoull(argv[4], NULL, 10);
	loss = atof(argv[5]) / 100;
	buffer_time = argc > 8 ? (uint64_t)(atof(argv[8]) * 1e6)
			       : 2 * delay + (rate ? LEAST_BUFFER * 1000000000 / rate : 0);
	sigemptyset(&ending);
	sigaddset(&ending, SIGTERM);
	sigprocmask(SIG_BLOCK, &ending, NULL);
	for (int i = 0; i < 2; i++) {
		enter(argv[1 + i]);
		directions[i].from = directions[1 - i].to =
			make_device(i + 1, argc < 7 || strcmp(argv[6], "tun") != 0);
		directions[i].random = (seed * 2 + (uint64_t)i + 1) * 0x9e3779b97f4a7c15;
	}
	for (int i = 0; i < 2; i++)
		if (pthread_create(&thread, NULL, carry, &directions[i]))
			return 1;
	puts("ready");
	fflush(stdout);

	// PR_SET_PDEATHSIG would tell of the thread that started us, which ends before its process.
	while (sigtimedwait(&ending, NULL, &second) < 0 && getppid() == parent)
		;
	for (int i = 0; i < 2; i++) {
		struct direction *self = &directions[i];

		enter(argv[1 + i]);
		printf("%s: packets %lu lost %lu overflowed %lu failed %lu dropped-by-device %lu%s",
		       i ? "B-A" : "A-B", self->packets, self->lost, self->overflowed, self->failed,
		       dropped_by_device(), i ? "\n" : "; ");
	}
	return 0;
}
