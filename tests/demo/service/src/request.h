/* An HTTP/1.x request, read from the bytes that have arrived so far. */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stddef.h>

enum method { METHOD_GET, METHOD_HEAD, METHOD_OTHER };

/* The first line and the headers, and a body, which nobody reads, must fit. */
enum { HEAD_MAX = 8192, BODY_MAX = 8192, REQUEST_MAX = HEAD_MAX + BODY_MAX };

struct request {
	enum method method;
	char path[256];     /* without the query */
	bool keep_alive;    /* the client may send another one */
	size_t size;        /* bytes it takes of the input, its body included */
};

/* What the bytes are: no whole request yet, a request, or one to refuse. */
enum parsed {
	PARSED_PART = 0,
	PARSED_WHOLE = 200,
	PARSED_BAD = 400,
	PARSED_BODY_TOO_LARGE = 413,
	PARSED_PATH_TOO_LONG = 414,
	PARSED_HEAD_TOO_LARGE = 431,
	PARSED_NO_SUCH_CODING = 501,
	PARSED_NO_SUCH_VERSION = 505,
};

/*
 * Reads one request from the start of the input. `request` is filled if the
 * answer is PARSED_WHOLE; any answer but that and PARSED_PART is the status
 * to refuse it with, after which the connection cannot go on.
 */
enum parsed request_parse(const char *input, size_t length, struct request *request);

#endif
