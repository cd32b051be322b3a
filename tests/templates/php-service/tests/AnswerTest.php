<?php

declare(strict_types=1);

use Orders\Answer;
use PHPUnit\Framework\TestCase;

final class AnswerTest extends TestCase
{
    public function testHealthIsWell(): void
    {
        $this->assertSame("ok\n", Answer::to('/health')->text);
    }

    public function testWhatIsNotThereIsNotFound(): void
    {
        $this->assertSame(404, Answer::to('/nothing')->status);
    }
}
