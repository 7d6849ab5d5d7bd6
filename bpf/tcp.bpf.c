// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The program that makes a run's limits lossless for TCP: uploads are paced, so that they never meet the
 * police; windows of downloads are clamped, so that the sender can't be far over the limit.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "tcp.h"

/* Called by TCP for every socket of the run's cgroup. */
SEC("sockops")
int throttle_tcp(struct bpf_sock_ops *ops)
{
	struct throttle_socket *socket;

	if (ops->op == BPF_SOCK_OPS_RETRANS_CB) {
		/* That is, it was sent, and isn't the first packet, which may have been held. */
		if (!ops->args[2] && ops->state != BPF_TCP_SYN_SENT)
			__sync_fetch_and_add(&run.tcp.retransmitted_segments, ops->args[1]);
		return 1;
	}
	/* Without its mark it isn't TCP's own: MPTCP's subflows are policed. */
	socket = ops->sk ? bpf_sk_storage_get(&sockets, ops->sk, 0, 0) : NULL;
	if (!socket || socket->exempt)
		return 1;
	switch (ops->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_RTT_CB:
		tcp_pace(ops, socket);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		tcp_clamp_window(ops, socket);
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
