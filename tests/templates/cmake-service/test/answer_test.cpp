#include <string_view>

#include "answer.hpp"

// The name of a rule in, 0 out if it holds.
int main(int, char **arguments)
{
    const std::string_view rule = arguments[1];
    if (rule == "health_is_well")
        return answer("/health").text == "ok\n" ? 0 : 1;
    if (rule == "what_is_not_there_is_not_found")
        return answer("/nothing").status.starts_with("404") ? 0 : 1;
    return 2;
}
