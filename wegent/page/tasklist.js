// The list of tasks: what REST listed, moved by the events of the user's room. No DOM.

export class TaskList {
  constructor() {
    this.items = new Map();
    this.cursor = null;
  }

  /** Newest activity first. */
  ordered() {
    const when = (item) => item.updated_at ?? item.created_at ?? "";
    return [...this.items.values()].sort((a, b) => (when(a) < when(b) ? 1 : when(a) > when(b) ? -1 : b.id - a.id));
  }

  get(id) {
    return this.items.get(id) ?? null;
  }

  /** A page of the list. The first one also says what is gone from its stretch of time. */
  put({ items = [], next_cursor: cursor = null }, isFirst) {
    if (isFirst) {
      const kept = cursor === null ? [] : [...this.items.values()].filter((item) => this.#isBelow(item, items));
      this.items = new Map(kept.map((item) => [item.id, item]));
    }
    items.forEach((item) => this.#put(item.id, item));
    this.cursor = isFirst && this.items.size > items.length ? this.cursor : cursor;
  }

  #isBelow(item, items) {
    return !items.some(({ id }) => id === item.id) && (item.updated_at ?? "") < (items.at(-1)?.updated_at ?? "");
  }

  #put(id, data) {
    const held = this.items.get(id) ?? { id };
    if ((data.revision ?? Infinity) >= (held.revision ?? 0)) {
      const told = Object.entries(data).filter(([, value]) => value !== undefined && value !== null);
      this.items.set(id, { ...held, ...Object.fromEntries(told) });
    }
  }

  /** Apply an event; true if the list changed. `sync:required` is not for here: the list has to be read again. */
  onEvent(name, { task_id: id, ...data }) {
    if (name === "task:created") {
      this.#put(id, { status: "PENDING", ...this.items.get(id), ...data, updated_at: data.created_at });
    } else if (name === "task:updated" && data.deleted) {
      this.items.delete(id);
    } else if ((name === "task:status" || name === "task:updated") && this.items.has(id)) {
      this.#put(id, data.members ? { ...data, is_group_chat: true } : data);
    } else {
      return false;
    }
    return true;
  }
}
