// Elements out of values. Text becomes text nodes, always: nothing on this page is ever parsed as HTML.

import { GrowingDocument } from "./markdown.js";

const SVG = "http://www.w3.org/2000/svg";
const CODE_PIECE = 4_000;
const INLINE = { strong: "strong", em: "em", del: "del" };

/** An element with properties (`class`, `data`, `on`, others as attributes) and children; null ones are left out. */
export function el(tag, { class: className, data = {}, on = {}, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  if (className) {
    node.className = className;
  }
  Object.assign(node.dataset, data);
  Object.entries(on).forEach(([name, handler]) => node.addEventListener(name, handler));
  Object.entries(attributes).forEach(([name, value]) => value !== null && node.setAttribute(name, value));
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** One of the page's own symbols. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

/** Put `text` on the clipboard, also where the page came over plain HTTP. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const field = el("textarea", { class: "hidden", readonly: "" });
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

export function copyButton(label, text) {
  const said = el("span", {}, label);
  const button = el("button", { class: "small", type: "button" }, icon("copy"), said);
  button.addEventListener("click", async () => {
    await copyText(text());
    setText(said, "Copied");
    setTimeout(() => setText(said, label), 1500);
  });
  return button;
}

// --- Markdown trees ---------------------------------------------------------------------------------------------------

function inline(child) {
  if (typeof child === "string") {
    return document.createTextNode(child);
  }
  if (child.type === "code") {
    return el("code", {}, child.text);
  }
  if (child.type === "br") {
    return el("br");
  }
  const children = child.children.map(inline);
  return child.type === "link"
    ? el("a", { href: child.href, target: "_blank", rel: "noopener noreferrer nofollow" }, children)
    : el(INLINE[child.type], {}, children);
}

/** Add to a code block, in pieces of whole lines: a browser lays out anew only the piece that grows. */
function appendCode(code, text) {
  const last = code.lastChild;
  if (last !== null && last.firstChild.length + text.length < CODE_PIECE) {
    last.firstChild.appendData(text);
    return;
  }
  const rest = (last?.textContent ?? "") + text;
  last?.remove();
  let from = 0;
  do {
    const newline = rest.indexOf("\n", from + CODE_PIECE);
    const to = newline === -1 ? rest.length : newline + 1;
    code.append(el("span", {}, document.createTextNode(rest.slice(from, to))));
    from = to;
  } while (from < rest.length);
}

function codeBlock({ lang, text }) {
  const code = el("code");
  appendCode(code, text);
  const bar = el("div", { class: "bar" }, el("span", {}, lang || "text"), copyButton("Copy", () => code.textContent));
  return el("div", { class: "code" }, bar, el("pre", { tabindex: "0" }, code));
}

function item(blocks, loose) {
  return el("li", {}, blocks.flatMap((child) => (child.type === "paragraph" && !loose ? child.children.map(inline) : [block(child)])));
}

function table({ align, head, rows }) {
  const cell = (tag) => (children, n) => el(tag, { class: `to-${align[n]}` }, children.map(inline));
  const body = rows.map((row) => el("tr", {}, row.map(cell("td"))));
  return el("div", { class: "table" }, el("table", {}, el("thead", {}, el("tr", {}, head.map(cell("th")))), el("tbody", {}, body)));
}

const BLOCKS = {
  paragraph: ({ children }) => el("p", {}, children.map(inline)),
  heading: ({ level, children }) => el(`h${Math.min(6, level + 2)}`, { class: `h${level}` }, children.map(inline)),
  quote: ({ children }) => el("blockquote", {}, children.map(block)),
  list: ({ ordered, from, loose, items }) =>
    el(ordered ? "ol" : "ul", ordered && from !== 1 ? { start: from } : {}, items.map((blocks) => item(blocks, loose))),
  rule: () => el("hr"),
  code: codeBlock,
  table,
};

function block(tree) {
  return BLOCKS[tree.type](tree);
}

/** A Markdown text that grows: what is settled is drawn once, only the end is drawn anew. */
export class MarkdownView {
  constructor() {
    this.node = el("div", { class: "md", dir: "auto" });
    this.document = new GrowingDocument();
    this.tail = [];
    this.tailTrees = [];
  }

  update(text) {
    if (text === this.document.text) {
      return;
    }
    const { anew, settled, tail } = this.document.update(text);
    if (!anew && settled.length === 0 && this.#growCode(tail)) {
      return;
    }
    if (anew) {
      this.node.replaceChildren();
    } else {
      this.tail.forEach((node) => node.remove());
    }
    this.node.append(...settled.map(block));
    this.tail = tail.map(block);
    this.tailTrees = tail;
    this.node.append(...this.tail);
  }

  /** A long code block that is still being written only gets the new text. */
  #growCode(tail) {
    const [old] = this.tailTrees;
    const [now] = tail;
    const same = tail.length === 1 && this.tailTrees.length === 1 && old.type === "code" && now.type === "code"
      && old.start === now.start && old.lang === now.lang && now.text.startsWith(old.text);
    if (same) {
      appendCode(this.tail[0].querySelector("code"), now.text.slice(old.text.length));
      this.tailTrees = tail;
    }
    return same;
  }
}
