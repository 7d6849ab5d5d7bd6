// SPDX-License-Identifier: MIT
#include "CPrograms.h"

#if !__has_embed("../../build/bpf/maps.bpf.o") || !__has_embed("../../build/bpf/limits.bpf.o") ||         \
	!__has_embed("../../build/bpf/limits-v2.bpf.o") ||                                                \
	!__has_embed("../../build/bpf/limits-v3.bpf.o") || !__has_embed("../../build/bpf/tcp.bpf.o") ||   \
	!__has_embed("../../build/bpf/download.bpf.o") || !__has_embed("../../build/bpf/upload.bpf.o") || \
	!__has_embed("../../build/bpf/open.bpf.o")
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
	return (struct programs_object){maps, sizeof(maps)};
}

struct programs_object programs_limits(bool has_cmpxchg, bool has_loop)
{
	if (!has_cmpxchg)
		return (struct programs_object){limits_without_cmpxchg, sizeof(limits_without_cmpxchg)};
	if (!has_loop)
		return (struct programs_object){limits_without_loop, sizeof(limits_without_loop)};
	return (struct programs_object){limits, sizeof(limits)};
}

struct programs_object programs_tcp(void)
{
	return (struct programs_object){tcp, sizeof(tcp)};
}

struct programs_object programs_download(void)
{
	return (struct programs_object){download, sizeof(download)};
}

struct programs_object programs_upload(void)
{
	return (struct programs_object){upload, sizeof(upload)};
}

struct programs_object programs_open(void)
{
	return (struct programs_object){open, sizeof(open)};
}
