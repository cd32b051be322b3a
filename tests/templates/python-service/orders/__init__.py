"""A service that answers two pages."""


def answer(path):
    """Returns what the service says to a path: status and text."""
    match path:
        case "/":
            return 200, "orders in Python\n"
        case "/health":
            return 200, "ok\n"
        case _:
            return 404, "no such page\n"
