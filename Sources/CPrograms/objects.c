// SPDX-License-Identifier: MIT
#include "CPrograms.h"

#if !__has_embed("../../build/bpf/maps.bpf.o") || !__has_embed("../../build/bpf/limits.bpf.o") ||         \
	!__has_embed("../../build/bpf/limits-v2.bpf.o") ||                                                \
	!__has_embed("../../build/bpf/limits-v3.bpf.o") || !__has_embed("../../build/bpf/tcp.bpf.o") ||   \
	!__has_embed("../../build/bpf/download.bpf.o") || !__has_embed("../../build/bpf/upload.bpf.o") || \
	!__has_embed("../../build/bpf/open.bpf.o")
#error "the BPF objects are not built yet: run 'make bpf' first"
#endif

#define OBJECT(name) ((struct programs_object){name, sizeof(name)})

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
_Alignas(8) static const unsigned char limits_without_loop[] = {
#embed "../../build/bpf/limits-v3.bpf.o"
};
_Alignas(8) static const unsigned char tcp[] = {
#embed "../../build/bpf/tcp.bpf.o"
};
_Alignas(8) static const unsigned char download[] = {
#embed "../../build/bpf/download.bpf.o"
};
_Alignas(8) static const unsigned char upload[] = {
#embed "../../build/bpf/upload.bpf.o"
};
_Alignas(8) static const unsigned char open[] = {
#embed "../../build/bpf/open.bpf.o"
};

struct programs_object programs_maps(void)
{
	return OBJECT(maps);
}

struct programs_object programs_limits(bool has_cmpxchg, bool has_loop)
{
	if (!has_cmpxchg)
		return OBJECT(limits_without_cmpxchg);
	if (!has_loop)
		return OBJECT(limits_without_loop);
	return OBJECT(limits);
}

struct programs_object programs_tcp(void)
{
	return OBJECT(tcp);
}

struct programs_object programs_download(void)
{
	return OBJECT(download);
}

struct programs_object programs_upload(void)
{
	return OBJECT(upload);
}

struct programs_object programs_open(void)
{
	return OBJECT(open);
}
