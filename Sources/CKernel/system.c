// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include <errno.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/openat2.h>
#include <linux/sockios.h> /* SIOCOUTQ */
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "CKernel.h"

int kernel_occupy_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		/* open() takes the lowest free number, which is this one. */
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
			return -1;
	}
	return 0;
}

int kernel_open_process(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int kernel_copy_descriptor(int process, int fd)
{
	return (int)syscall(SYS_pidfd_getfd, process, fd, 0);
}

int kernel_waiting_bytes(int socket)
{
	int bytes = 0;

	return ioctl(socket, SIOCOUTQ, &bytes) < 0 ? -1 : bytes;
}

/* Room for the descriptors of one packet. */
union descriptors {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(KERNEL_MAX_FDS * sizeof(int))];
};

int kernel_send_fds(int socket, const void *data, size_t size, const int *fds, int count)
{
	union descriptors control = {0};
	struct iovec part = {.iov_base = (void *)data, .iov_len = size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (count > KERNEL_MAX_FDS) {
		errno = E2BIG;
		return -1;
	}
	if (count > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, (size_t)count * sizeof(int));
	}
	return TEMP_FAILURE_RETRY(sendmsg(socket, &message, MSG_NOSIGNAL)) < 0 ? -1 : 0;
}

ssize_t kernel_receive_fds(int socket, void *data, size_t size, int *fds, int *count)
{
	union descriptors control = {0};
	struct iovec part = {.iov_base = data, .iov_len = size};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	ssize_t received = TEMP_FAILURE_RETRY(recvmsg(socket, &message, MSG_CMSG_CLOEXEC));
	/* A packet of 0 bytes may bring descriptors, too. */
	struct cmsghdr *header = received >= 0 ? CMSG_FIRSTHDR(&message) : NULL;

	*count = 0;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		*count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(header), (size_t)*count * sizeof(int));
	}
	if (received >= 0 && message.msg_flags & MSG_CTRUNC) {
		errno = EMFILE;
		return -1;
	}
	return received;
}

/*
 * Has a new child run on another CPU than ours at once, where there is one: on ours it would wait until we
 * do, a few milliseconds.
 */
static void move_away(pid_t child)
{
	int here = sched_getcpu();
	cpu_set_t all, others;

	if (here < 0 || sched_getaffinity(child, sizeof(all), &all) < 0)
		return;
	others = all;
	CPU_CLR((unsigned)here, &others);
	if (CPU_COUNT(&others) > 0 && sched_setaffinity(child, sizeof(others), &others) == 0)
		sched_setaffinity(child, sizeof(all), &all);
}

pid_t kernel_fork_apart(const int *keep, int count)
{
	pid_t pid = fork();
	int null;

	if (pid > 0)
		move_away(pid);
	if (pid != 0)
		return pid;
	setsid();
	if (chdir("/") < 0)
		_exit(125);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd <= 2; fd++) {
		if (TEMP_FAILURE_RETRY(dup2(null, fd)) < 0)
			_exit(125);
	}
	for (int i = 0; i <= count; i++) {
		unsigned first = i == 0 ? 3 : (unsigned)keep[i - 1] + 1;
		unsigned last = i == count ? ~0U : (unsigned)keep[i] - 1;

		/* Kept open, our end of a socket pair would hide that the other process has ended. */
		if (first <= last && close_range(first, last, 0) < 0)
			_exit(125);
	}
	return 0;
}

const int KERNEL_PATH_ONLY = O_PATH;

/* Of a smaller one, whoever has it mapped would die by SIGBUS. */
static const int SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

int kernel_shared_memory(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

bool kernel_is_shared_memory(int fd, size_t size)
{
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & SEALS) == SEALS && fstat(fd, &status) == 0 &&
	       status.st_size == (off_t)size;
}

int kernel_enter_network(int fd)
{
	return setns(fd, CLONE_NEWNET);
}

int kernel_make_network(void)
{
	return unshare(CLONE_NEWNET);
}

int kernel_start_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int result;

	if (fd < 0)
		return -1;
	result = ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
	return result;
}

/* Gives the device of `request` an address in a network of 256, and sets it up. */
static int start_device(struct ifreq *request, uint32_t address)
{
	struct sockaddr_in of_device = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
	struct sockaddr_in mask = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xffffff00)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int result;

	if (fd < 0)
		return -1;
	memcpy(&request->ifr_addr, &of_device, sizeof(of_device));
	result = ioctl(fd, SIOCSIFADDR, request);
	memcpy(&request->ifr_netmask, &mask, sizeof(mask));
	if (result == 0)
		result = ioctl(fd, SIOCSIFNETMASK, request);
	request->ifr_flags = IFF_UP;
	if (result == 0)
		result = ioctl(fd, SIOCSIFFLAGS, request);
	close(fd);
	return result;
}

int kernel_make_tunnel(uint32_t address)
{
	struct ifreq request = {.ifr_name = "tun%d", .ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR);

	if (fd < 0)
		return -1;
	if (ioctl(fd, TUNSETIFF, &request) < 0 || start_device(&request, address) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int64_t kernel_filesystem_type(int fd)
{
	struct statfs info;

	return fstatfs(fd, &info) < 0 ? -1 : (int64_t)info.f_type;
}

int kernel_open_within(int directory, const char *name, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, directory, name, &how, sizeof(how));

	/* Refused by seccomp in older containers. */
	return fd < 0 && (errno == ENOSYS || errno == EPERM)
		       ? openat(directory, name, flags | O_CLOEXEC | O_NOFOLLOW)
		       : fd;
}

uint64_t kernel_device_of(int fd)
{
	struct statx status = {0};

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &status) < 0)
		return 0;
	return (uint64_t)status.stx_dev_major << 32 | status.stx_dev_minor;
}

int kernel_mount_cgroup2(void)
{
	int context = fsopen("cgroup2", FSOPEN_CLOEXEC);
	int mount = -1;

	if (context < 0)
		return -1;
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = fsmount(context, FSMOUNT_CLOEXEC,
				MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	close(context);
	return mount;
}

uint64_t kernel_effective_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &header, data) < 0)
		return 0;
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

int kernel_use_capabilities(uint64_t wanted)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	data[0].effective = (uint32_t)wanted;
	data[1].effective = (uint32_t)(wanted >> 32);
	return (int)syscall(SYS_capset, &header, data);
}

const char *kernel_release(void)
{
	static struct utsname name;

	return uname(&name) < 0 ? "" : name.release;
}

int kernel_socket_family(int fd)
{
	int family;
	socklen_t size = sizeof(family);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 ? -1 : family;
}

int64_t kernel_peer_user(int socket)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ? -1 : (int64_t)peer.uid;
}

uint64_t kernel_monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
