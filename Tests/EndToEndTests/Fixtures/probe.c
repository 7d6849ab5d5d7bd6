// SPDX-License-Identifier: MIT
/*
 * Handles the signals whose numbers are given and writes a line for each delivery, after "ready PID". SIGTERM
 * ends it with status 0, late enough for a signal that is sent twice to be seen twice.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t ending;

static void report(int signal)
{
	char line[32];
	int length = snprintf(line, sizeof(line), "signal %d\n", signal);

	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		_exit(1);
	if (signal == SIGTERM)
		ending = 1;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = report, .sa_flags = SA_RESTART};

	sigfillset(&action.sa_mask);
	for (int i = 1; i < argc; i++) {
		if (sigaction(atoi(argv[i]), &action, NULL) < 0)
			return 1;
	}
	printf("ready %d\n", getpid());
	fflush(stdout);
	/* The wait ends early for a signal: only its whole length lets a second delivery come. */
	for (int rest = 3; rest > 0; usleep(50000))
		rest -= ending ? 1 : 0;
	return 0;
}
