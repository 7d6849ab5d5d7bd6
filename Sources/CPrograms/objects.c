// SPDX-License-Identifier: MIT
#include "CPrograms.h"

#if !__has_embed("../../build/bpf/maps.bpf.o") || !__has_embed("../../build/bpf/limits.bpf.o") ||       \
	!__has_embed("../../build/bpf/limits-v2.bpf.o") || !__has_embed("../../build/bpf/tcp.bpf.o") || \
	!__has_embed("../../build/bpf/queue.bpf.o")
#error "the BPF objects are not built yet: run 'make bpf' first"
#endif

/* libbpf reads ELF structures in place, hence the alignment. */
_Alignas(8) static const unsigned char maps[] = {
#embed "../../build/bpf/maps.bpf.o"
};
_Alignas(8) static const unsigned char limits[] = {
#embed "../../build/bpf/limits.bpf.o"
};
_Alignas(8) static const unsigned char limits_without_cmpxchg[] = {
#embed "../../build/bpf/limits-v2.bpf.o"
};
_Alignas(8) static const unsigned char tcp[] = {
#embed "../../build/bpf/tcp.bpf.o"
};
_Alignas(8) static const unsigned char queue[] = {
#embed "../../build/bpf/queue.bpf.o"
};

struct programs_object programs_maps(void)
{
	return (struct programs_object){maps, sizeof(maps)};
}

struct programs_object programs_limits(bool has_cmpxchg)
{
	if (has_cmpxchg)
		return (struct programs_object){limits, sizeof(limits)};
	return (struct programs_object){limits_without_cmpxchg, sizeof(limits_without_cmpxchg)};
}

struct programs_object programs_tcp(void)
{
	return (struct programs_object){tcp, sizeof(tcp)};
}

struct programs_object programs_queue(void)
{
	return (struct programs_object){queue, sizeof(queue)};
}
