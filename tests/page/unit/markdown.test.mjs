import assert from "node:assert/strict";
import { test } from "node:test";

import { parseInline, safeHref } from "../../../wegent/page/inline.js";
import { GrowingDocument, parse } from "../../../wegent/page/markdown.js";
import { ROUNDS, Random, SEED } from "./random.mjs";

const TYPES = new Set(["paragraph", "heading", "code", "list", "quote", "rule", "table", "strong", "em", "del", "link", "br"]);
const PIECES = ["a", "b ", "\n", "\n", "\n\n", "- ", "1. ", "2) ", "# ", "```", "```js\n", "---", "|", "a|b\n", "|-|-|\n", "> ", "  ", "    ",
  "*", "**", "_", "~~", "`", "``", "[t](http://x.y)", "[t](javascript:x)", "https://a.b/c", "<b>", "&amp;", "~~~\n", "😀", "\\", "é"];

function someMarkdown(random) {
  return Array.from({ length: 2 + random.below(28) }, () => random.pick(PIECES)).join("");
}

const one = (text) => parse(text)[0];
const types = (text) => parse(text).map(({ type }) => type);

test("headings, rules, quotes, lists, code and tables are told apart", () => {
  assert.deepEqual(types("# A\n\ntext\n- x\n- y\n\n> q\n\n---\n```\ncode\n```\n|a|b|\n|-|-|\n|1|2|"),
    ["heading", "paragraph", "list", "quote", "rule", "code", "table"]);
});

test("a fence takes everything as it is up to its end", () => {
  assert.deepEqual(one("```py\n# <b> *x*\n\n- y\n```"), { type: "code", lang: "py", text: "# <b> *x*\n\n- y", start: 0 });
  assert.equal(one("````\n```\n````").text, "```");
  assert.equal(one("```\nopen").text, "open");
});

test("lists nest, count from their first number and know whether they are loose", () => {
  const list = one("3. a\n   - b\n   - c\n4. d");
  assert.equal(list.from, 3);
  assert.equal(list.items[0][1].items.length, 2);
  assert.equal(list.loose, false);
  assert.equal(one("- a\n\n- b").loose, true);
});

test("tables keep their columns and alignment", () => {
  const table = one("| a | b |\n|:-:|--:|\n| 1 |\n| 2 | 3\\|4 | 5 |");
  assert.deepEqual(table.align, ["center", "right"]);
  assert.deepEqual(table.rows, [[["1"], []], [["2"], ["3|4"]]]);
});

test("emphasis closes what it opened and stays text where it doesn't", () => {
  assert.deepEqual(parseInline("**b *i* `c*`**"), [{ type: "strong", children: ["b ", { type: "em", children: ["i"] }, " ", { type: "code", text: "c*" }] }]);
  assert.deepEqual(parseInline("2 * 3 ** 4 snake_case_name *open"), ["2 * 3 ** 4 snake_case_name *open"]);
});

test("links go to the web and nowhere else", () => {
  assert.equal(parseInline("[t](https://a.b/c_(d))")[0].href, "https://a.b/c_(d)");
  assert.equal(parseInline("see https://a.b/c.")[1].href, "https://a.b/c");
  for (const evil of ["javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", " javascript:x", "//a.b", "/x", "java\nscript:x", "vbscript:x", "file:///etc"]) {
    assert.equal(safeHref(evil), null);
    assert.ok(parseInline(`[t](${evil})`).every((child) => typeof child === "string"), evil);
  }
});

function inspect(node) {
  if (typeof node === "string") {
    return;
  }
  assert.ok(TYPES.has(node.type), node.type);
  assert.ok(node.type !== "link" || /^https?:\/\//.test(node.href));
  [node.children, node.items?.flat(), node.head?.flat(), node.rows?.flat(2)].flat().filter((child) => child !== undefined).forEach(inspect);
}

test("only known types and safe links come out of any text", () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    parse(someMarkdown(new Random(SEED + round))).forEach(inspect);
  }
});

test("a text that grows in any pieces ends with the blocks of the whole", () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const random = new Random(SEED + round);
    const text = someMarkdown(random);
    const growing = new GrowingDocument();
    const settled = [];
    let last = [];
    for (let at = 0; at < text.length; ) {
      at = Math.min(text.length, at + 1 + random.below(5));
      const step = growing.update(text.slice(0, at));
      settled.push(...step.settled);
      last = step.tail;
    }
    assert.deepEqual([...settled, ...last], parse(text), `SEED=${SEED + round} ${JSON.stringify(text)}`);
  }
});

test("a text that is another one now is parsed anew", () => {
  const growing = new GrowingDocument();
  growing.update("a\n\nb\n\nc\n\n");
  const { anew, settled, tail } = growing.update("x\n\ny");
  assert.equal(anew, true);
  assert.deepEqual([...settled, ...tail], parse("x\n\ny"));
});

test("no text takes more than a moment", () => {
  const evil = ["`".repeat(1e5), "*a ".repeat(5e4), "[".repeat(1e5), "> ".repeat(5e4), "[a](".repeat(3e4), "- ".repeat(5e4), "https://".repeat(2e4),
    `${"|a".repeat(3e4)}\n${"|-".repeat(3e4)}`, "**a*_".repeat(3e4), "| |\n".repeat(3e4), "- - \n".repeat(2e4), "- a\nb\n".repeat(2e4),
    `- a\n${"b\n".repeat(2e4)}`, "> a\n".repeat(3e4), "~~~\n".repeat(2e4), `${"-".padEnd(100).repeat(1000)}x`, `#${" #".repeat(5e4)}a`,
    Array.from({ length: 400 }, (_, n) => `${"`".repeat(n)} `).join("")];
  for (const text of evil) {
    const before = performance.now();
    parse(text);
    assert.ok(performance.now() - before < 5000, JSON.stringify(text.slice(0, 20)));
  }
});
