package orders;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class AnswerTest {
    @Test
    public void healthIsWell() {
        assertEquals(new Answer(200, "ok\n"), Answer.to("/health"));
    }

    @Test
    public void whatIsNotThereIsNotFound() {
        assertEquals(404, Answer.to("/nothing").status());
    }
}
