/* The server in a process of its own, on a free port, over real sockets. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "server.h"

static pid_t server;
static int stop; /* the server stops when this is closed */
static in_port_t port;

static void start(void)
{
	int listener = server_listen(0), ends[2];
	struct sockaddr_in6 address;
	getsockname(listener, (struct sockaddr *)&address, &(socklen_t){ sizeof address });
	/* At the same place in an address of IPv4, should the kernel have no IPv6. */
	port = address.sin6_port;

	check(pipe(ends) == 0);
	stop = ends[1];
	server = fork();
	if (server == 0) {
		close(stop);
		const struct service service = { .version = "1", .unit = "u", .healthy = true };
		_exit(server_run(listener, &service, ends[0]) < 0);
	}
	close(ends[0]);
	close(listener);
}

/* Returns how the server ended. */
static int ended(void)
{
	int status;
	waitpid(server, &status, 0);
	return status;
}

static int dial(void)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int client = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(client, (struct sockaddr *)&address, sizeof address) < 0) {
		close(client);
		return -1;
	}
	return client;
}

static void say(int client, const char *text)
{
	check(send(client, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Reads until the text was seen; false if the connection ended before. */
static bool hears(int client, const char *text)
{
	static char input[65536];
	size_t length = 0;
	for (;;) {
		ssize_t size = recv(client, input + length, sizeof input - 1 - length, 0);
		if (size <= 0)
			return false;
		length += (size_t)size;
		input[length] = '\0';
		if (strstr(input, text))
			return true;
	}
}

static void a_connection_serves_many_requests(void)
{
	start();
	int client = dial();
	for (int i = 0; i < 100; i++) {
		say(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		check(hears(client, "\"version\":\"1\""));
	}
	close(client);
	close(stop);
	check(ended() == 0);
}

static void requests_may_come_together_or_in_pieces(void)
{
	start();
	int client = dial();
	say(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\nGET /hea");
	check(hears(client, "404 Not Found"));
	say(client, "lth HTTP/1.1\r\nHost: a\r\n\r\n");
	check(hears(client, "\"healthy\""));
	close(client);
	close(stop);
	check(ended() == 0);
}

static void what_is_no_request_is_refused_and_closed(void)
{
	start();
	int client = dial();
	say(client, "nonsense\r\n\r\n");
	check(hears(client, "400 Bad Request"));
	check(!hears(client, "anything"));
	close(client);
	close(stop);
	check(ended() == 0);
}

static void a_stop_finishes_what_has_begun(void)
{
	start();
	int idle = dial(), begun = dial();
	say(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	check(hears(idle, "Connection: keep-alive"));
	say(begun, "GET / HTTP/1.1\r\n");
	close(stop);
	usleep(100 * 1000);

	int late = dial();
	check(late < 0);
	say(begun, "Host: a\r\n\r\n");
	check(hears(begun, "Connection: close"));
	say(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	check(hears(idle, "Connection: close"));
	check(!hears(idle, "anything"));
	check(ended() == 0);
	close(idle);
	close(begun);
}

static void a_stop_does_not_wait_for_the_idle(void)
{
	start();
	int idle = dial();
	say(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	check(hears(idle, "Connection: keep-alive"));
	close(stop);
	check(!hears(idle, "anything"));
	check(ended() == 0);
	close(idle);
}

const struct test server_tests[] = {
	{ "a connection serves many requests", a_connection_serves_many_requests },
	{ "requests may come together or in pieces", requests_may_come_together_or_in_pieces },
	{ "what is no request is refused and closed", what_is_no_request_is_refused_and_closed },
	{ "a stop finishes what has begun", a_stop_finishes_what_has_begun },
	{ "a stop does not wait for the idle", a_stop_does_not_wait_for_the_idle },
	{ 0 },
};
