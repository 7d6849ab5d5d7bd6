/* SPDX-License-Identifier: MIT */
/*
 * What a run's BPF programs and user space share: the layout of their maps, foremost the mmapable
 * ".data.run" with one struct throttle_run, and the classes of the queue. Read by clang -target bpf, the
 * host's C compiler and Swift alike.
 */
#ifndef THROTTLE_H
#define THROTTLE_H

#include <linux/types.h>

#define THROTTLE_CACHE_LINE 64

/* BPF has no calls that return or take structs by value; everything shared is inlined. */
#define THROTTLE_INLINE static inline __attribute__((always_inline))

/* Directions as the command sees them; indexes of every array below. */
enum throttle_direction {
	THROTTLE_DOWN = 0, /* ingress */
	THROTTLE_UP = 1,   /* egress */
	THROTTLE_DIRECTIONS = 2,
};

/*
 * Handles of the run's queue (linux/pkt_sched.h): of its HTB, and of classes in it. A packet waits in the
 * class that its priority names (skb->priority); any other priority means THROTTLE_REST_CLASS.
 */
enum throttle_queue_handle {
	THROTTLE_QUEUE_ROOT = 0x74740000,
	THROTTLE_TCP_CLASS = THROTTLE_QUEUE_ROOT | 0x10,
	THROTTLE_REST_CLASS = THROTTLE_QUEUE_ROOT | 0x20,
	/* Where packets are delayed: */
	THROTTLE_FREE_CLASS = THROTTLE_QUEUE_ROOT | 0x30, /* delayed, but held to no rate */
	THROTTLE_NEAR_CLASS = THROTTLE_QUEUE_ROOT | 0x40, /* held to the rate, but not delayed */
	/* Where the kernel has no fq_codel: the first packets of each flow, before all others. */
	THROTTLE_FRESH_CLASS = THROTTLE_QUEUE_ROOT | 0x50,
};

/* Whether a packet's priority is that of a class: it goes to a queue, or comes from one. */
THROTTLE_INLINE int throttle_is_class(__u32 priority)
{
	return (priority & 0xffff0000) == THROTTLE_QUEUE_ROOT;
}

/* What one direction may do. Written by user space; make one with bucket_limit() of bucket.h. */
struct throttle_limit {
	__u64 rate;	/* bytes per second; 0: not limited */
	__u64 mult;	/* nanoseconds per byte, fixed point with `shift` fraction bits; 0: not limited */
	__u64 burst_ns; /* how far the schedule may be ahead of the clock before packets are dropped */
	__u32 shift;
	__u32 count_wire; /* 0: payload bytes are charged; 1: layer 2 frames */
};

/* What both directions may do: two slots, so that both change at once. Read and written by bucket.h. */
struct throttle_limits {
	struct throttle_limit slots[2][THROTTLE_DIRECTIONS];
	__u32 slot; /* the one that holds */
	__u32 pad;
};

/*
 * What one direction did. Written by the programs with atomic adds, so the counters are exact across
 * CPUs. All of a packet's writes fall into this one cache line.
 */
struct throttle_meter {
	__u64 tat; /* theoretical arrival time of the next packet, CLOCK_MONOTONIC ns (GCRA) */
	__u64 passed_packets;
	__u64 passed_payload_bytes;
	__u64 passed_wire_bytes;
	__u64 dropped_packets;
	__u64 dropped_payload_bytes;
	__u64 first_ns; /* CLOCK_MONOTONIC of the first packet that was charged; 0: none yet */
	__u64 last_ns;	/* of the last one */
};

/* What the parent's program saw of the same traffic: proof that the run's own programs execute. */
struct throttle_witness {
	__u64 packets;
	__u64 bytes; /* from the network header on */
};

/* The fair share of share.h, kept by the TCP program: one direction's. */
struct throttle_share {
	__u64 gain;	  /* 0: no step yet */
	__u64 stepped_ns; /* CLOCK_MONOTONIC of the last correction */
	__u64 epoch_ns;	  /* of the epoch's start */
	__u32 epoch;
	__u32 active_before; /* sockets that were active in the epoch before */
	__u32 active_now;
	__u32 sockets; /* that were ever given a share */
	__u32 limited; /* whether the limit was ever what held them back */
	__u32 pad;
};

/* Traffic with peers that no limit is for. Written by the programs with atomic adds. */
struct throttle_exempt {
	__u64 packets;
	__u64 bytes; /* from the network header on */
};

/* Whether there are prefixes, and what becomes of peers that none of them has: the programs' constant. */
enum throttle_scope {
	THROTTLE_ALL_LIMITED = 0, /* there are none */
	THROTTLE_OTHERS_LIMITED = 1,
	THROTTLE_OTHERS_EXEMPT = 2,
};

/*
 * What holds for all of a run's life, in the map ".rodata.run". Written by user space before the programs are
 * loaded: the verifier takes out all that a run has no use for.
 */
struct throttle_constants {
	__u32 scope;	 /* enum throttle_scope */
	__u32 grouped;	 /* whether the run's packets are charged to its group's budget, too */
	__u32 retry;	 /* jiffies after which a connection's first packet that was held is tried again */
	__u32 is_guest;	 /* whether its programs are on a cgroup that others are in: only marked sockets are
			    the run's */
	__u32 is_late;	 /* whether the run came to what moved data already */
	__u32 has_quota; /* whether it may move no more than run.quota */
	__u32 is_timed;	 /* whether it is to be known how long round trips take */
	__u32 pad;
	__u64 network; /* the cookie of throttle's network namespace; 0: sockets' can't be told here */
};

/* The same of the programs at devices, in the map ".rodata.queue". */
struct throttle_queue_constants {
	__u32 has_no_ethernet; /* packets of the device begin with IP, as those of tun and WireGuard */
	__u32 mark;	       /* the bit of skb->tc_index that uploads have that were in the run's queue */
	__u32 impairs;	       /* whether packets may be to be delayed or lost */
	__u32 pad;
	__u64 network; /* the device's, as in struct throttle_socket */
};

/* Where these programs lead packets, in the map ".data.queue". Written by user space before they are
 * attached. */
struct throttle_queue_target {
	__u32 device;	 /* its index */
	__u32 has_fresh; /* whether it has a class for the first packets of each flow */
};

/* As many as user space may give, and those of local networks. */
#define THROTTLE_MAX_PREFIXES 1040

/* Peers whose addresses begin alike: a key of an LPM trie. IPv4's addresses are ::ffff:a.b.c.d. */
struct throttle_prefix {
	__u32 bits;	  /* that count, of 128 */
	__u32 address[4]; /* in network byte order */
};

/* What happened to TCP beyond single packets. */
struct throttle_tcp {
	__u64 deferred_packets;	      /* refused while over the limit: TCP keeps them and sends them later */
	__u64 retransmitted_segments; /* by the run's sockets */
};

/* The queues that one direction waits in, one in each network namespace. Written by user space. */
struct throttle_queue {
	__u32 in_use;  /* whether packets are led there */
	__u32 largest; /* bytes of a download but TCP's; a larger one is left to the police */
	__u32 samples;
	__u32 senders;	  /* sockets but TCP's whose uploads waited; counted by the program */
	__u32 is_awaited; /* whether one for uploads is being made; set by the program */
	__u32 bounded;	  /* so many of the senders have a buffer that is bounded, or can't be */
	__u32 delays;	  /* whether all packets are led there, as they are delayed */
	__u32 drains;	  /* whether police lets pass what waited there */
	__u64 cost; /* ns that 64 KB take at its rate; 0: all packets are led there, also to an empty one */
	__u64 due;  /* CLOCK_MONOTONIC ns when all that came would be through (GCRA) */
	__u64 led;  /* packets; counted by the program at devices */
	__u64 arrived; /* packets that came out; counted by police */
	__u64 astray;  /* so many fewer came out than went in while nothing waited: never seen by police */
	__u64 delay_sum_ns; /* of all samples */
	__u64 delay_max_ns;
	__u64 dropped_packets;
};

enum throttle_device_state {
	THROTTLE_DEVICE_NONE = 0,
	THROTTLE_DEVICE_NEW = 1,     /* the guard was told of it */
	THROTTLE_DEVICE_SETTLED = 2, /* downloads are led to a queue, or can't be; uploads can't be */
	THROTTLE_DEVICE_LEADS = 3,   /* uploads are led to a queue */
};

/* A device that packets of the run pass. Programs write it, but that it is settled, and forgotten. */
struct throttle_device {
	__u64 network;	/* as in struct throttle_socket */
	__u64 since_ns; /* CLOCK_MONOTONIC of the first packet */
	__u32 index;
	__u32 state;  /* enum throttle_device_state */
	__u32 unseen; /* uploads since the program at the device saw one */
	__u32 pad;
};

#define THROTTLE_DEVICES 64
#define THROTTLE_SOURCES 16

/* What the programs tell the guard by the ring buffer "alarm". */
struct throttle_event {
	__u64 network;
	__u32 device;	 /* a new one, by its index; 0: only that something moves again */
	__u32 direction; /* what it is new for */
};

/* What is known of round trips since user space looked last; that is what resets the first two. */
struct throttle_run_times {
	__u64 queueing_ns; /* the least that one was above the shortest to that address; all bits: none was */
	__u64 base_ns;	   /* that shortest one */
	__u64 samples;
	__u64 acknowledged_bytes; /* of uploads */
	__u64 wire_bytes;	  /* of downloads, as devices count them */
};

/* How a run gives way. Written by user space, for reports. */
struct throttle_yield {
	__u32 is_on;
	__u32 is_away[THROTTLE_DIRECTIONS]; /* whether it leaves the line to others now */
	__u32 yields[THROTTLE_DIRECTIONS];  /* how often it did */
	__u32 queueing_us;		    /* of the last round trip */
	__u32 base_us;
	__u32 pad;
};

/* What is in force. Written by user space; both processes of a run tell it from here. */
struct throttle_state {
	__u32 planes;	     /* a bit for each that holds limits besides the police */
	__u32 has_witness;   /* whether the parent has its programs */
	__u32 has_tcp;	     /* whether those are attached that know the run's sockets */
	__u32 is_impaired;   /* whether packets are delayed and lost, as was asked for */
	__u64 networks[4];   /* inodes of other network namespaces than throttle's that have had queues */
	__u64 obstacle[120]; /* why downloads don't wait in a queue, where they were to: text, ends with a 0
			      */
};

/* What is added to each round trip. Written by user space. */
struct throttle_delay {
	__u32 us;
	__u32 jitter_us; /* so much more or less; at most `us` */
};

struct throttle_run {
	struct throttle_meter meter[THROTTLE_DIRECTIONS];
	struct throttle_limits limits;
	__u32 asleep; /* whether the guard is to be woken by the next packet that is charged */
	__u32 learns[THROTTLE_DIRECTIONS]; /* whether it is to be told of devices, as packets may wait in
					    * queues
					    */
	__u32 loss[THROTTLE_DIRECTIONS];   /* 2^32 times the chance that a packet is lost, less 1; 0: none */
	struct throttle_delay delay;
	__u32 has_strangers; /* whether sockets were made in other network namespaces than throttle's */
	struct throttle_witness witness[THROTTLE_DIRECTIONS];
	struct throttle_share share[THROTTLE_DIRECTIONS];
	struct throttle_tcp tcp;
	struct throttle_queue queue[THROTTLE_DIRECTIONS];
	/* Those that downloads come in by, and those that uploads leave by which pacing can't reach. */
	struct throttle_device devices[THROTTLE_DIRECTIONS][THROTTLE_DEVICES];
	__u32 sources[THROTTLE_SOURCES]; /* hashes of local addresses that connections were made from */
	/* What the run's user asked for, in bytes per second, 0 for no limit. A group may allot it less. */
	__u64 asked[THROTTLE_DIRECTIONS];
	struct throttle_exempt exempt[THROTTLE_DIRECTIONS];
	__u64 lost[THROTTLE_DIRECTIONS]; /* packets, as was asked for */
	struct throttle_run_times times;
	struct throttle_yield yield;
	__u64 quota;	  /* bytes of both directions, as the limits count them. Written by user space */
	__u64 is_used_up; /* whether a packet was more than it had left */
	struct throttle_state state;
};

/* One direction of what the runs of a group share: a bucket that all their packets are charged to. */
struct throttle_budget {
	__u64 tat;	/* as in struct throttle_meter */
	__u64 burst_ns; /* of all runs together, so it grows with their number */
	__u64 pad[6];	/* each direction has a cache line of its own */
};

/* The memory that all runs of a group share: one value in the mmapable map ".data.group". */
struct throttle_group {
	struct throttle_budget budget[THROTTLE_DIRECTIONS];
	struct throttle_limits limits; /* without a burst */
};

/* What a socket of the run carries. */
struct throttle_socket {
	__u32 epoch[THROTTLE_DIRECTIONS]; /* the last one that it was counted in, plus 1; 0: none */
	__u64 pacing_rate;		  /* as last set */
	__u32 burst;			  /* congestion window clamp, in segments, as last set; 0: none */
	__u32 window;			  /* as last set */
	__u32 tick;			  /* when that was */
	__u32 queued;			  /* whether its downloads come through the queue */
	__u32 exempt;			  /* whether no limit is for its peer */
	__u32 is_bounded;		  /* whether its receive buffer was set */
	__u32 retries_soon; /* whether its first packet may be held, as it is tried again soon */
	__u32 is_kernels;   /* whether the kernel made it itself, as MPTCP does */
	__u32 is_sender;    /* whether it is counted among those whose uploads waited */
	__u32 largest;	    /* bytes of its largest datagram that may have been sent in fragments */
	__u32 early;	    /* packets that it sent while some sender's buffer wasn't bounded yet */
	__u32 own_pacing; /* what its user paced it at, where the run came later, in bytes a second; 0: not */
	__u32 is_adopted; /* whether it was made before the run came */
	__u32 is_pending; /* whether it isn't charged yet, as throttle has yet to pace it */
	__u32 fresh_bytes; /* that came in since it last rested */
	__u32 fresh_tick;  /* when the last of them did */
	__u64 network;	   /* the cookie of its network namespace; 0: throttle's own */
};

/* Not by an alignment attribute: Swift can't import such a struct. */
_Static_assert(sizeof(struct throttle_meter) == THROTTLE_CACHE_LINE, "a meter fills a line");
_Static_assert(sizeof(struct throttle_budget) == THROTTLE_CACHE_LINE, "a budget fills a line");

#endif
