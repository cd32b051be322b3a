package orders;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class AnswerTest {
    @Test
    public void healthIsWell() {
        assertEquals(200, Answer.to("/health").status);
    }

    @Test
    public void whatIsNotThereIsNotFound() {
        assertEquals(404, Answer.to("/nothing").status);
    }
}
