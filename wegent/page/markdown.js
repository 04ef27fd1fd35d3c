// Markdown to a tree of plain values. Nothing here makes HTML: whoever draws the tree makes elements and text nodes, so
// that no text can become markup. Every scan is linear or bounded, and nesting is limited: the text is a stranger's.

import { parseInline } from "./inline.js";

const MAX_DEPTH = 8;
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*)$/;
const RULE = /^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])([ \t]+|$)/;
const DELIMITER_ROW = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/**
 * The blocks of `text`, each with `start`, the UTF-16 index of its first line. Types: paragraph, heading {level}, code
 * {lang, text}, list {ordered, from, loose, items}, quote, rule, table {align, head, rows}.
 */
export function parse(text) {
  const lines = text.split("\n");
  const starts = [];
  lines.reduce((at, line, i) => {
    starts[i] = at;
    return at + line.length + 1;
  }, 0);
  return parseLines(lines, 0, (i) => starts[i]);
}

function parseLines(lines, depth, place = null) {
  const blocks = [];
  let i = 0;
  while (i < lines.length) {
    if (isBlank(lines[i])) {
      i += 1;
    } else {
      const [block, next] = readBlock(lines, i, depth);
      blocks.push(place ? { ...block, start: place(i) } : block);
      i = next;
    }
  }
  return blocks;
}

function readBlock(lines, i, depth) {
  const line = lines[i];
  const heading = HEADING.exec(line);
  if (FENCE.test(line)) {
    return readFence(lines, i);
  }
  if (heading) {
    const text = heading[2].trimEnd().replace(/(^|[ \t])#+$/, "");
    return [{ type: "heading", level: heading[1].length, children: parseInline(text.trim()) }, i + 1];
  }
  if (RULE.test(line)) {
    return [{ type: "rule" }, i + 1];
  }
  if (QUOTE.test(line) && depth < MAX_DEPTH) {
    return readQuote(lines, i, depth);
  }
  if (ITEM.test(line) && depth < MAX_DEPTH) {
    return readList(lines, i, depth);
  }
  return startsTable(lines, i) ? readTable(lines, i) : readParagraph(lines, i);
}

function isBlank(line) {
  return line.trim() === "";
}

/** Whether a line ends the paragraph before it. */
function interrupts(lines, i) {
  const line = lines[i];
  const item = ITEM.exec(line);
  const list = item !== null && item[3] !== "" && (!/\d/.test(item[2]) || /^1[.)]$/.test(item[2]));
  return list || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || startsTable(lines, i);
}

function readParagraph(lines, i) {
  let end = i + 1;
  while (end < lines.length && !isBlank(lines[end]) && !interrupts(lines, end)) {
    end += 1;
  }
  const text = lines.slice(i, end).map((line) => line.trimStart()).join("\n").trimEnd();
  return [{ type: "paragraph", children: parseInline(text) }, end];
}

function readFence(lines, i) {
  const [, fence, info] = FENCE.exec(lines[i]);
  const indent = lines[i].length - lines[i].trimStart().length;
  const closes = (line) => {
    const bare = line.trim();
    return bare.length >= fence.length && line.search(/\S/) < 4 && bare === fence[0].repeat(bare.length);
  };
  let end = i + 1;
  while (end < lines.length && !closes(lines[end])) {
    end += 1;
  }
  const dedent = (line) => line.slice(Math.min(indent, line.length - line.trimStart().length));
  const text = lines.slice(i + 1, end).map(dedent).join("\n");
  return [{ type: "code", lang: info.trim().split(/\s+/)[0], text }, Math.min(end + 1, lines.length)];
}

function readQuote(lines, i, depth) {
  const inner = [];
  let end = i;
  while (end < lines.length && (QUOTE.test(lines[end]) || (!isBlank(lines[end]) && !interrupts(lines, end)))) {
    inner.push(lines[end].replace(QUOTE, ""));
    end += 1;
  }
  return [{ type: "quote", children: parseLines(inner, depth + 1) }, end];
}

// --- lists ----------------------------------------------------------------------------------------------------------

function marker(line) {
  const match = ITEM.exec(line);
  if (!match || RULE.test(line)) {
    return null;
  }
  const [whole, , mark, gap] = match;
  const ordered = /\d/.test(mark);
  const width = gap.length > 4 || gap === "" ? whole.length - gap.length + 1 : whole.length;
  return { ordered, kind: mark.at(-1), from: ordered ? Number.parseInt(mark, 10) : 1, width };
}

function indentOf(line) {
  return line.length - line.trimStart().length;
}

function readList(lines, i, depth) {
  const first = marker(lines[i]);
  const list = { type: "list", ordered: first.ordered, from: first.from, loose: false, items: [] };
  let end = i;
  while (end < lines.length) {
    const mark = marker(lines[end]);
    if (!mark || mark.kind !== first.kind) {
      break;
    }
    const [inner, next, blankAfter] = readItem(lines, end, mark.width);
    list.items.push(parseLines(inner, depth + 1));
    const more = next < lines.length && marker(lines[next])?.kind === first.kind;
    list.loose ||= (blankAfter && more) || inner.some((line, n) => isBlank(line) && n > 0 && n < inner.length - 1);
    end = next;
  }
  return [list, end];
}

/** The lines of an item without its indent, where the next block starts, and whether a blank line stands between. */
function readItem(lines, i, width) {
  const inner = [lines[i].slice(width)];
  let end = i + 1;
  let blanks = 0;
  let fenced = FENCE.test(inner[0]);
  while (end < lines.length) {
    const line = lines[end];
    if (isBlank(line)) {
      blanks += 1;
    } else if (indentOf(line) >= width || (blanks === 0 && !fenced && continues(lines, end, inner.at(-1)))) {
      fenced ||= FENCE.test(line.slice(width));
      inner.push(...Array(blanks).fill(""), line.slice(Math.min(width, indentOf(line))));
      blanks = 0;
    } else {
      break;
    }
    end += 1;
  }
  return [inner, end, blanks > 0];
}

/** A line that is not indented goes on with the item's paragraph, unless it starts something. */
function continues(lines, i, previous) {
  return !isBlank(previous) && marker(lines[i]) === null && !interrupts(lines, i);
}

// --- tables ---------------------------------------------------------------------------------------------------------

function startsTable(lines, i) {
  const next = lines[i + 1];
  return next !== undefined && lines[i].includes("|") && next.includes("|") && DELIMITER_ROW.test(next)
    && cells(lines[i]).length === cells(next).length;
}

function cells(line) {
  const bare = line.trim().replace(/^\|/, "").replace(/([^\\])\|$/, "$1");
  return bare.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function readTable(lines, i) {
  const head = cells(lines[i]);
  const align = cells(lines[i + 1]).map((cell) => {
    const [left, right] = [cell.startsWith(":"), cell.endsWith(":")];
    return left && right ? "center" : (right ? "right" : "left");
  });
  const rows = [];
  let end = i + 2;
  while (end < lines.length && !isBlank(lines[end]) && !interrupts(lines, end)) {
    const row = cells(lines[end]);
    rows.push(head.map((_, n) => parseInline(row[n] ?? "")));
    end += 1;
  }
  return [{ type: "table", align, head: head.map((cell) => parseInline(cell)), rows }, end];
}


// --- a text that grows ----------------------------------------------------------------------------------------------

/**
 * Parses a growing text without starting anew: blocks that no later text can change are handed out once.
 * A block is settled when another starts behind it on a line that is complete, and whose next one is too: only a table
 * is known by its second line.
 */
export class GrowingDocument {
  constructor() {
    this.text = "";
    this.settledTo = 0;
  }

  /** Take the text as it now is. Returns blocks newly settled and the ones at the end that may still change. */
  update(text) {
    const anew = !text.startsWith(this.text);
    const base = anew ? 0 : this.settledTo;
    const tail = parse(text.slice(base)).map((block) => ({ ...block, start: block.start + base }));
    const sure = text.lastIndexOf("\n", text.lastIndexOf("\n") - 1) + 1;
    const open = tail.findLastIndex((block, n) => n > 0 && block.start < sure);
    const settled = open > 0 ? tail.splice(0, open) : [];
    this.text = text;
    this.settledTo = tail[0]?.start ?? base;
    return { anew, settled, tail };
  }
}
