// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What is done to TCP connections that are open already: iterators over all sockets of a network namespace,
 * which user space runs when the run comes to them, and when it leaves them (Linux 5.15).
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "connect.h"
#include "maps.h"

/* From linux/bpf.h of Linux 6.12. */
#define TCP_OPTION_CALLBACKS 1008

/* As the kernel has them (BTF). */
struct sock_common;
struct tcp_sock;
struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

/* What a socket carries that is the run's; NULL of any other. */
static __always_inline struct throttle_socket *open_socket(struct bpf_iter__tcp *context,
							   struct tcp_sock **tcp)
{
	struct sock_common *common = context->sk_common;

	*tcp = common ? bpf_skc_to_tcp_sock(common) : NULL;
	return *tcp ? bpf_sk_storage_get(&sockets, *tcp, 0, 0) : NULL;
}

static __always_inline bool open_set(struct tcp_sock *tcp, int level, int option, __u32 value)
{
	return bpf_setsockopt(tcp, level, option, &value, sizeof(value)) == 0;
}

/* Makes TCP call the run's programs for what is open, too: since Linux 6.12. */
SEC("iter/tcp")
int throttle_enter(struct bpf_iter__tcp *context)
{
	struct tcp_sock *tcp;

	if (open_socket(context, &tcp))
		open_set(tcp, TCP_LEVEL, TCP_OPTION_CALLBACKS, TCP_CALLBACKS);
	return 0;
}

/* Takes back all that the run has set on what is open. */
SEC("iter/tcp")
int throttle_leave(struct bpf_iter__tcp *context)
{
	struct throttle_socket *socket;
	struct tcp_sock *tcp;

	socket = open_socket(context, &tcp);
	if (!socket)
		return 0;
	open_set(tcp, TCP_LEVEL, TCP_OPTION_CALLBACKS, 0);
	open_set(tcp, SOCKET_LEVEL, SOCKET_OPTION_MAX_PACING_RATE,
		 socket->own_pacing ? socket->own_pacing : TCP_UNPACED);
	if (socket->burst)
		open_set(tcp, TCP_LEVEL, TCP_BPF_SNDCWND_CLAMP, TCP_UNCLAMPED);
	open_set(tcp, TCP_LEVEL, TCP_OPTION_WINDOW_CLAMP, TCP_UNCLAMPED);
	bpf_sk_storage_delete(&sockets, tcp);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
