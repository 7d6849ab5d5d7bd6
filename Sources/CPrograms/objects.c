// SPDX-License-Identifier: MIT
#include "CPrograms.h"

#if !__has_embed("../../build/bpf/throttle.bpf.o") || !__has_embed("../../build/bpf/throttle-v2.bpf.o")
#error "the BPF objects are not built yet: run 'make bpf' first"
#endif

/* libbpf reads ELF structures in place, hence the alignment. */
_Alignas(8) static const unsigned char current[] = {
#embed "../../build/bpf/throttle.bpf.o"
};
_Alignas(8) static const unsigned char without_cmpxchg[] = {
#embed "../../build/bpf/throttle-v2.bpf.o"
};

struct programs_object programs_object(bool has_cmpxchg)
{
	if (has_cmpxchg)
		return (struct programs_object){current, sizeof(current)};
	return (struct programs_object){without_cmpxchg, sizeof(without_cmpxchg)};
}
