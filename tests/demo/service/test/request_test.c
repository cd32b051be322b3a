#include <stdio.h>
#include <string.h>

#include "check.h"
#include "request.h"

static struct request request;

static enum parsed parse(const char *input)
{
	memset(&request, 0, sizeof request);
	return request_parse(input, strlen(input), &request);
}

static void a_simple_request(void)
{
	const char *input = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
	check(parse(input) == PARSED_WHOLE);
	check(request.method == METHOD_GET);
	check(strcmp(request.path, "/health") == 0);
	check(request.keep_alive);
	check(request.size == strlen(input));
}

static void any_part_of_it_is_a_part(void)
{
	const char *input = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
	for (size_t length = 0; length < strlen(input); length++)
		check(request_parse(input, length, &request) == PARSED_PART);
	check(parse(input) == PARSED_WHOLE);
	check(request.method == METHOD_OTHER);
}

static void the_next_request_is_left(void)
{
	check(parse("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\n") == PARSED_WHOLE);
	check(request.size == strlen("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
}

static void a_query_is_cut_off(void)
{
	check(parse("HEAD /?a=/b HTTP/1.1\r\nhost: a\r\n\r\n") == PARSED_WHOLE);
	check(request.method == METHOD_HEAD);
	check(strcmp(request.path, "/") == 0);
}

static void the_connection_is_kept_as_asked(void)
{
	check(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") == PARSED_WHOLE);
	check(!request.keep_alive);
	check(parse("GET / HTTP/1.1\r\nHost: a\r\nCONNECTION: Upgrade , CLOSE\r\n\r\n") == PARSED_WHOLE);
	check(!request.keep_alive);
	check(parse("GET / HTTP/1.0\r\n\r\n") == PARSED_WHOLE);
	check(!request.keep_alive);
	check(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") == PARSED_WHOLE);
	check(request.keep_alive);
}

static void nonsense_is_bad(void)
{
	check(parse("nonsense\r\n\r\n") == PARSED_BAD);
	check(parse("\r\n\r\n") == PARSED_BAD);
	check(parse("GET  HTTP/1.1\r\nHost: a\r\n\r\n") == PARSED_BAD);
	check(parse("GET index.html HTTP/1.1\r\nHost: a\r\n\r\n") == PARSED_BAD);
	check(parse("GET / FTP/1.1\r\nHost: a\r\n\r\n") == PARSED_BAD);
	check(parse("GET / HTTP/1.1\r\nHost\r\n\r\n") == PARSED_BAD);
	check(parse("GET / HTTP/1.1\r\nHost : a\r\n\r\n") == PARSED_BAD);
	const char zero[] = "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n";
	check(request_parse(zero, sizeof zero - 1, &request) == PARSED_BAD);
}

static void a_host_is_required(void)
{
	check(parse("GET / HTTP/1.1\r\n\r\n") == PARSED_BAD);
}

static void other_versions_are_refused(void)
{
	check(parse("GET / HTTP/2.0\r\nHost: a\r\n\r\n") == PARSED_NO_SUCH_VERSION);
}

static void a_body_has_one_length(void)
{
	check(parse("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n") == PARSED_BAD);
	check(parse("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n") == PARSED_BAD);
	check(parse("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab") == PARSED_BAD);
	check(parse("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n") == PARSED_BODY_TOO_LARGE);
	check(parse("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") == PARSED_NO_SUCH_CODING);
}

static void a_head_has_limits(void)
{
	static char input[2 * HEAD_MAX];
	int length = snprintf(input, sizeof input, "GET /%0300d HTTP/1.1\r\nHost: a\r\n\r\n", 0);
	check(request_parse(input, (size_t)length, &request) == PARSED_PATH_TOO_LONG);

	memset(input, 'a', sizeof input);
	check(request_parse(input, HEAD_MAX - 1, &request) == PARSED_PART);
	check(request_parse(input, HEAD_MAX, &request) == PARSED_HEAD_TOO_LARGE);
	memcpy(input + HEAD_MAX, "\r\n\r\n", 4);
	check(request_parse(input, HEAD_MAX + 4, &request) == PARSED_HEAD_TOO_LARGE);
}

const struct test request_tests[] = {
	{ "a simple request", a_simple_request },
	{ "any part of it is a part", any_part_of_it_is_a_part },
	{ "the next request is left", the_next_request_is_left },
	{ "a query is cut off", a_query_is_cut_off },
	{ "the connection is kept as asked", the_connection_is_kept_as_asked },
	{ "nonsense is bad", nonsense_is_bad },
	{ "a host is required", a_host_is_required },
	{ "other versions are refused", other_versions_are_refused },
	{ "a body has one length", a_body_has_one_length },
	{ "a head has limits", a_head_has_limits },
	{ 0 },
};
