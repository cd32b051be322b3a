<?php

declare(strict_types=1);

namespace Orders;

/** What the service says to a path. */
final class Answer
{
    private function __construct(
        public readonly int $status,
        public readonly string $text,
    ) {
    }

    public static function to(string $path): self
    {
        return match ($path) {
            '/' => new self(200, "orders in PHP\n"),
            '/health' => new self(200, "ok\n"),
            default => new self(404, "no such page\n"),
        };
    }
}
