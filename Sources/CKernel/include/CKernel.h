/* SPDX-License-Identifier: MIT */
/* System calls and constants that Swift's Glibc module lacks or can't import; each says why it is here. */
#ifndef CKERNEL_H
#define CKERNEL_H

#include <linux/capability.h> /* CAP_* */
#include <linux/magic.h>      /* *_MAGIC of file systems */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/file.h>	  /* flock */
#include <sys/resource.h> /* rlimit */
#include <sys/types.h>

/* What we change for ourselves and the command must find as the caller left it. */
struct kernel_caller {
	sigset_t mask;
	bool ignores_sigchld;  /* we can't: our child would be reaped behind our back */
	struct rlimit memlock; /* libbpf raises it before 5.11 */
};

/*
 * Takes all catchable signals: blocks them and returns a signalfd(2) that reads them (CLOEXEC); -1 with
 * errno. The calls have no header in Swift's Glibc.
 */
int kernel_take_signals(struct kernel_caller *_Nonnull caller);

/* What the child does between clone and exec; all of it in C, as no Swift may run there. */
struct kernel_spawn {
	char *_Nullable const *_Nonnull argv;
	char *_Nullable const *_Nonnull environment;
	int cgroup_fd; /* directory of the cgroup to start in; -1: the caller's own */
	struct kernel_caller caller;
	/* Whom to run it as, without capabilities, and with which supplementary groups; NULL: as we are. */
	const gid_t *_Nullable groups;
	size_t group_count;
	gid_t gid;
	uid_t uid;
	/* A socket pair. The child waits for a byte before it goes on, and sends errno (an int) if exec
	 * fails, negative if it could not become that user. */
	int child_fd;
	int parent_fd;
};

/*
 * Starts the command inside its cgroup. Returns its pid and sets *pidfd (CLOEXEC); -1 with errno, and
 * *failed_call then names the call.
 */
pid_t kernel_spawn(const struct kernel_spawn *_Nonnull spawn, int *_Nonnull pidfd,
		   const char *_Nullable *_Nonnull failed_call);

/* execvpe(3), which Swift's Glibc lacks. Returns if it failed, with errno. */
void kernel_exec(char *_Nullable const *_Nonnull argv, char *_Nullable const *_Nonnull environment);

/* The environment as the caller gave it: with file capabilities, glibc removes LD_* and others. */
char *_Nullable *_Nonnull kernel_original_environment(int argc, char *_Nullable *_Nonnull argv);

/* One signal read from that descriptor. */
struct kernel_signal {
	int number;
	int code; /* SI_USER, SI_KERNEL, … */
	pid_t sender;
};

/* Takes the next signal. Returns 1; 0 where there is none; -1 with errno. */
int kernel_next_signal(int fd, struct kernel_signal *_Nonnull signal);

/* Whether a signal has come that is to end us, and that the caller doesn't ignore; errno is EINTR then. All
 * stay pending. */
bool kernel_is_ending(void);

/*
 * Writes as much as `fd` takes, waiting for it at most so many milliseconds, and not at all once
 * kernel_is_ending(): a terminal may be stopped (Ctrl-S) while signals are blocked. 0, or -1 with errno.
 */
int kernel_write_patiently(int fd, const void *_Nonnull data, size_t size, int milliseconds);

/* A change of state of a child: waitid(2) with its macros, which don't import. */
enum kernel_change {
	KERNEL_UNCHANGED,
	KERNEL_EXITED,	/* value: exit code */
	KERNEL_KILLED,	/* value: signal */
	KERNEL_STOPPED, /* value: signal */
	KERNEL_CONTINUED,
};

/* Collects one change of the child, without waiting. A dead one stays unless `reap`. -1 with errno. */
int kernel_child_change(int pidfd, bool reap, int *_Nonnull value);

int kernel_send_signal(int pidfd, int signal);

/* Restores the default action of `signal`, unblocks and raises it; returns if that didn't kill us. */
void kernel_raise(int signal);

/* Raises a signal that kills, without a core dump of our own. */
void kernel_die_by(int signal);

/*
 * Forks a process that the caller's terminal, process group and pipes don't know of: in a session of its own,
 * with only the `count` descriptors of `keep`, which are sorted, and /dev/null as its standard ones. For a
 * process with one thread. Returns as fork(2), which Swift doesn't have.
 */
pid_t kernel_fork_apart(const int *_Nonnull keep, int count);

/* A descriptor (CLOEXEC) for what a process has open as `fd` (pidfd_getfd(2), Linux 5.6), by that of the
 * process (pidfd_open(2)); -1 with errno. Older glibc has neither call. */
int kernel_open_process(pid_t pid);
int kernel_copy_descriptor(int process, int fd);

/* Bytes of memory that wait to be sent by a socket (SIOCOUTQ); -1 with errno. */
int kernel_waiting_bytes(int socket);

/* What one packet takes. */
#define KERNEL_MAX_FDS 16

/* Sends a packet with descriptors, which the other end of a Unix socket then has, too. -1 with errno. */
int kernel_send_fds(int socket, const void *_Nonnull data, size_t size, const int *_Nonnull fds, int count);

/*
 * Receives one, and its `count` descriptors (CLOEXEC), for which there is room for KERNEL_MAX_FDS. Returns
 * the packet's size; 0 where the other end is closed; -1 with errno.
 */
ssize_t kernel_receive_fds(int socket, void *_Nonnull data, size_t size, int *_Nonnull fds,
			   int *_Nonnull count);

/* Opens /dev/null (CLOEXEC) on each closed descriptor of 0 to 2, so that none of ours lands there. */
int kernel_occupy_standard_fds(void);

/*
 * Takes the calling thread to another network namespace. Needs CAP_SYS_ADMIN. setns(2) is a GNU call, which
 * Swift's Glibc lacks. -1 with errno.
 */
int kernel_enter_network(int fd);

/* Takes the calling thread to a network namespace of its own, which ends with it. As above: unshare(2). */
int kernel_make_network(void);

/* Sets loopback up, whose struct ifreq doesn't import. -1 with errno. */
int kernel_start_loopback(void);

/*
 * Makes a tun device with this IPv4 address, in a network of 256. Returns its descriptor, which a command
 * inherits; what is written there comes in by the device (Documentation/networking/tuntap.rst). -1 with
 * errno.
 */
int kernel_make_tunnel(uint32_t address);

/* File system type of an open file (f_type of statfs(2), whose type doesn't import); -1 with errno. */
int64_t kernel_filesystem_type(int fd);

/*
 * openat2(2), which has no wrapper: opens what is in a directory (CLOEXEC), on its file system only, and
 * follows no link. -1 with errno.
 */
int kernel_open_within(int directory, const char *_Nonnull name, int flags);

/* The device of an open file's file system, major << 32 | minor, as far as that is known without asking for
 * it: statx(2), whose flags need _GNU_SOURCE. 0 on failure. */
uint64_t kernel_device_of(int fd);

/* A private mount of cgroup v2 that no path shows, as a directory fd. Needs CAP_SYS_ADMIN. */
int kernel_mount_cgroup2(void);

/* Effective capabilities as a bit set; 0 on failure. capget(2) has no wrapper. */
uint64_t kernel_effective_capabilities(void);

/* Makes those of the permitted capabilities the effective ones of the calling thread. -1 with errno. */
int kernel_use_capabilities(uint64_t wanted);

/* Release string of the running kernel, such as "6.1.0-25-amd64"; empty on failure. */
const char *_Nonnull kernel_release(void);

/* The user at the other end of a Unix socket (SO_PEERCRED, whose struct needs _GNU_SOURCE); -1 with errno. */
int64_t kernel_peer_user(int socket);

/* Address family of an open socket, -1 if it is none. */
int kernel_socket_family(int fd);

/* O_PATH. */
extern const int KERNEL_PATH_ONLY;

/* Memory of that size for processes that are given its descriptor (CLOEXEC), whose size none of them can
 * change: memfd_create(2). -1 with errno. */
int kernel_shared_memory(const char *_Nonnull name, size_t size);

/* Whether a descriptor is such memory. */
bool kernel_is_shared_memory(int fd, size_t size);

/* Writes `after` where `before` is, and says whether it was: no other CPU gets in between. */
static inline bool kernel_replace(uint64_t *_Nonnull word, uint64_t before, uint64_t after)
{
	return __atomic_compare_exchange_n(word, &before, after, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* What was written before is seen before what is written after, by other CPUs too. */
static inline void kernel_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* CLOCK_MONOTONIC in nanoseconds, the clock of bpf_ktime_get_ns(). */
uint64_t kernel_monotonic_ns(void);

#endif
