"use strict";

const assert = require("node:assert");
const test = require("node:test");
const { answer } = require("../answer.js");

test("health is well", () => {
  assert.deepStrictEqual(answer("/health"), [200, "ok\n"]);
});

test("what is not there is not found", () => {
  assert.strictEqual(answer("/nothing")[0], 404);
});
