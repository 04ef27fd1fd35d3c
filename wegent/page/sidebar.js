// The list of chats with their live status.

import { el, setText } from "./dom.js";

const STATUS = { PENDING: "waiting", RUNNING: "answering", CANCELLING: "stopping", FAILED: "failed", CANCELLED: "stopped", COMPLETED: "" };

class Entry {
  constructor(id) {
    this.title = el("span", { class: "title" });
    this.note = el("span", { class: "note" });
    this.unread = el("span", { class: "unread" });
    this.link = el("a", { href: `#/task/${id}` }, el("span", { class: "dot", "aria-hidden": "true" }), this.title, this.unread, this.note);
    this.node = el("li", {}, this.link);
  }

  update(item, isCurrent) {
    const title = item.title || `Chat ${item.id}`;
    const note = STATUS[item.status] ?? "";
    const percent = item.status === "RUNNING" && item.progress > 0 && item.progress < 100 ? ` ${item.progress} %` : "";
    setText(this.title, title);
    setText(this.note, note + percent);
    setText(this.unread, item.unread > 0 ? String(Math.min(item.unread, 999)) : "");
    this.unread.setAttribute("aria-label", item.unread > 0 ? `${item.unread} unread` : "");
    this.link.title = title;
    this.node.dataset.status = item.status ?? "";
    if (isCurrent) {
      this.link.setAttribute("aria-current", "page");
    } else {
      this.link.removeAttribute("aria-current");
    }
  }
}

export class Sidebar {
  /** `parts`: the elements `list`, `empty`, `more`. */
  constructor(parts) {
    Object.assign(this, parts);
    this.entries = new Map();
    this.frame = 0;
  }

  /** Draw the list at the next frame. */
  draw(tasks, currentId) {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.#draw(tasks, currentId));
  }

  #draw(tasks, currentId) {
    const items = tasks.ordered();
    const ids = new Set(items.map((item) => item.id));
    for (const [id, entry] of this.entries) {
      if (!ids.has(id)) {
        entry.node.remove();
        this.entries.delete(id);
      }
    }
    let place = this.list.firstChild;
    for (const item of items) {
      const entry = this.entries.get(item.id) ?? new Entry(item.id);
      this.entries.set(item.id, entry);
      entry.update(item, item.id === currentId);
      if (entry.node === place) {
        place = place.nextSibling;
      } else {
        this.list.insertBefore(entry.node, place);
      }
    }
    this.empty.hidden = items.length > 0;
    this.more.hidden = tasks.cursor === null;
  }
}
