#pragma once

#include <string>
#include <string_view>

/// What the service says to a path.
struct Answer {
    std::string status;
    std::string text;
};

inline Answer answer(std::string_view path)
{
    if (path == "/")
        return {"200 OK", "orders in C++\n"};
    if (path == "/health")
        return {"200 OK", "ok\n"};
    return {"404 Not Found", "no such page\n"};
}
