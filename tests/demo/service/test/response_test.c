#include <string.h>

#include "check.h"
#include "response.h"

static char output[RESPONSE_MAX + 1];

static bool answers(struct service service, enum method method, const char *path, const char *response)
{
	struct request request = { .method = method };
	strcpy(request.path, path);
	output[response_write(output, &service, &request, true)] = '\0';
	return strcmp(output, response) == 0;
}

static void the_root_says_who_it_is(void)
{
	struct service service = { .version = "1.2.3", .unit = "u1", .healthy = true };
	check(answers(service, METHOD_GET, "/",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\nConnection: keep-alive\r\n\r\n"
		"{\"service\":\"hello\",\"version\":\"1.2.3\",\"unit\":\"u1\"}\n"));
}

static void a_strange_name_is_still_json(void)
{
	struct service service = { .version = "1", .unit = "a\"b\\c\n", .healthy = true };
	check(answers(service, METHOD_GET, "/",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 47\r\nConnection: keep-alive\r\n\r\n"
		"{\"service\":\"hello\",\"version\":\"1\",\"unit\":\"abc\"}\n"));
}

static void health_is_a_status(void)
{
	struct service service = { .version = "1", .unit = "u", .healthy = true };
	check(answers(service, METHOD_GET, "/health",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\nConnection: keep-alive\r\n\r\n"
		"{\"status\":\"healthy\"}\n"));
	service.healthy = false;
	check(answers(service, METHOD_GET, "/health",
		"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 23\r\nConnection: keep-alive\r\n\r\n"
		"{\"status\":\"unhealthy\"}\n"));
}

static void a_head_has_no_body(void)
{
	struct service service = { .version = "1", .unit = "u", .healthy = true };
	check(answers(service, METHOD_HEAD, "/health",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\nConnection: keep-alive\r\n\r\n"));
}

static void what_is_not_there_is_404(void)
{
	struct service service = { .version = "1", .unit = "u", .healthy = true };
	check(answers(service, METHOD_GET, "/nothing",
		"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 22\r\nConnection: keep-alive\r\n\r\n"
		"{\"error\":\"Not Found\"}\n"));
	check(answers(service, METHOD_OTHER, "/",
		"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\nContent-Length: 31\r\nAllow: GET, HEAD\r\nConnection: keep-alive\r\n\r\n"
		"{\"error\":\"Method Not Allowed\"}\n"));
}

static void a_refusal_closes(void)
{
	output[response_refuse(output, PARSED_BAD)] = '\0';
	check(strstr(output, "HTTP/1.1 400 Bad Request\r\n") == output);
	check(strstr(output, "\r\nConnection: close\r\n"));
}

const struct test response_tests[] = {
	{ "the root says who it is", the_root_says_who_it_is },
	{ "a strange name is still JSON", a_strange_name_is_still_json },
	{ "health is a status", health_is_a_status },
	{ "a HEAD has no body", a_head_has_no_body },
	{ "what is not there is 404", what_is_not_there_is_404 },
	{ "a refusal closes", a_refusal_closes },
	{ 0 },
};
