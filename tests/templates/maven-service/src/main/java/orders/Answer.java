package orders;

/** What the service says to a path. */
public record Answer(int status, String body) {
    public static Answer to(String path) {
        return switch (path) {
            case "/" -> new Answer(200, "orders by Maven\n");
            case "/health" -> new Answer(200, "ok\n");
            default -> new Answer(404, "no such page\n");
        };
    }
}
