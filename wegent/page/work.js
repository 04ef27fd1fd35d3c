// What goes on beside the messages, and is asked for by REST: background work, checks of answers, files.

import {
  applyCorrection, correct, downloadFile, getCorrection, listExecutions, listKnowledgeBases, makeExecution, removeCorrection, removeExecution,
} from "./api.js";
import { Background } from "./background.js";
import { el } from "./dom.js";
import { byId, toast } from "./view.js";

const KEPT_MS = 60_000;

export class Work {
  /** `call(read)` calls the server for the account there is, `token()` is its token; `chat` shows what becomes of answers. */
  constructor({ call, token, chat }) {
    Object.assign(this, { call, token, chat });
    const parts = {
      list: byId("execution-list"), count: byId("execution-count"), none: byId("no-executions"), open: byId("new-execution"),
      dialog: byId("execution-dialog"), form: byId("execution-form"), error: byId("execution-error"),
    };
    this.background = new Background(parts, {
      read: () => this.#readExecutions(), make: (asked) => this.#make(asked), remove: (item) => this.#remove(item), teams: () => chat.teams,
    });
  }

  /** Whether an event was about this alone. */
  onEvent(name) {
    return this.background.onEvent(name);
  }

  /** Read what runs in the background, and what can be searched for messages. */
  read() {
    this.#readExecutions();
    this.#readBases();
  }

  #readExecutions() {
    this.call(async ({ token }) => {
      const items = await listExecutions(token);
      return () => this.background.draw(items);
    });
  }

  #readBases() {
    this.call(async ({ token }) => {
      const bases = await listKnowledgeBases(token);
      return () => this.chat.knowledge.setBases(bases);
    });
  }

  async #make(asked) {
    await makeExecution(this.token(), asked);
    this.#readExecutions();
  }

  #remove(item) {
    this.call(async ({ token }) => {
      await removeExecution(token, item.id);
      return () => this.#readExecutions();
    });
  }

  /** Save an attachment: a link could not say who asks for it. */
  download(file) {
    this.call(async ({ token }) => {
      const address = URL.createObjectURL(await downloadFile(token, file.id));
      return () => {
        el("a", { href: address, download: file.name }).click();
        setTimeout(() => URL.revokeObjectURL(address), KEPT_MS);
      };
    });
  }

  /** `ask` for a check of an answer, `load` what is kept of it, `apply` it, or `dismiss` it. */
  async correction(action, row) {
    const { chat } = this;
    try {
      chat.correct(row.id, await this[action](row));
    } catch (error) {
      const isGone = action === "dismiss" && error.status === 404;
      chat.correct(row.id, (kept) => (isGone ? kept.put(row.id, null) : toast(error.message)));
    }
  }

  /** Each of these: what to do with the corrections that are shown, once the server has done its part. */
  async ask(row) {
    await correct(this.token(), this.chat.id, row.id);
    return () => {};
  }

  async load(row) {
    const item = await getCorrection(this.token(), row.id);
    return (kept) => kept.put(row.id, item);
  }

  async apply(row) {
    await applyCorrection(this.token(), row.id);
    return (kept) => kept.applied(row.id);
  }

  async dismiss(row) {
    await removeCorrection(this.token(), row.id);
    return (kept) => {
      Object.assign(row, { correction: null });
      kept.put(row.id, null);
    };
  }
}
