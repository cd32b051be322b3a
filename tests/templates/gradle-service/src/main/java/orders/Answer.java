package orders;

/** What the service says to a path. */
public final class Answer {
    public final int status;
    public final String body;

    private Answer(int status, String body) {
        this.status = status;
        this.body = body;
    }

    public static Answer to(String path) {
        switch (path) {
            case "/":
                return new Answer(200, "orders by Gradle\n");
            case "/health":
                return new Answer(200, "ok\n");
            default:
                return new Answer(404, "no such page\n");
        }
    }
}
