#define _GNU_SOURCE /* memmem */
#include "request.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* A piece of the input. */
struct text {
	const char *at;
	size_t length;
};

static bool equals(struct text text, const char *word)
{
	return text.length == strlen(word) && strncasecmp(text.at, word, text.length) == 0;
}

static struct text trim(struct text text)
{
	while (text.length > 0 && (*text.at == ' ' || *text.at == '\t')) {
		text.at++;
		text.length--;
	}
	while (text.length > 0 && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t'))
		text.length--;
	return text;
}

/* Cuts off what stands before the mark, and the mark; false if there is no mark. */
static bool cut(struct text *rest, const char *mark, struct text *before)
{
	const char *found = memmem(rest->at, rest->length, mark, strlen(mark));
	if (!found)
		return false;
	before->at = rest->at;
	before->length = (size_t)(found - rest->at);
	rest->length -= before->length + strlen(mark);
	rest->at = found + strlen(mark);
	return true;
}

/* True if a list such as `keep-alive, Upgrade` has the word. */
static bool lists(struct text list, const char *word)
{
	struct text item;
	while (cut(&list, ",", &item))
		if (equals(trim(item), word))
			return true;
	return equals(trim(list), word);
}

/* Reads a number of bytes; false if it is none, or too large to be taken seriously. */
static bool number(struct text text, size_t *value)
{
	if (text.length == 0 || text.length > 9)
		return false;
	*value = 0;
	for (size_t i = 0; i < text.length; i++) {
		if (!isdigit((unsigned char)text.at[i]))
			return false;
		*value = *value * 10 + (size_t)(text.at[i] - '0');
	}
	return true;
}

/* `GET /path?query HTTP/1.1` */
static enum parsed parse_line(struct text line, struct request *request)
{
	struct text method, target;
	if (!cut(&line, " ", &method) || !cut(&line, " ", &target))
		return PARSED_BAD;
	if (method.length == 0 || target.length == 0 || target.at[0] != '/')
		return PARSED_BAD;

	/* Methods, unlike headers, tell upper case from lower. */
	if (method.length == 3 && memcmp(method.at, "GET", 3) == 0)
		request->method = METHOD_GET;
	else if (method.length == 4 && memcmp(method.at, "HEAD", 4) == 0)
		request->method = METHOD_HEAD;
	else
		request->method = METHOD_OTHER;

	struct text path = target;
	cut(&target, "?", &path);
	if (path.length >= sizeof request->path)
		return PARSED_PATH_TOO_LONG;
	if (memchr(path.at, '\0', path.length))
		return PARSED_BAD;
	memcpy(request->path, path.at, path.length);
	request->path[path.length] = '\0';

	if (equals(line, "HTTP/1.1"))
		request->keep_alive = true;
	else if (equals(line, "HTTP/1.0"))
		request->keep_alive = false;
	else
		return line.length > 5 && equals((struct text){ line.at, 5 }, "HTTP/")
			? PARSED_NO_SUCH_VERSION : PARSED_BAD;
	return PARSED_WHOLE;
}

enum parsed request_parse(const char *input, size_t length, struct request *request)
{
	struct text rest = { input, length }, head, line;
	if (!cut(&rest, "\r\n\r\n", &head))
		return length >= HEAD_MAX ? PARSED_HEAD_TOO_LARGE : PARSED_PART;
	if (head.length + 4 > HEAD_MAX)
		return PARSED_HEAD_TOO_LARGE;
	request->size = head.length + 4;

	/* With the end of its last line, each header is cut off in the same way. */
	head.length += 2;
	cut(&head, "\r\n", &line);
	enum parsed parsed = parse_line(line, request);
	if (parsed != PARSED_WHOLE)
		return parsed;

	bool http_1_1 = request->keep_alive, has_host = false, has_body = false;
	size_t body = 0;
	while (cut(&head, "\r\n", &line)) {
		struct text name, value = line;
		/* A space before the colon has been used to smuggle requests: refused, as the standard asks. */
		if (!cut(&value, ":", &name) || name.length == 0 || memchr(name.at, ' ', name.length))
			return PARSED_BAD;
		value = trim(value);

		if (equals(name, "Host")) {
			has_host = true;
		} else if (equals(name, "Connection")) {
			if (lists(value, "close"))
				request->keep_alive = false;
			else if (lists(value, "keep-alive"))
				request->keep_alive = true;
		} else if (equals(name, "Content-Length")) {
			size_t size;
			if (!number(value, &size) || (has_body && size != body))
				return PARSED_BAD;
			has_body = true;
			body = size;
		} else if (equals(name, "Transfer-Encoding")) {
			return PARSED_NO_SUCH_CODING;
		}
	}
	if (http_1_1 && !has_host)
		return PARSED_BAD;
	if (body > BODY_MAX)
		return PARSED_BODY_TOO_LARGE;
	if (rest.length < body)
		return PARSED_PART;
	request->size += body;
	return PARSED_WHOLE;
}
