// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The programs that know a run's sockets, and make its limits lossless for TCP: uploads are paced, so that
 * they never meet the police; windows of downloads are clamped, so that the sender can't be far over the
 * limit.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "connect.h"
#include "maps.h"
#include "scope.h"
#include "tcp.h"

#define PASS 1

/* Keeps in mind in which network namespace a socket is; `context`: that of the program. */
static __always_inline void note_network(void *context, struct throttle_socket *socket)
{
	__u64 network;

	if (!constants.network || !socket)
		return;
	network = bpf_get_netns_cookie(context);
	if (network == constants.network)
		return;
	socket->network = network;
	run.has_strangers = 1;
}

/* Marks the run's sockets. */
SEC("cgroup/sock_create")
int throttle_sock(struct bpf_sock *sk)
{
	note_network(sk, bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE));
	return PASS;
}

/* Marks those that the kernel makes itself, too, such as MPTCP's subflows. */
static __always_inline void mark(struct bpf_sock_ops *ops)
{
	struct throttle_socket *socket;
	struct bpf_sock *sk = ops->sk;

	if (!sk || bpf_sk_storage_get(&sockets, sk, 0, 0))
		return;
	socket = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (socket)
		socket->is_kernels = 1;
	note_network(ops, socket);
}

/* Whether a connection is none of the run's, or can't be told to be, as one that is only asked for. */
static __always_inline bool is_others(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;

	return !sk || !bpf_sk_storage_get(&sockets, sk, 0, 0);
}

/* Whether the connection's peer is exempt; also of one that is asked for, which has no socket yet. */
static __always_inline bool exempts_connection(struct bpf_sock_ops *ops)
{
	__u32 address[4];

	if (ops->family == ADDRESS_FAMILY_IPV4)
		return scope_exempts_ipv4(ops->remote_ip4);
	address[0] = ops->remote_ip6[0];
	address[1] = ops->remote_ip6[1];
	address[2] = ops->remote_ip6[2];
	address[3] = ops->remote_ip6[3];
	return scope_exempts_ipv6(address);
}

/*
 * Keeps in mind whether a connection is exempt: each time, as a socket may connect again. What an earlier one
 * left is taken back before the first packet: it would clamp the window, and the pacing rate is told from it.
 */
static __always_inline void note_exempt(struct bpf_sock_ops *ops, bool exempt)
{
	struct throttle_socket *socket = ops->sk ? bpf_sk_storage_get(&sockets, ops->sk, 0, 0) : NULL;

	if (!socket)
		return;
	socket->exempt = exempt;
	if (exempt && (socket->pacing_rate || socket->window)) {
		tcp_unlimit(ops, socket);
		bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags & ~TCP_CALLBACKS);
	}
}

/* Bounds what a connection begins with, and makes TCP call throttle_tcp() from then on. */
SEC("sockops")
int throttle_calls(struct bpf_sock_ops *ops)
{
	/* Up to this one they have a peer, and none is called for each packet. */
	bool exempt =
		constants.scope && ops->op <= BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB && exempts_connection(ops);

	if (constants.is_guest && is_others(ops))
		return PASS;
	if (ops->op == BPF_SOCK_OPS_TCP_CONNECT_CB || ops->op == BPF_SOCK_OPS_TCP_LISTEN_CB)
		mark(ops);
	if (constants.scope && ops->op >= BPF_SOCK_OPS_TCP_CONNECT_CB &&
	    ops->op <= BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		note_exempt(ops, exempt);
	switch (ops->op) {
	case BPF_SOCK_OPS_TIMEOUT_INIT:
		if (run.learns[THROTTLE_DOWN] && !exempt)
			tcp_retry_soon(ops);
		break;
	case BPF_SOCK_OPS_RWND_INIT:
		if (!exempt)
			tcp_bound_first_window(ops);
		break;
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		if (!exempt)
			tcp_bound_segments(ops);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		if (exempt)
			break;
		tcp_note_source(ops);
		bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | TCP_CALLBACKS);
	}
	return PASS;
}

/* Called by TCP for every socket of the run's cgroup. */
SEC("sockops")
int throttle_tcp(struct bpf_sock_ops *ops)
{
	struct throttle_socket *socket;

	if (ops->op == BPF_SOCK_OPS_RETRANS_CB) {
		/* That is, it was sent, and isn't the first packet, which may have been held. */
		if (!ops->args[2] && ops->state != BPF_TCP_SYN_SENT)
			__sync_fetch_and_add(&run.tcp.retransmitted_segments, ops->args[1]);
		return PASS;
	}
	socket = ops->sk ? bpf_sk_storage_get(&sockets, ops->sk, 0, 0) : NULL;
	if (!socket || socket->exempt)
		return PASS;
	switch (ops->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_RTT_CB:
		tcp_pace(ops, socket);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		tcp_clamp_window(ops, socket);
	}
	return PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
