// SPDX-License-Identifier: MIT
/*
 * storm COUNT MAX_US SEED SIGNALS COMMAND...: runs the command COUNT times, sends each run the next of the
 * SIGNALS (comma separated, 0 for none) after a random time below MAX_US, waits for its end and writes a line
 * "SIGNAL DELAY_US exited|killed VALUE".
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void run(int signal, useconds_t delay, char **command)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execv(command[0], command);
		_exit(99);
	}
	usleep(delay);
	if (signal)
		kill(pid, signal);
	if (waitpid(pid, &status, 0) != pid)
		exit(1);
	printf("%d %u %s %d\n", signal, delay, WIFEXITED(status) ? "exited" : "killed",
	       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int signals[64];
	int signal_count = 0;
	uint64_t state;

	if (argc < 6)
		return 1;
	state = strtoull(argv[3], NULL, 10) | 1;
	for (char *word = strtok(argv[4], ","); word && signal_count < 64; word = strtok(NULL, ","))
		signals[signal_count++] = atoi(word);
	for (int i = 0; i < atoi(argv[1]); i++)
		run(signals[i % signal_count],
		    (useconds_t)(next_random(&state) % strtoull(argv[2], NULL, 10)), argv + 5);
	return 0;
}
