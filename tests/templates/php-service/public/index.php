<?php

declare(strict_types=1);

require __DIR__ . '/../vendor/autoload.php';

$answer = Orders\Answer::to(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
http_response_code($answer->status);
header('Content-Type: text/plain');
echo $answer->text;
