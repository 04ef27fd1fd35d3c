// One open task: a state machine that keeps what is shown equal to what the server has.
//
// idle → waiting_socket → joining → syncing → ready ⇄ streaming; error from joining and syncing. What arrives while joining
// or syncing is held and applied after. One recovery runs at a time; triggers that come meanwhile merge into it.

import { addOwn, applyCancel, applyEvent, applyHistory, applyJoin, applyResume, applyRetry, applySent, failOwn } from "./merge.js";
import { Disconnected, Refused } from "./socket.js";
import { TaskState, isActive } from "./state.js";

const JOIN_LIMIT = 100;
const JOIN_MS = 10_000;
const JOIN_TRIES = 5;
const FILL_TRIES = 3;
const HELD_LIMIT = 5_000;
const FINAL_CODES = new Set(["ACCESS_DENIED", "NOT_FOUND", "INVALID_PAYLOAD", "NOT_AUTHENTICATED", "TOKEN_EXPIRED"]);

/** 128 random bits; `crypto.randomUUID` is missing where the page comes over plain HTTP from another host. */
export function newClientMessageId(random = globalThis.crypto) {
  return Array.from(random.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function payloadOf(row, teamId) {
  const place = row.deviceId === null ? {} : { device_id: row.deviceId };
  const files = row.attachments.length === 0 ? {} : { attachment_ids: row.attachments.map(({ id }) => id) };
  const sources = row.sources.length === 0 ? {} : { contexts: row.sources.map(({ type, id }) => ({ type, id })) };
  return { team_id: teamId, message: row.prompt, client_message_id: row.clientMessageId, if_running: "queue", ...place, ...files, ...sources };
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * The session of one task, or of a new one (`state.id` null) until its first message is acknowledged.
 * `hooks`: `changed(Change)`, `state(state, detail)`, `created(taskId)`, `trouble(message)`.
 */
export class TaskSession {
  constructor(connection, hooks, taskState = new TaskState()) {
    Object.assign(this, { connection, hooks, task: taskState });
    this.state = "idle";
    this.closed = false;
    this.recovery = null;
    this.held = [];
    this.overflowed = false;
    this.filling = new Set();
    this.stuck = new Map();
    this.unsent = [];
    this.draining = false;
  }

  get id() {
    return this.task.id;
  }

  /** Leave the task's room; what is still to be sent goes on. */
  close() {
    this.closed = true;
    if (this.id !== null && this.connection.state === "open") {
      this.connection.request("task:leave", { task_id: this.id }).catch(() => {});
    }
  }

  // --- recovery -----------------------------------------------------------------------------------------------------

  /** The socket's state changed: an open one is a reason to recover, and to send what waits. */
  onSocket(state) {
    if (state === "open") {
      this.#drain();
      this.recover();
    } else if (this.id !== null && this.state !== "error") {
      this.#enter("waiting_socket");
    }
  }

  /** Bring the task up to date: opened, reconnected, visible again, network back. */
  recover() {
    if (this.id === null || this.closed) {
      return Promise.resolve();
    }
    this.recovery ??= this.#recover().finally(() => {
      this.recovery = null;
    });
    return this.recovery;
  }

  async #recover() {
    for (let tries = 1; !this.closed; tries += 1) {
      try {
        await this.#join();
        return;
      } catch (error) {
        if (error instanceof Disconnected) {
          this.#enter("waiting_socket");
          return;
        }
        if (!(error instanceof Refused)) {
          throw error;
        }
        if (FINAL_CODES.has(error.code) || tries === JOIN_TRIES) {
          this.#enter("error", error.message);
          return;
        }
        await pause(400 * 2 ** tries * (0.5 + Math.random() / 2));
      }
    }
  }

  async #join() {
    this.#enter("joining");
    const { revision } = this.task;
    const cursor = revision === null ? {} : { after_revision: revision };
    const ack = await this.connection.request("task:join", { task_id: this.id, limit: JOIN_LIMIT, ...cursor }, JOIN_MS);
    if (revision !== null && ack.has_more) {
      this.#startAnew();
      await this.#join();
      return;
    }
    this.#enter("syncing");
    const change = applyJoin(this.task, ack);
    this.hooks.changed(change);
    await Promise.all([...change.gaps.values()].map((gap) => this.#fill(gap)));
    this.#enter("ready");
    this.#release();
  }

  /** More was missed than one answer holds: forget the rows, keep what is unsent. */
  #startAnew() {
    const { id, own } = this.task;
    this.task = Object.assign(new TaskState(id), { own });
    this.held = [];
  }

  #release() {
    const held = this.held;
    this.held = [];
    held.forEach(([name, data]) => this.#apply(name, data));
    this.#settle();
    if (this.overflowed) {
      this.overflowed = false;
      setTimeout(() => this.recover());
    }
  }

  // --- events -------------------------------------------------------------------------------------------------------

  /** An event of this task's room. */
  onEvent(name, data) {
    if (this.closed || data.task_id !== this.id) {
      return;
    }
    if (this.state === "ready" || this.state === "streaming") {
      this.#apply(name, data);
    } else if (this.held.length < HELD_LIMIT) {
      this.held.push([name, data]);
    } else {
      this.overflowed = true;
    }
  }

  #apply(name, data) {
    this.#took(applyEvent(this.task, name, data));
  }

  #took(change) {
    this.hooks.changed(change);
    change.gaps.forEach((gap) => this.#fill(gap));
    this.#settle();
  }

  #settle() {
    if (this.state === "ready" || this.state === "streaming") {
      const streaming = [...this.task.rows.values()].some(isActive);
      this.#enter(streaming ? "streaming" : "ready");
    }
  }

  /** Ask for the text from where it is missing; one asking per row at a time, and not for ever without progress. */
  async #fill(gap) {
    const id = gap.subtask_id;
    const place = `${gap.attempt}.${gap.offset}`;
    const last = this.stuck.get(id);
    const times = last?.place === place ? last.times + 1 : 1;
    if (this.filling.has(id) || times > FILL_TRIES) {
      return;
    }
    this.stuck.set(id, { place, times });
    this.filling.add(id);
    try {
      const ack = await this.connection.request("chat:resume", { task_id: this.id, ...gap });
      this.held = this.held.filter(([name, data]) => name !== "chat:chunk" || data.subtask_id !== id);
      this.hooks.changed(applyResume(this.task, id, gap, ack));
    } catch (error) {
      if (error instanceof Refused) {
        this.hooks.trouble(`Some text could not be fetched: ${error.message}`);
      }
    } finally {
      this.filling.delete(id);
    }
  }

  // --- what the person does -----------------------------------------------------------------------------------------

  /**
   * Say `message`. It shows at once, and is sent as soon as there is a connection, once, however often that is lost.
   * `deviceId`: a new task's device, else it runs where its team does. `attachments` go with it, as they were uploaded, and
   * `sources`: what is to be looked up for it, `[{type, id, name}]`.
   */
  send(message, teamId, deviceId = null, attachments = [], sources = []) {
    const clientMessageId = newClientMessageId();
    const row = addOwn(this.task, clientMessageId, message, new Date().toISOString());
    Object.assign(row, { deviceId, attachments, sources });
    this.unsent.push({ row, payload: payloadOf(row, teamId) });
    this.hooks.changed({ touched: new Set([row]), gaps: new Map() });
    this.#drain();
  }

  /** Send an own message again that was refused. */
  resend(row, teamId) {
    Object.assign(row, { local: "pending", localError: null });
    this.unsent.push({ row, payload: payloadOf(row, teamId) });
    this.hooks.changed({ touched: new Set([row]), gaps: new Map() });
    this.#drain();
  }

  async #drain() {
    if (this.draining) {
      return;
    }
    this.draining = true;
    try {
      while (this.unsent.length > 0) {
        await this.#post(this.unsent[0]);
        this.unsent.shift();
      }
    } catch (error) {
      if (!(error instanceof Disconnected)) {
        throw error;
      }
    } finally {
      this.draining = false;
    }
  }

  async #post({ row, payload }) {
    const task = this.id === null ? {} : { task_id: this.id };
    try {
      const ack = await this.connection.request("chat:send", { ...task, ...payload });
      this.#sent(row, ack);
    } catch (error) {
      if (!(error instanceof Refused)) {
        throw error;
      }
      failOwn(this.task, row.clientMessageId, error.message);
      this.hooks.changed({ touched: new Set([row]), gaps: new Map() });
    }
  }

  #sent(row, ack) {
    const isNew = this.id === null;
    this.task.id = ack.task_id;
    this.#took(applySent(this.task, row.clientMessageId, ack));
    if (isNew) {
      this.hooks.created(ack.task_id);
      this.recover();
    }
  }

  /** Stop a run. That it has ended is told by its ending, not by this. */
  async cancel(row) {
    await this.#ask("chat:cancel", { subtask_id: row.id }, row, () => applyCancel(row));
  }

  /** Run a failed or cancelled answer again. */
  async retry(row) {
    const payload = { task_id: this.id, subtask_id: row.id, if_running: "queue" };
    await this.#ask("chat:retry", payload, row, (ack) => applyRetry(row, ack));
  }

  /** Stop what runs, and let the task's device close what it holds for the task; whether that was done. */
  async closeSession() {
    let done = false;
    await this.#ask("task:close-session", { task_id: this.id }, null, () => {
      done = true;
    });
    return done;
  }

  /** Fetch the messages before the oldest one that is shown. */
  async loadEarlier() {
    const before = Math.min(...[...this.task.rows.values()].map((row) => row.messageId ?? Infinity));
    const query = { task_id: this.id, limit: JOIN_LIMIT, ...(before < Infinity ? { before_message_id: before } : {}) };
    await this.#ask("history:sync", query, null, (ack) => this.#took(applyHistory(this.task, ack)));
  }

  async #ask(event, data, row, then) {
    try {
      then(await this.connection.request(event, data));
    } catch (error) {
      if (error instanceof Refused && error.code === "CONFLICT") {
        this.recover();
      } else {
        this.hooks.trouble(error.message);
      }
    }
    this.hooks.changed({ touched: new Set(row ? [row] : []), gaps: new Map() });
    this.#settle();
  }

  #enter(state, detail = "") {
    if (!this.closed && (this.state !== state || detail)) {
      this.state = state;
      this.hooks.state(state, detail);
    }
  }
}
