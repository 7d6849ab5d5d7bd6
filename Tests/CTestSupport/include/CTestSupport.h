/* SPDX-License-Identifier: MIT */
/* What tests need of the kernel and Swift can't call. */
#ifndef CTESTSUPPORT_H
#define CTESTSUPPORT_H

#include <stdint.h>

/* Leaves the calling thread only the effective capabilities of `kept`, a bit set. -1 with errno. */
int test_keep_capabilities(uint64_t kept);

/* Loads a cgroup_skb program for the attach type `expected` that passes all packets; -1 with errno. */
int test_load_passing_program(const char *_Nonnull name, uint32_t expected);

/*
 * BPF_PROG_TEST_RUN: calls a program `repeat` times with an Ethernet frame of these segments. Returns what
 * the last call returned; -1 with errno.
 */
int test_run_program(int program, const void *_Nonnull frame, uint32_t size, uint32_t gso_segs,
		     uint32_t gso_size, uint32_t repeat);

#endif
