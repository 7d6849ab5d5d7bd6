// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "CKernel.h"

int kernel_take_signals(struct kernel_caller *caller)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	struct sigaction previous;
	sigset_t all;

	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, &caller->mask) < 0 || sigaction(SIGCHLD, &action, &previous) < 0 ||
	    getrlimit(RLIMIT_MEMLOCK, &caller->memlock) < 0)
		return -1;
	caller->ignores_sigchld = previous.sa_handler == SIG_IGN;
	return signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
}

bool kernel_is_ending(void)
{
	static const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
	struct sigaction action;
	sigset_t pending;

	if (sigpending(&pending) < 0)
		return false;
	for (size_t i = 0; i < sizeof(ending) / sizeof(*ending); i++) {
		/* While it is blocked, an ignored one is pending, too. */
		if (sigismember(&pending, ending[i]) == 1 && sigaction(ending[i], NULL, &action) == 0 &&
		    action.sa_handler != SIG_IGN) {
			errno = EINTR;
			return true;
		}
	}
	return false;
}

int kernel_write_patiently(int fd, const void *data, size_t size, int milliseconds)
{
	struct pollfd writable = {.fd = fd, .events = POLLOUT};
	const char *rest = data;
	struct stat status;
	/* What surely fits where poll(2) says so: a terminal's buffers have room in units of 256
	 * (tty_buffer.c). */
	size_t most = fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) ? 256 : PIPE_BUF;
	const int step = 20;
	int waited = 0;

	while (size > 0) {
		int ready = TEMP_FAILURE_RETRY(poll(&writable, 1, 0));
		ssize_t written = ready == 0 ? 0 : write(fd, rest, size < most ? size : most);

		if (written > 0) {
			rest += written;
			size -= (size_t)written;
			continue;
		}
		if (written < 0 && errno != EINTR && errno != EAGAIN)
			return -1;
		if (kernel_is_ending())
			return -1;
		if (waited >= milliseconds) {
			errno = ETIMEDOUT;
			return -1;
		}
		TEMP_FAILURE_RETRY(poll(&writable, 1, step));
		waited += step;
	}
	return 0;
}

int kernel_next_signal(int fd, struct kernel_signal *signal)
{
	struct signalfd_siginfo info;

	if (TEMP_FAILURE_RETRY(read(fd, &info, sizeof(info))) != sizeof(info))
		return errno == EAGAIN ? 0 : -1;
	*signal = (struct kernel_signal){(int)info.ssi_signo, info.ssi_code, (pid_t)info.ssi_pid};
	return 1;
}

int kernel_child_change(int pidfd, bool reap, int *value)
{
	int events = reap ? WEXITED : WEXITED | WSTOPPED | WCONTINUED | WNOWAIT;
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)pidfd, &info, events | WNOHANG) < 0)
		return -1;
	*value = info.si_status;
	if (info.si_pid == 0)
		return KERNEL_UNCHANGED;
	if (info.si_code == CLD_EXITED)
		return KERNEL_EXITED;
	if (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
		return KERNEL_KILLED;
	/* WNOWAIT left the change in place; take it, so that the next one can be seen. */
	waitid(P_PIDFD, (id_t)pidfd, &info, WSTOPPED | WCONTINUED | WNOHANG);
	return info.si_code == CLD_CONTINUED ? KERNEL_CONTINUED : KERNEL_STOPPED;
}

int kernel_send_signal(int pidfd, int signal)
{
	return pidfd_send_signal(pidfd, signal, NULL, 0);
}

void kernel_raise(int signal)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	struct sigaction previous;
	sigset_t set;

	sigaction(signal, &action, &previous);
	sigemptyset(&set);
	sigaddset(&set, signal);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaction(signal, &previous, NULL);
}

void kernel_die_by(int signal)
{
	prctl(PR_SET_DUMPABLE, 0);
	kernel_raise(signal);
}
