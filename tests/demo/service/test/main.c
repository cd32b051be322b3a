/* tests [JUNIT]: runs all tests, writes JUNIT, and fails if a test did. */
#include <stdio.h>
#include <string.h>

#include "check.h"

static char failure[512]; /* of the running test: the first one */

void check_at(bool holds, const char *condition, const char *file, int line)
{
	if (holds)
		return;
	printf("  %s:%d: %s does not hold\n", file, line, condition);
	if (!*failure)
		snprintf(failure, sizeof failure, "%s:%d: %s", file, line, condition);
}

static void write_escaped(FILE *file, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '<': fputs("&lt;", file); break;
		case '&': fputs("&amp;", file); break;
		case '"': fputs("&quot;", file); break;
		default: fputc(*text, file);
		}
}

int main(int argc, char **argv)
{
	const struct { const char *name; const struct test *tests; } suites[] = {
		{ "request", request_tests }, { "response", response_tests }, { "server", server_tests },
	};
	FILE *junit = fopen(argc > 1 ? argv[1] : "/dev/null", "w");
	if (!junit) {
		perror(argv[1]);
		return 2;
	}
	fprintf(junit, "<testsuites>\n");

	int passed = 0, failed = 0;
	for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
		fprintf(junit, "<testsuite name=\"%s\">\n", suites[i].name);
		for (const struct test *test = suites[i].tests; test->name; test++) {
			*failure = '\0';
			test->run();
			printf("%s %s: %s\n", *failure ? "FAIL" : "ok  ", suites[i].name, test->name);
			fprintf(junit, "<testcase classname=\"%s\" name=\"%s\">", suites[i].name, test->name);
			if (*failure) {
				fprintf(junit, "<failure message=\"");
				write_escaped(junit, failure);
				fprintf(junit, "\"/>");
			}
			fprintf(junit, "</testcase>\n");
			*(*failure ? &failed : &passed) += 1;
		}
		fprintf(junit, "</testsuite>\n");
	}
	fprintf(junit, "</testsuites>\n");
	fclose(junit);

	printf("\n%d tests: %d passed, %d failed\n", passed + failed, passed, failed);
	return failed > 0;
}
