/* hello: answers who it is, on the port PORT (8080), until TERM or INT. */
#define _GNU_SOURCE /* gethostname */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "server.h"
#include "version.h"

/* Returns the port to listen on, or -1 if PORT is none. */
static int port(void)
{
	const char *text = getenv("PORT");
	if (!text || !*text)
		return 8080;
	char *end;
	long value = strtol(text, &end, 10);
	return *end == '\0' && value > 0 && value < 65536 ? (int)value : -1;
}

int main(void)
{
	/* As a file descriptor, TERM is one more thing to poll for, and cannot come at a bad moment. */
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	int stop = signalfd(-1, &signals, SFD_CLOEXEC);
	if (stop < 0) {
		fprintf(stderr, "hello: cannot wait for signals: %s\n", strerror(errno));
		return 1;
	}

	int on = port();
	if (on < 0) {
		fprintf(stderr, "hello: PORT=%s is not a port\n", getenv("PORT"));
		return 2;
	}
	char unit[256] = "";
	gethostname(unit, sizeof unit - 1);
	const struct service service = { .version = VERSION, .unit = unit, .healthy = HEALTHY };

	int listener = server_listen(on);
	if (listener < 0) {
		fprintf(stderr, "hello: cannot listen on port %d: %s\n", on, strerror(errno));
		return 1;
	}
	printf("hello %s listens on port %d\n", service.version, on);
	fflush(stdout);
	if (server_run(listener, &service, stop) < 0) {
		fprintf(stderr, "hello: cannot serve: %s\n", strerror(errno));
		return 1;
	}
	printf("hello %s stopped\n", service.version);
	return 0;
}
