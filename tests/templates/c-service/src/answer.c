#include <string.h>

#include "answer.h"

struct answer answer_to(const char *path)
{
    if (strcmp(path, "/") == 0)
        return (struct answer){"200 OK", "orders in C\n"};
    if (strcmp(path, "/health") == 0)
        return (struct answer){"200 OK", "ok\n"};
    return (struct answer){"404 Not Found", "no such page\n"};
}
