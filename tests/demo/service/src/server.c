#define _GNU_SOURCE /* accept4 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1024 };

/* What is polled. */
enum { STOP, LISTENER, FIRST };

static const long IDLE_MS = 75 * 1000;    /* between two requests */
static const long REQUEST_MS = 10 * 1000; /* for one, from its first byte to its last */
static const long LINGER_MS = 1000;       /* when stopping: for a request that is on its way */

struct connection {
	char input[REQUEST_MAX];
	size_t received;
	char output[RESPONSE_MAX];
	size_t pending, sent;
	bool close_after; /* the output said so */
	long deadline;    /* in ms */
};

struct server {
	const struct service *service;
	bool stopping;
	/* From FIRST to before `end`, polls[i] belongs to connections[i]. */
	size_t end;
	struct pollfd polls[FIRST + CONNECTIONS_MAX];
	struct connection *connections[FIRST + CONNECTIONS_MAX];
};

static long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static void accept_all(struct server *server)
{
	while (server->end < FIRST + CONNECTIONS_MAX) {
		int socket = accept4(server->polls[LISTENER].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (socket < 0)
			return;
		struct connection *connection = calloc(1, sizeof *connection);
		if (!connection) {
			close(socket);
			return;
		}
		setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		connection->deadline = now_ms() + (server->stopping ? LINGER_MS : IDLE_MS);
		size_t i = server->end++;
		server->polls[i] = (struct pollfd){ .fd = socket, .events = POLLIN };
		server->connections[i] = connection;
	}
}

/* Closes a connection; the last one takes its place. */
static void drop(struct server *server, size_t i)
{
	close(server->polls[i].fd);
	free(server->connections[i]);
	server->end--;
	server->polls[i] = server->polls[server->end];
	server->connections[i] = server->connections[server->end];
}

/* Takes the next request from the input, if it is whole, and writes its response to the output. */
static void answer(struct server *server, struct connection *connection)
{
	struct request request;
	enum parsed parsed = request_parse(connection->input, connection->received, &request);
	if (parsed == PARSED_PART)
		return;
	connection->sent = 0;
	if (parsed != PARSED_WHOLE) {
		connection->close_after = true;
		connection->pending = response_refuse(connection->output, parsed);
		return;
	}
	connection->received -= request.size;
	memmove(connection->input, connection->input + request.size, connection->received);
	connection->close_after = server->stopping || !request.keep_alive;
	connection->pending = response_write(connection->output, server->service, &request, !connection->close_after);
}

/* Answers what has arrived, as far as the client takes it; false when the connection is over. */
static bool progress(struct server *server, int socket, struct connection *connection)
{
	for (;;) {
		if (connection->sent == connection->pending) {
			if (connection->pending > 0 && connection->close_after) {
				shutdown(socket, SHUT_WR);
				return false;
			}
			connection->pending = connection->sent = 0;
			answer(server, connection);
			if (connection->pending == 0)
				return true;
		}
		ssize_t size = send(socket, connection->output + connection->sent,
		                    connection->pending - connection->sent, MSG_NOSIGNAL);
		if (size < 0)
			return would_block();
		connection->sent += (size_t)size;
	}
}

/* Reads and answers; false when the connection is over. */
static bool serve(struct server *server, int socket, struct connection *connection)
{
	bool was_idle = connection->received == 0 && connection->pending == 0;
	if (connection->pending == 0) {
		ssize_t size = recv(socket, connection->input + connection->received,
		                    sizeof connection->input - connection->received, 0);
		if (size == 0)
			return false;
		if (size < 0)
			return would_block();
		connection->received += (size_t)size;
	}
	if (!progress(server, socket, connection))
		return false;

	if (connection->received == 0 && connection->pending == 0)
		connection->deadline = now_ms() + IDLE_MS;
	else if (was_idle)
		connection->deadline = now_ms() + REQUEST_MS;
	return true;
}

/* Accepts who has connected before now, and nobody after; idle clients get a moment for a last request. */
static void begin_stop(struct server *server)
{
	server->stopping = true;
	accept_all(server);
	close(server->polls[LISTENER].fd);
	/* poll(2) passes over what is negative. */
	server->polls[LISTENER].fd = server->polls[STOP].fd = -1;

	long linger = now_ms() + LINGER_MS;
	for (size_t i = FIRST; i < server->end; i++) {
		struct connection *connection = server->connections[i];
		if (connection->received == 0 && connection->pending == 0)
			connection->deadline = linger;
	}
}

int server_listen(int port)
{
	/* An IPv6 socket hears IPv4 too, but a kernel may have no IPv6. */
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_any };
	struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	const struct sockaddr *address = (struct sockaddr *)&any6;
	socklen_t size = sizeof any6;

	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener >= 0) {
		setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int));
	} else {
		listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (listener < 0)
			return -1;
		address = (struct sockaddr *)&any4;
		size = sizeof any4;
	}
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(listener, address, size) < 0 || listen(listener, SOMAXCONN) < 0) {
		int cause = errno;
		close(listener);
		errno = cause;
		return -1;
	}
	return listener;
}

int server_run(int listener, const struct service *service, int stop)
{
	struct server *server = calloc(1, sizeof *server);
	if (!server)
		return -1;
	server->service = service;
	server->end = FIRST;
	server->polls[STOP] = (struct pollfd){ .fd = stop, .events = POLLIN };
	server->polls[LISTENER] = (struct pollfd){ .fd = listener };

	int result = 0;
	while (!server->stopping || server->end > FIRST) {
		server->polls[LISTENER].events = server->end < FIRST + CONNECTIONS_MAX ? POLLIN : 0;
		for (size_t i = FIRST; i < server->end; i++)
			server->polls[i].events = server->connections[i]->pending > 0 ? POLLOUT : POLLIN;

		/* Deadlines need no precision: looking at them twice a second is enough. */
		int ready = poll(server->polls, server->end, server->end > FIRST ? 500 : -1);
		if (ready < 0 && errno != EINTR) {
			result = -1;
			break;
		}

		/* Backwards, since `drop` moves the last one, already seen, into the gap. */
		long now = now_ms();
		for (size_t i = server->end; i-- > FIRST;) {
			struct connection *connection = server->connections[i];
			bool alive = connection->deadline > now;
			if (ready > 0 && server->polls[i].revents)
				alive = serve(server, server->polls[i].fd, connection);
			if (!alive)
				drop(server, i);
		}
		if (ready > 0 && server->polls[LISTENER].revents)
			accept_all(server);
		if (ready > 0 && server->polls[STOP].revents)
			begin_stop(server);
	}

	while (server->end > FIRST)
		drop(server, FIRST);
	if (!server->stopping)
		close(listener);
	free(server);
	return result;
}
