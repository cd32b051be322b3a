/* What the service says to a path: a status line's end, and a text. */
struct answer {
    const char *status;
    const char *text;
};

struct answer answer_to(const char *path);
