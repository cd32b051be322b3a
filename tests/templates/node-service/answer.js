"use strict";

/** What the service says to a path: status and text. */
function answer(path) {
  switch (path) {
    case "/":
      return [200, "orders on Node.js\n"];
    case "/health":
      return [200, "ok\n"];
    default:
      return [404, "no such page\n"];
  }
}

module.exports = { answer };
