/* A server of HTTP/1.1 connections, in one thread around poll(2). */
#ifndef SERVER_H
#define SERVER_H

#include "response.h"

/* Returns a socket that listens on all addresses, or -1 with errno set. */
int server_listen(int port);

/*
 * Serves until `stop`, a file descriptor, can be read. Then it accepts no more,
 * finishes the requests in flight, tells each client that its connection
 * closes, and returns 0; -1 with errno set if it cannot go on. Closes the
 * listener.
 */
int server_run(int listener, const struct service *service, int stop);

#endif
