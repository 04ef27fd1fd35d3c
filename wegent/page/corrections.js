// Corrections of answers as their events tell of them. No DOM.

const STAGES = { verifying_facts: "checking the facts…", evaluating: "summing up…", generating_improvement: "writing it better…" };

const EMPTY = { state: "running", note: "", summary: "", improved: "", result: null, error: "", applied: false };

export class Corrections {
  constructor() {
    this.items = new Map();
    this.kept = new WeakMap();
  }

  clear() {
    this.items.clear();
  }

  /** What is known of an answer's correction; null where there is none. `row` says what is kept with it. */
  of(row) {
    const item = this.items.get(row.id);
    if (item !== undefined) {
      return item;
    }
    const kept = row.correction;
    if (!kept) {
      return null;
    }
    if (!this.kept.has(kept)) {
      this.kept.set(kept, { ...EMPTY, state: kept.status === "DONE" ? "kept" : "running", applied: Boolean(kept.applied) });
    }
    return this.kept.get(kept);
  }

  /** Put what REST has of one: null where it is no more. */
  put(id, item) {
    if (item === null) {
      this.items.delete(id);
      return;
    }
    const { status, result, applied } = item;
    const texts = { summary: result?.summary ?? "", improved: result?.improved_answer ?? "" };
    this.items.set(id, { ...EMPTY, ...texts, state: status === "DONE" ? "done" : "running", result: result ?? null, applied });
  }

  fail(id, error) {
    this.#change(id, { state: "error", error });
  }

  applied(id) {
    this.#change(id, { applied: true });
  }

  /** Apply an event; the answer it is about, or null for an event of another kind. */
  onEvent(name, data) {
    const id = data.subtask_id;
    if (name === "chat:start" && this.items.delete(id)) {
      return id;
    }
    if (!name.startsWith("correction:")) {
      return null;
    }
    const changes = {
      "correction:start": () => ({ ...EMPTY, note: "beginning…" }),
      "correction:progress": () => ({ state: "running", note: data.tool_name ? `using ${data.tool_name}…` : (STAGES[data.stage] ?? "working…") }),
      "correction:chunk": () => this.#grown(id, data),
      "correction:done": () => ({ state: "done", note: "", result: data.result, summary: data.result.summary, improved: data.result.improved_answer }),
      "correction:error": () => ({ state: "error", error: data.error }),
    };
    this.#change(id, changes[name]?.() ?? {});
    return id;
  }

  /** Text by offset, in code points; who came in the middle waits for the end. */
  #grown(id, { field, content, offset }) {
    const key = field === "summary" ? "summary" : "improved";
    const held = this.items.get(id)?.[key] ?? "";
    return [...held].length === offset ? { [key]: held + content } : {};
  }

  #change(id, change) {
    this.items.set(id, { ...(this.items.get(id) ?? EMPTY), ...change });
  }
}
