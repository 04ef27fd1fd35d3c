// Background work: what runs at once, later or on a schedule, and the form that makes one.

import { el, icon, setText } from "./dom.js";

const WORDS = { PENDING: "waiting", RUNNING: "running", CANCELLING: "stopping", COMPLETED: "done", FAILED: "failed", CANCELLED: "stopped" };
const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const AGAIN_MS = 300;

/** How an execution is, in words: `done · next 1 Jan 2026, 07:30`. */
export function wordsFor({ status, next_at: next, cron, runs }) {
  const state = status === "PENDING" && next ? "" : (WORDS[status] ?? status);
  const ahead = next ? `${cron ? "next " : ""}${WHEN.format(new Date(next))}` : "";
  const count = cron && runs > 1 ? `${runs} runs` : "";
  return [state, ahead, count].filter(Boolean).join(" · ");
}

/** What the form asks for; throws an Error whose message says what is missing. */
export function askedFor({ team, prompt, kind, at, cron }, zone = Intl.DateTimeFormat().resolvedOptions().timeZone) {
  const asked = { team_id: Number(team), prompt: prompt.trim() };
  if (asked.prompt === "") {
    throw new Error("Say what is to be done.");
  }
  if (kind === "later") {
    const when = new Date(at);
    if (Number.isNaN(when.getTime())) {
      throw new Error("Say when it is to be done.");
    }
    asked.run_at = when.toISOString();
  } else if (kind === "again") {
    Object.assign(asked, { cron: cron.trim(), timezone: zone });
  }
  return asked;
}

export class Background {
  /** `parts`: the elements `list`, `count`, `none`, `open`, `dialog`, `form`, `error`; `hooks`: `read()`, `make(asked)`, `remove(item)`, `teams()`. */
  constructor(parts, hooks) {
    Object.assign(this, parts, { hooks });
    this.reading = null;
    this.open.addEventListener("click", () => this.#ask());
    this.form.addEventListener("change", () => this.#choose());
    this.form.addEventListener("submit", (event) => this.#submit(event));
    this.form.elements.cancel.addEventListener("click", () => this.dialog.close());
  }

  /** Whether an event is about this; then the list is read again, once for many. */
  onEvent(name) {
    if (name !== "background:execution_update") {
      return false;
    }
    this.reading ??= setTimeout(() => {
      this.reading = null;
      this.hooks.read();
    }, AGAIN_MS);
    return true;
  }

  draw(items) {
    const ahead = items.filter((item) => item.next_at).length;
    setText(this.count, ahead > 0 ? `${ahead} to come` : "");
    this.none.hidden = items.length > 0;
    this.list.replaceChildren(...items.map((item) => this.#entry(item)));
  }

  #entry(item) {
    const first = item.prompt.trim().split("\n")[0];
    const title = item.task_id ? el("a", { href: `#/task/${item.task_id}`, title: item.prompt }, first) : el("span", { class: "title", title: item.prompt }, first);
    const label = `Delete: ${first}`;
    const remove = el("button", { class: "round tiny", type: "button", title: label, "aria-label": label, on: { click: () => this.hooks.remove(item) } }, icon("cross"));
    const note = el("span", { class: "note", title: item.error_message ?? item.cron ?? "" }, wordsFor(item));
    return el("li", { data: { status: item.status } }, el("span", { class: "dot", "aria-hidden": "true" }), title, remove, note);
  }

  #ask() {
    const { team } = this.form.elements;
    team.replaceChildren(...this.hooks.teams().map(({ id, name }) => el("option", { value: id }, name)));
    setText(this.error, "");
    this.error.hidden = true;
    this.#choose();
    this.dialog.showModal();
  }

  #choose() {
    const { kind, at, cron } = this.form.elements;
    at.closest("label").hidden = kind.value !== "later";
    cron.closest("label").hidden = kind.value !== "again";
  }

  async #submit(event) {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(this.form));
    const { submit } = this.form.elements;
    submit.disabled = true;
    try {
      await this.hooks.make(askedFor(fields));
      this.form.reset();
      this.dialog.close();
    } catch (error) {
      setText(this.error, error.message);
      this.error.hidden = false;
    } finally {
      submit.disabled = false;
    }
  }
}
