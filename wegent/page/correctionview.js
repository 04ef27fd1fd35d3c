// A correction as it shows below its answer.

import { MarkdownView, el, icon, setText } from "./dom.js";

const MARKS = { accuracy: "Accuracy", logic: "Logic", completeness: "Completeness" };

export class CorrectionView {
  /** `actions`: `load()`, `apply()`, `dismiss()`. */
  constructor(actions) {
    this.actions = actions;
    this.title = el("strong", {});
    this.note = el("span", { class: "note", role: "status" });
    this.marks = el("dl", { class: "marks" });
    this.summary = el("p", { class: "summary", dir: "auto" });
    this.issues = el("ul", { class: "issues" });
    this.improved = new MarkdownView();
    this.better = el("details", { class: "better", open: "" }, el("summary", {}, "Improved answer"), this.improved.node);
    this.buttons = el("div", { class: "buttons" });
    const head = el("header", {}, icon("check"), this.title, this.note);
    this.node = el("section", { class: "correction", "aria-label": "Check of this answer", hidden: "" }, head, this.marks, this.summary, this.issues, this.better, this.buttons);
    this.shown = null;
  }

  update(item) {
    if (item === this.shown) {
      return;
    }
    this.shown = item;
    this.node.hidden = item === null;
    if (item !== null) {
      this.node.dataset.state = item.state;
      this.#draw(item);
    }
  }

  #draw(item) {
    const { result } = item;
    setText(this.title, this.#heading(item));
    setText(this.note, item.state === "error" ? item.error : item.note);
    this.marks.hidden = result === null;
    this.marks.replaceChildren(...Object.entries(result?.scores ?? {}).map(([name, mark]) => el("div", {}, el("dt", {}, MARKS[name] ?? name), el("dd", {}, `${mark} / 10`))));
    setText(this.summary, item.summary);
    this.summary.hidden = item.summary === "";
    this.issues.replaceChildren(...(result?.corrections ?? []).map(({ issue, suggestion }) => el("li", { dir: "auto" }, issue, " ", el("em", {}, suggestion))));
    this.improved.update(item.improved);
    this.better.hidden = item.improved === "" || item.applied || result?.is_correct === true;
    this.buttons.replaceChildren(...this.#buttons(item));
  }

  #heading({ state, result, applied }) {
    if (state === "running") {
      return "This answer is being checked:";
    }
    if (state === "error") {
      return "It could not be checked:";
    }
    if (applied) {
      return "Checked, and improved";
    }
    return { undefined: "Checked", true: "Checked: nothing to put right", false: "Checked: something to put right" }[result?.is_correct];
  }

  #buttons({ state, result, applied }) {
    const button = (label, action, handler, look = "small") => el("button", { class: look, type: "button", data: { action }, on: { click: handler } }, label);
    const made = [];
    if (state === "kept") {
      made.push(button("Show it", "show-correction", () => this.actions.load()));
    }
    if (state === "done" && !applied && result?.is_correct === false) {
      made.push(button("Use the improved answer", "apply-correction", () => this.actions.apply(), "quiet"));
    }
    made.push(button(state === "running" ? "Stop" : "Dismiss", "dismiss-correction", () => this.actions.dismiss()));
    return made;
  }
}
