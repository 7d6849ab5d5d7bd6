/* SPDX-License-Identifier: MIT */
/* The BPF objects, embedded, the headers that they share with user space, and what their loader says. */
#ifndef CPROGRAMS_H
#define CPROGRAMS_H

#include <stddef.h>

#include "../../../bpf/bucket.h"
#include "../../../bpf/packet.h"
#include "../../../bpf/share.h"
#include "../../../bpf/throttle.h"

/* A function, as Swift can't import an extern array of unknown size. */
struct programs_object {
	const void *_Nonnull bytes;
	size_t size;
};

/* Has what libbpf would print told to `listener`. In C, as a va_list is another type on each architecture,
 * and Swift 6.2 can't have a closure take arm64's. */
void programs_log(void (*_Nonnull listener)(const char *_Nonnull text, size_t size));

/* The maps of a run, which the other objects work on. */
struct programs_object programs_maps(void);

/* The limits' object for this kernel: BPF got cmpxchg with Linux 5.12, on arm64 5.18, and bpf_loop()
 * with 5.17. */
struct programs_object programs_limits(bool has_cmpxchg, bool has_loop);

/* Those of TCP, and those at devices, which lead to queues. */
struct programs_object programs_tcp(void);
struct programs_object programs_download(void);
struct programs_object programs_upload(void);

/* Those for connections that are open already. */
struct programs_object programs_open(void);

#endif
