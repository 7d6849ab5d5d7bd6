// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A strict token bucket that drops, like the kernel's samples/bpf/hbm: packets of up to 120 bytes always
 * pass, and TCP that sends too fast is told so (CWR). Its credit is HBM's 150 kB, or 200 ms at higher rates,
 * as TCP that may send nothing waits so long. RATE: bytes per second.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define MOST_CREDIT (RATE / 5 > 150000 ? RATE / 5 : 150000)
#define SMALL_PACKET 120
#define SECOND 1000000000ll
#define DROP 0
#define PASS 1
#define SLOW_DOWN 2 // with DROP or PASS, at egress

struct bucket {
	struct bpf_spin_lock lock;
	long long credit; // bytes, scaled by SECOND / RATE: ns
	unsigned long long filled;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

static int passes(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct bucket *bucket = bpf_map_lookup_elem(&buckets, &key);
	long long most = MOST_CREDIT * SECOND / RATE, cost = skb->len * SECOND / RATE;
	unsigned long long now = bpf_ktime_get_ns();
	int is_within;

	if (!bucket || skb->len <= SMALL_PACKET)
		return 1;
	bpf_spin_lock(&bucket->lock);
	if (now > bucket->filled) {
		bucket->credit += bucket->filled ? now - bucket->filled : most;
		bucket->filled = now;
	}
	if (bucket->credit > most)
		bucket->credit = most;
	is_within = bucket->credit >= 0;
	if (is_within)
		bucket->credit -= cost;
	bpf_spin_unlock(&bucket->lock);
	return is_within;
}

SEC("cgroup_skb/ingress")
int hbm_down(struct __sk_buff *skb)
{
	return passes(skb) ? PASS : DROP;
}

SEC("cgroup_skb/egress")
int hbm_up(struct __sk_buff *skb)
{
	return passes(skb) ? PASS : DROP | SLOW_DOWN;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
