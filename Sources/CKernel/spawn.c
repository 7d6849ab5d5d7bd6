// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "CKernel.h"

/* Everything from here on to run_child() runs between clone and exec: async-signal-safe calls only. */

/* The calls themselves: glibc's wrappers would have all threads follow, and this process has none of them. */
static int become_user(const struct kernel_spawn *spawn)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_setgroups, spawn->group_count, spawn->groups) < 0 ||
	    syscall(SYS_setresgid, spawn->gid, spawn->gid, spawn->gid) < 0 ||
	    syscall(SYS_setresuid, spawn->uid, spawn->uid, spawn->uid) < 0)
		return -1;
	/* They are gone by now, but for ambient ones and where the caller's securebits(7) keep them. */
	return (int)syscall(SYS_capset, &header, none);
}

static _Noreturn void fail(const struct kernel_spawn *spawn, int error, int status)
{
	_exit(write(spawn->child_fd, &error, sizeof(error)) == sizeof(error) ? status : 125);
}

static _Noreturn void run_child(const struct kernel_spawn *spawn)
{
	struct sigaction action = {.sa_handler = SIG_IGN};
	char go;

	/* Else our own copy would keep the end of file away if the parent dies. */
	close(spawn->parent_fd);
	if (TEMP_FAILURE_RETRY(read(spawn->child_fd, &go, 1)) != 1)
		_exit(125);
	if (spawn->caller.ignores_sigchld)
		sigaction(SIGCHLD, &action, NULL);
	setrlimit(RLIMIT_MEMLOCK, &spawn->caller.memlock);
	if (spawn->groups && become_user(spawn) < 0)
		fail(spawn, -errno, 125);
	/* Signals that came during the set-up meet the command's own dispositions here. */
	sigprocmask(SIG_SETMASK, &spawn->caller.mask, NULL);
	execvpe(spawn->argv[0], spawn->argv, spawn->environment);
	fail(spawn, errno, errno == ENOENT ? 127 : 126);
}

/* Moves the child, which waits for our word, and takes hold of it. Returns what failed, or NULL. */
static const char *take_child(const struct kernel_spawn *spawn, pid_t pid, int *pidfd)
{
	if (spawn->cgroup_fd >= 0) {
		int procs = openat(spawn->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		int written = procs < 0 ? -1 : dprintf(procs, "%d", pid);

		if (procs >= 0)
			close(procs);
		if (written < 0)
			return "write cgroup.procs";
	}
	*pidfd = pidfd_open(pid, 0);
	return *pidfd < 0 ? "pidfd_open" : NULL;
}

/* clone3 is refused by seccomp in older containers (ENOSYS): there the child starts in our own cgroup. */
static pid_t fork_and_move(const struct kernel_spawn *spawn, int *pidfd, const char **failed_call)
{
	pid_t pid = fork();
	int error;

	*failed_call = "fork";
	if (pid == 0)
		run_child(spawn);
	if (pid < 0)
		return -1;
	*failed_call = take_child(spawn, pid, pidfd);
	if (!*failed_call)
		return pid;
	error = errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	errno = error;
	return -1;
}

pid_t kernel_spawn(const struct kernel_spawn *spawn, int *pidfd, const char **failed_call)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD | (spawn->cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = spawn->cgroup_fd >= 0 ? (unsigned)spawn->cgroup_fd : 0,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		run_child(spawn);
	if (pid < 0 && (errno == ENOSYS || errno == EPERM))
		return fork_and_move(spawn, pidfd, failed_call);
	*failed_call = "clone3";
	return pid;
}

void kernel_exec(char *const *argv, char *const *environment)
{
	execvpe(argv[0], argv, environment);
}

char **kernel_original_environment(int argc, char **argv)
{
	/* The kernel lays out the strings of argv, envp and the file name in a row: fs/exec.c,
	 * create_elf_tables(). */
	char *first = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
	char *end = (char *)getauxval(AT_EXECFN);
	size_t count = 0;
	char **environment;

	if (!getauxval(AT_SECURE) || !end || end < first)
		return environ;
	for (char *string = first; string < end; string += strlen(string) + 1)
		count++;
	environment = calloc(count + 1, sizeof(*environment));
	if (!environment)
		return environ;
	count = 0;
	for (char *string = first; string < end; string += strlen(string) + 1)
		environment[count++] = string;
	return environment;
}
