/* A test is a function that calls `check`; TEST_MAIN lists and runs them. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>

struct test {
	const char *name;
	void (*run)(void);
};

/* Fails the running test, and goes on with it, if the condition does not hold. */
#define check(condition) check_at((condition), #condition, __FILE__, __LINE__)
void check_at(bool holds, const char *condition, const char *file, int line);

/* The tests of each file, ended by a name that is NULL. */
extern const struct test request_tests[], response_tests[], server_tests[];

#endif
