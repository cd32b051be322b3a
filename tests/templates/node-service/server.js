"use strict";

const http = require("node:http");
const { answer } = require("./answer.js");

const server = http.createServer((request, response) => {
  const [status, text] = answer(request.url);
  response.writeHead(status, { "content-type": "text/plain" });
  response.end(text);
});
server.listen(Number(process.env.PORT ?? 8080));

process.on("SIGTERM", () => server.close(() => process.exit(0)));
