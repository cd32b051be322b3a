#include "response.h"

#include <stdio.h>
#include <string.h>

static const char *reason(int status)
{
	switch (status) {
	case 200: return "OK";
	case 400: return "Bad Request";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 431: return "Request Header Fields Too Large";
	case 501: return "Not Implemented";
	case 503: return "Service Unavailable";
	case 505: return "HTTP Version Not Supported";
	default: return "Unknown";
	}
}

/* Copies a text into a JSON string, without what would need escapes there. */
static void plain(char *output, size_t size, const char *text)
{
	size_t length = 0;
	for (; *text && length + 1 < size; text++)
		if ((unsigned char)*text >= ' ' && *text != '"' && *text != '\\')
			output[length++] = *text;
	output[length] = '\0';
}

static size_t write_json(char *output, int status, const char *body, bool with_body, bool keep_alive)
{
	int length = snprintf(output, RESPONSE_MAX,
		"HTTP/1.1 %d %s\r\n"
		"Content-Type: application/json\r\n"
		"Content-Length: %zu\r\n"
		"%s"
		"Connection: %s\r\n"
		"\r\n"
		"%s",
		status, reason(status), strlen(body),
		status == 405 ? "Allow: GET, HEAD\r\n" : "",
		keep_alive ? "keep-alive" : "close",
		with_body ? body : "");
	return (size_t)length;
}

static size_t write_error(char *output, int status, bool with_body, bool keep_alive)
{
	char body[128];
	snprintf(body, sizeof body, "{\"error\":\"%s\"}\n", reason(status));
	return write_json(output, status, body, with_body, keep_alive);
}

size_t response_write(char *output, const struct service *service,
                      const struct request *request, bool keep_alive)
{
	bool with_body = request->method != METHOD_HEAD;
	if (request->method == METHOD_OTHER)
		return write_error(output, 405, with_body, keep_alive);

	if (strcmp(request->path, "/") == 0) {
		char version[64], unit[128], body[256];
		plain(version, sizeof version, service->version);
		plain(unit, sizeof unit, service->unit);
		snprintf(body, sizeof body, "{\"service\":\"hello\",\"version\":\"%s\",\"unit\":\"%s\"}\n", version, unit);
		return write_json(output, 200, body, with_body, keep_alive);
	}
	if (strcmp(request->path, "/health") == 0)
		return service->healthy
			? write_json(output, 200, "{\"status\":\"healthy\"}\n", with_body, keep_alive)
			: write_json(output, 503, "{\"status\":\"unhealthy\"}\n", with_body, keep_alive);
	return write_error(output, 404, with_body, keep_alive);
}

size_t response_refuse(char *output, int status)
{
	return write_error(output, status, true, false);
}
