// SPDX-License-Identifier: MIT
/*
 * connect ADDRESS PORT: writes how many ms connect() took. Small, so that it connects as soon as it is
 * started; with a libc, so that something can be preloaded.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	double began;

	if (argc != 3 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
		return 2;
	address.sin_port = htons((unsigned short)atoi(argv[2]));
	began = now();
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("connect");
		return 1;
	}
	printf("%.3f\n", now() - began);
	return 0;
}
