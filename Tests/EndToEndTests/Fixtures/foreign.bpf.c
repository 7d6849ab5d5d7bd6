// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs of somebody else: they count packets and let them pass. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

__u64 packets = 0;

SEC("cgroup_skb/ingress")
int foreign_in(__attribute__((unused)) struct __sk_buff *skb)
{
	__sync_fetch_and_add(&packets, 1);
	return 1;
}

SEC("tc")
int foreign_tc(__attribute__((unused)) struct __sk_buff *skb)
{
	__sync_fetch_and_add(&packets, 1);
	return -1; /* TC_ACT_UNSPEC, and TCX_NEXT: what comes behind decides */
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
