/* The answers of this service. */
#ifndef RESPONSE_H
#define RESPONSE_H

#include <stdbool.h>
#include <stddef.h>

#include "request.h"

/* Any response fits in this many bytes. */
enum { RESPONSE_MAX = 1024 };

/* What is asked about the service. */
struct service {
	const char *version;
	const char *unit;   /* the name of the host, which is the container's */
	bool healthy;
};

/* Writes the response to a request; returns its length. */
size_t response_write(char *output, const struct service *service,
                      const struct request *request, bool keep_alive);

/* Writes the response to what is no request that can be answered; returns its length. */
size_t response_refuse(char *output, int status);

#endif
