#include <stdio.h>
#include <string.h>

#include "answer.h"

static int failures;

static void check(const char *rule, int holds)
{
    printf("%s: %s\n", holds ? "ok" : "FAILED", rule);
    failures += !holds;
}

int main(void)
{
    check("health is well", strcmp(answer_to("/health").text, "ok\n") == 0);
    check("what is not there is not found", strncmp(answer_to("/nothing").status, "404", 3) == 0);
    return failures != 0;
}
