// Inline Markdown to a tree: strings, and {type: code|strong|em|del|link|br}. Links go to http and https, nowhere else.

const MAX_DEPTH = 12;
const TOKEN = /\\[!-/:-@[-`{-~]|`+|\*{1,3}|_{1,3}|~~|\[|https?:\/\/|\n/g;
const LINK = /\[([^[\]\n]{1,1000})\]\(<?([^\s()<>]{1,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,500})?)>?(?:[ \t]+"[^"\n]{0,500}")?\)/y;
const BARE = /https?:\/\/[^\s<>"'`\\|]{1,2000}/y;
const TYPES = { "*": ["em"], _: ["em"], "**": ["strong"], __: ["strong"], "***": ["strong", "em"], ___: ["strong", "em"], "~~": ["del"] };

/** The address as the browser understands it, or null if it isn't one of the web's. */
export function safeHref(address) {
  if (typeof address !== "string" || !/^https?:\/\//i.test(address) || !URL.canParse(address)) {
    return null;
  }
  return new URL(address).href;
}

export function parseInline(text, links = true) {
  return new Inline(text, links).run();
}

class Inline {
  constructor(text, links) {
    this.text = text;
    this.links = links;
    this.at = 0;
    this.frames = [{ mark: "", children: [] }];
    this.unclosed = new Set();
  }

  get top() {
    return this.frames.at(-1).children;
  }

  run() {
    TOKEN.lastIndex = 0;
    for (let match = this.next(); match !== null; match = this.next()) {
      this.say(this.text.slice(this.at, match.index));
      this.at = match.index;
      this.token(match[0]);
    }
    this.say(this.text.slice(this.at));
    while (this.frames.length > 1) {
      this.flatten();
    }
    return this.top;
  }

  next() {
    TOKEN.lastIndex = this.at;
    return TOKEN.exec(this.text);
  }

  say(text) {
    if (text !== "") {
      const { top } = this;
      if (typeof top.at(-1) === "string") {
        top.push(top.pop() + text);
      } else {
        top.push(text);
      }
    }
  }

  token(mark) {
    if (mark === "\n") {
      this.newline();
    } else if (mark[0] === "\\") {
      this.take(mark, mark[1]);
    } else if (mark[0] === "`") {
      this.code(mark);
    } else if (mark === "[") {
      this.link(LINK);
    } else if (mark[0] === "h") {
      this.link(BARE);
    } else {
      this.emphasis(mark);
    }
  }

  take(mark, text = mark) {
    this.at += mark.length;
    this.say(text);
  }

  newline() {
    const breaks = this.text.endsWith("  ", this.at) && typeof this.top.at(-1) === "string";
    this.at += 1;
    if (breaks) {
      this.top.push(this.top.pop().trimEnd(), { type: "br" });
    } else {
      this.say("\n");
    }
  }

  /** A run of backticks, up to the next run of the same length; a length that has none is looked for once. */
  code(mark) {
    const from = this.at + mark.length;
    let end = this.unclosed.has(mark.length) ? -1 : from;
    while (end !== -1) {
      end = this.text.indexOf(mark, end);
      if (end !== -1 && this.text[end + mark.length] !== "`") {
        break;
      }
      while (end !== -1 && this.text[end] === "`") {
        end += 1;
      }
    }
    if (end === -1) {
      this.unclosed.add(mark.length);
      this.take(mark);
      return;
    }
    const text = this.text.slice(from, end).replaceAll("\n", " ");
    const padded = /^ .*[^ ].* $/.test(text);
    this.top.push({ type: "code", text: padded ? text.slice(1, -1) : text });
    this.at = end + mark.length;
  }

  link(pattern) {
    pattern.lastIndex = this.at;
    const match = this.links ? pattern.exec(this.text) : null;
    const bare = pattern === BARE ? match?.[0].replace(/[.,;:!?*_~)\]]+$/, "") : null;
    const href = safeHref(bare ?? match?.[2]);
    if (href === null) {
      this.take(pattern === BARE ? this.text.slice(this.at, this.at + 4) : "[");
      return;
    }
    this.top.push({ type: "link", href, children: bare ? [bare] : parseInline(match[1], false) });
    this.at += (bare ?? match[0]).length;
  }

  emphasis(mark) {
    const before = this.text[this.at - 1] ?? " ";
    const after = this.text[this.at + mark.length] ?? " ";
    const word = (unit) => mark[0] === "_" && /[\p{L}\p{N}_]/u.test(unit);
    const open = this.frames.findLastIndex((frame) => frame.mark === mark);
    this.at += mark.length;
    if (open > 0 && !/\s/.test(before) && !word(after)) {
      this.close(open);
    } else if (this.frames.length < MAX_DEPTH && !/\s/.test(after) && !word(before)) {
      this.frames.push({ mark, children: [] });
    } else {
      this.say(mark);
    }
  }

  close(open) {
    while (this.frames.length > open + 1) {
      this.flatten();
    }
    const { mark, children } = this.frames.pop();
    this.top.push(TYPES[mark].reduceRight((inner, type) => [{ type, children: inner }], children)[0]);
  }

  /** The innermost frame was never closed: its mark is text after all. */
  flatten() {
    const { mark, children } = this.frames.pop();
    this.say(mark);
    for (const child of children) {
      if (typeof child === "string") {
        this.say(child);
      } else {
        this.top.push(child);
      }
    }
  }
}
