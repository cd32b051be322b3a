// Answers at the port that PORT names.
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.hpp"

static void serve(int connection)
{
    std::array<char, 2048> buffer;
    const auto length = read(connection, buffer.data(), buffer.size());
    if (length <= 0)
        return;
    const std::string_view request(buffer.data(), static_cast<std::size_t>(length));
    const auto begin = request.find(' ') + 1;
    const auto [status, text] = answer(request.substr(begin, request.find(' ', begin) - begin));
    const auto response = "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(text.size())
        + "\r\nConnection: close\r\n\r\n" + text;
    if (write(connection, response.data(), response.size()) < 0)
        std::perror("orders");
}

int main()
{
    const char *port = std::getenv("PORT");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port ? port : "8080")));
    const int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    std::signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0
        || listen(listener, 64) != 0) {
        std::perror("orders");
        return 1;
    }
    for (;;) {
        const int connection = accept(listener, nullptr, nullptr);
        if (connection >= 0) {
            serve(connection);
            close(connection);
        }
    }
}
