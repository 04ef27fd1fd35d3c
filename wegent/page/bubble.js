// One message as it is shown: a person's words, or an answer with its thinking, tools, text, and how it ended.

import { sizeOf } from "./attaching.js";
import { CorrectionView } from "./correctionview.js";
import { MarkdownView, copyButton, el, icon, setText } from "./dom.js";
import { safeHref } from "./inline.js";
import { isActive, phase } from "./state.js";
import { unitIndex } from "./text.js";

const ERRORS = {
  model: "The model failed", timeout: "The model fell silent", worker_lost: "The server stopped", device_lost: "The device was lost",
  executor_lost: "The executor was lost", runner_exit: "The runner ended early", out_of_memory: "Out of memory", killed: "The runner was killed",
  image: "The image could not be used", engine_away: "The container engine is away", output_limit: "The answer was too long",
  protocol: "The runner sent something unreadable", internal: "Something went wrong",
};
const TOOL_STATES = { pending: "waiting", streaming: "running", done: "done", error: "failed" };
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

function timeNode(iso) {
  const when = new Date(iso ?? NaN);
  return Number.isNaN(when.getTime()) ? null : el("time", { datetime: when.toISOString() }, CLOCK.format(when));
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** A use of a tool, collapsed; what went in and came out is inside. */
class ToolView {
  constructor() {
    this.state = el("span", { class: "state" });
    this.name = el("span", { class: "name" });
    this.detail = el("div", { class: "detail" });
    this.node = el("details", { class: "tool" }, el("summary", {}, icon("tool"), this.name, this.state), this.detail);
    this.version = null;
  }

  update(block) {
    if (this.version === block.version) {
      return;
    }
    this.version = block.version;
    this.node.dataset.state = block.status ?? "pending";
    setText(this.name, String(block.tool_name ?? block.type ?? "tool"));
    setText(this.state, TOOL_STATES[block.status] ?? String(block.status ?? ""));
    const part = (label, value) => (value === undefined || value === null ? [] : [el("h4", {}, label), el("pre", { tabindex: "0" }, pretty(value))]);
    this.detail.replaceChildren(...part("Input", block.tool_input), ...part("Output", block.tool_output));
  }
}

/** Text with tools between: each tool stands at the content offset `at`, so that both interleave as they came. */
class Body {
  constructor() {
    this.node = el("div", { class: "body" });
    this.parts = [new MarkdownView()];
    this.tools = [];
    this.units = [];
    this.text = "";
    this.node.append(this.parts[0].node);
  }

  update(text, blocks) {
    if (!text.startsWith(this.text)) {
      this.units = [];
    }
    this.text = text;
    const sorted = [...blocks].sort((a, b) => (a.at ?? 0) - (b.at ?? 0) || (String(a.id) < String(b.id) ? -1 : 1));
    this.#arrange(sorted);
    let from = 0;
    sorted.forEach((block, n) => {
      const to = this.#unit(n, block.at ?? 0, n === 0 ? 0 : (sorted[n - 1].at ?? 0), from);
      this.parts[n].update(text.slice(from, to));
      this.tools[n].view.update(block);
      from = to;
    });
    this.parts.at(-1).update(text.slice(from));
  }

  /** Keep what stands where it stood, take away the rest, add what is new. */
  #arrange(sorted) {
    const changed = this.tools.findIndex(({ id, at }, n) => sorted[n]?.id !== id || sorted[n]?.at !== at);
    const keep = changed === -1 ? this.tools.length : changed;
    this.tools.splice(keep).forEach(({ view }) => view.node.remove());
    this.parts.splice(keep + 1).forEach(({ node }) => node.remove());
    this.units.length = Math.min(this.units.length, keep);
    for (const { id, at } of sorted.slice(keep)) {
      const tool = { id, at, view: new ToolView() };
      const part = new MarkdownView();
      this.tools.push(tool);
      this.parts.push(part);
      this.node.append(tool.view.node, part.node);
    }
  }

  /** Where the code-point offset `at` lies in the string; remembered once the text reaches so far. */
  #unit(n, at, before, from) {
    if (this.units[n] === undefined) {
      const index = unitIndex(this.text, at - before, from);
      if (index === this.text.length) {
        return index;
      }
      this.units[n] = index;
    }
    return this.units[n];
  }
}

/** What was looked up for a message, or said beside it; what was found is told on pointing at it. */
function sourceNode({ type, name, title, documents = [] }) {
  const found = documents.join(", ");
  return el("li", {}, el("span", { class: "attachment", title: found || (title ?? "") }, icon("book"), el("span", { class: "title" }, name ?? title ?? type)));
}

/** A person's message. `actions`: `resend(row)`, `download(file)`; `mine(row)` says whose it is. */
class PersonBubble {
  constructor(row, actions) {
    this.actions = actions;
    this.text = el("div", { class: "said", dir: "auto" });
    this.meta = el("div", { class: "meta" });
    this.files = el("ul", { class: "files" });
    this.node = el("article", { class: "message person" }, this.text, this.files, this.meta);
  }

  update(row) {
    const mine = row.local !== null || this.actions.mine(row);
    this.node.dataset.phase = phase(row);
    this.node.classList.toggle("other", !mine);
    this.node.setAttribute("aria-label", mine ? "You" : (row.sender?.user_name ?? "Somebody"));
    setText(this.text, row.prompt);
    this.files.hidden = row.attachments.length + row.sources.length === 0;
    this.files.replaceChildren(...row.attachments.map((file) => this.#file(file)), ...row.sources.map(sourceNode));
    this.meta.replaceChildren(...this.#meta(row, mine).filter((node) => node !== null));
  }

  #file(file) {
    const label = `Download ${file.name}`;
    const parts = [icon("clip"), el("span", { class: "title" }, file.name), el("span", { class: "note" }, sizeOf(file.size))];
    return el("li", {}, el("button", { class: "attachment", type: "button", title: label, "aria-label": label, on: { click: () => this.actions.download(file) } }, parts));
  }

  #meta(row, mine) {
    if (row.local === "error") {
      const again = el("button", { class: "small", type: "button", on: { click: () => this.actions.resend(row) } }, icon("retry"), "Send again");
      return [el("span", { class: "failed" }, `Not sent: ${row.localError}`), again];
    }
    if (row.local === "pending") {
      return [el("span", {}, "Sending…")];
    }
    return [mine ? null : el("strong", {}, row.sender?.user_name ?? ""), timeNode(row.createdAt)];
  }
}

/** An answer. `actions`: `retry(row)`, `nameOf(row)`, who answers, `correctionOf(row)`, and `correction(action, row)`. */
class AnswerBubble {
  constructor(row, actions) {
    this.actions = actions;
    this.name = el("strong", { class: "name" });
    this.chip = el("span", { class: "chip" });
    this.time = el("span", { class: "time" });
    this.thinkingText = el("div", { class: "thoughts", dir: "auto" }, document.createTextNode(""));
    this.thinkingLabel = el("span", {}, "Thinking");
    this.thinking = el("details", { class: "thinking", hidden: "" }, el("summary", {}, icon("spark"), this.thinkingLabel), this.thinkingText);
    this.body = new Body();
    this.bar = el("progress", { max: 100, hidden: "", "aria-label": "Progress" });
    this.failure = el("div", { class: "failure", hidden: "" });
    this.foot = el("footer");
    const ask = (action) => () => this.actions.correction(action, this.row);
    this.correction = new CorrectionView({ load: ask("load"), apply: ask("apply"), dismiss: ask("dismiss") });
    const head = el("header", {}, el("span", { class: "avatar bot", "aria-hidden": "true" }, icon("spark")), this.name, this.chip, this.time);
    this.node = el("article", { class: "message answer", data: { subtask: row.id } }, head, this.thinking, this.body.node, this.bar, this.failure, this.foot, this.correction.node);
    this.row = row;
    this.shown = "";
  }

  update(row) {
    this.row = row;
    this.body.update(row.content.text, row.blocks.values());
    this.#think(row);
    const correction = this.actions.correctionOf(row);
    this.correction.update(correction);
    const state = [correction === null, phase(row), row.status, row.attempt, row.error, this.actions.nameOf(row), row.content.length > 0, row.progress, row.app, row.createdAt, row.reason];
    if (JSON.stringify(state) !== this.shown) {
      this.shown = JSON.stringify(state);
      this.#frame(row);
    }
  }

  #think(row) {
    const { firstChild: held } = this.thinkingText;
    const { text } = row.thinking;
    if (text.startsWith(held.data)) {
      if (text.length > held.data.length) {
        held.appendData(text.slice(held.data.length));
      }
    } else {
      held.data = text;
    }
    this.thinking.hidden = text === "";
    setText(this.thinkingLabel, isActive(row) && row.content.length === 0 ? "Thinking…" : "Thoughts");
  }

  #frame(row) {
    const now = phase(row);
    this.node.dataset.phase = now;
    const name = this.actions.nameOf(row);
    this.node.setAttribute("aria-label", name);
    this.node.setAttribute("aria-busy", String(isActive(row)));
    setText(this.name, name);
    setText(this.chip, this.#chip(row, now));
    this.time.replaceChildren(...[timeNode(row.createdAt)].filter(Boolean));
    const progress = typeof row.progress === "object" ? row.progress?.progress : row.progress;
    this.bar.hidden = !(isActive(row) && progress > 0 && progress < 100);
    this.bar.value = progress ?? 0;
    this.#fail(row, now);
    this.foot.replaceChildren(...this.#actions(row, now));
  }

  #chip(row, now) {
    if (row.status === "CANCELLING") {
      return "stopping…";
    }
    const again = row.attempt > 1 ? ` · attempt ${row.attempt}` : "";
    const words = { pending: "waiting…", streaming: row.content.length > 0 ? "answering…" : "working…", cancelled: "stopped", error: "failed" };
    return (words[now] ?? "") + (again && now !== "completed" ? again : "");
  }

  #fail(row, now) {
    this.failure.hidden = now !== "error";
    if (now === "error") {
      const type = row.errorType ?? "internal";
      const title = el("strong", {}, ERRORS[type] ?? "The answer failed");
      this.failure.replaceChildren(title, el("code", {}, type), el("p", {}, row.error ?? "No reason was given."));
    }
  }

  #actions(row, now) {
    const made = [];
    const href = safeHref(row.app?.previewUrl);
    if (href) {
      made.push(el("a", { class: "small", href, target: "_blank", rel: "noopener noreferrer" }, `Open ${row.app.name ?? "the preview"}`));
    }
    if (now === "error" || now === "cancelled") {
      made.push(el("button", { class: "small", type: "button", data: { action: "retry" }, on: { click: () => this.actions.retry(this.row) } }, icon("retry"), "Try again"));
    }
    if (now === "completed" && row.content.length > 0 && this.actions.correctionOf(row) === null) {
      made.push(el("button", { class: "small", type: "button", data: { action: "correct" }, title: "Have a second model check this answer", on: { click: () => this.actions.correction("ask", this.row) } }, icon("check"), "Check"));
    }
    if (!isActive(row) && row.content.length > 0) {
      made.push(copyButton("Copy", () => this.row.content.text));
    }
    return made;
  }
}

export function makeBubble(row, actions) {
  return row.role === "USER" ? new PersonBubble(row, actions) : new AnswerBubble(row, actions);
}
