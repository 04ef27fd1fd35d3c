// What a client holds of one task: its rows in their order, each with its current attempt's text, values and status.

import { Channel } from "./text.js";

/** Within an attempt a status only moves to a greater rank. */
export const RANK = { PENDING: 0, RUNNING: 1, CANCELLING: 2, COMPLETED: 3, FAILED: 3, CANCELLED: 3 };

/** What a step changed: rows to draw again, and positions from which text is missing. */
export class Change {
  constructor() {
    this.touched = new Set();
    this.gaps = new Map();
  }

  gap(row, offset) {
    this.gaps.set(row.id, { subtask_id: row.id, attempt: row.attempt, offset });
  }

  add(other) {
    other.touched.forEach((row) => this.touched.add(row));
    other.gaps.forEach((gap, id) => this.gaps.set(id, gap));
    return this;
  }
}

export function isTerminal(status) {
  return RANK[status] === 3;
}

export function isActive(row) {
  return row.role === "ASSISTANT" && !row.local && !isTerminal(row.status);
}

/** pending → streaming → completed | error, and cancelled, which is a way of being completed that shows. */
export function phase(row) {
  const phases = { PENDING: "pending", RUNNING: "streaming", CANCELLING: "streaming", FAILED: "error", CANCELLED: "cancelled" };
  return row.local ?? phases[row.status] ?? "completed";
}

export function makeRow(id, key, role) {
  return {
    id, key, role, messageId: null, revision: 0, attempt: 0, status: "PENDING", prompt: "", sender: null, createdAt: null,
    clientMessageId: null, deviceId: null, botName: null, reason: null, attachments: [], sources: [], local: null, localError: null,
    ...emptyRun(),
  };
}

export function emptyRun() {
  return {
    content: new Channel(), thinking: new Channel(), blocks: new Map(), app: null, progress: null,
    correction: null, error: null, errorType: null, startedAt: null, completedAt: null, ended: false, wanted: null,
  };
}

/** All that a client holds of one task. `revision` is the sync cursor: acks move it, events don't. */
export class TaskState {
  constructor(id = null) {
    this.id = id;
    this.revision = null;
    this.hasMore = false;
    this.app = null;
    this.rows = new Map();
    this.own = new Map();
    this.gone = new Set();
  }

  /** Rows by message id, then by time; those without an id last, and own unsent ones behind them. */
  ordered() {
    const rows = [...this.rows.values(), ...this.own.values()];
    const place = (row) => row.messageId ?? Infinity;
    const later = (a, b) => (a < b ? -1 : Number(a > b));
    return rows.sort((a, b) => later(place(a), place(b)) || later(a.createdAt ?? "~", b.createdAt ?? "~")
      || later(a.id ?? Infinity, b.id ?? Infinity));
  }

  active() {
    return this.ordered().filter(isActive);
  }

  row(id, role = "ASSISTANT") {
    if (!this.rows.has(id)) {
      this.rows.set(id, makeRow(id, String(id), role));
    }
    return this.rows.get(id);
  }
}
