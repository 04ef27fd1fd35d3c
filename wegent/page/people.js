// Who is in the open chat: read when it opens, moved by `task:updated`, changed by what the person asks for. No DOM.

import { inviteMember, leaveTask, listMembers, markRead, removeMember } from "./api.js";

const READ_AFTER_MS = 400;

/** `hooks`: `call(work)` calls the server with the account, `taskOf(id)` → its item of the list, `changed()`, `failed(message)`, `isSeen()`. */
export class People {
  constructor(hooks) {
    this.hooks = hooks;
    this.id = null;
    this.members = [];
    this.wasRead = false;
    this.seen = null;
    this.timer = null;
  }

  /** The chat that is open, or null; said again whenever something of it has changed. */
  open(id) {
    if (this.id !== id) {
      this.#mark();
      Object.assign(this, { id, members: [], wasRead: false });
    }
    if (!this.wasRead && this.#isGroup()) {
      this.read();
    }
  }

  #isGroup() {
    return this.id !== null && Boolean(this.hooks.taskOf(this.id)?.is_group_chat);
  }

  /** A chat that is no group is its only person's own. */
  isOwnedBy(userId) {
    return this.id !== null && (this.#isGroup() ? this.members.some((member) => member.role === "owner" && member.user_id === userId) : true);
  }

  /** Of a chat of one person there is nothing to be read. */
  read() {
    if (this.#isGroup()) {
      this.wasRead = true;
      this.#ask(listMembers, (id, { items }) => this.#put(id, items));
    }
  }

  onEvent(name, data) {
    if (name === "task:updated" && data.members) {
      this.#put(data.task_id, data.members);
    }
  }

  #put(id, members) {
    if (id === this.id) {
      this.members = members;
      this.hooks.changed();
    }
  }

  invite(userName) {
    this.#ask((token, id) => inviteMember(token, id, userName), (id, { items }) => this.#put(id, items));
  }

  remove(member) {
    this.#ask((token, id) => removeMember(token, id, member.user_id), () => this.read());
  }

  leave() {
    this.#ask(leaveTask);
  }

  /** Ask the server about the open chat; that there is no such user is told as well. */
  #ask(request, then = () => {}) {
    const { id } = this;
    this.hooks.call(async ({ token }) => {
      try {
        const answer = await request(token, id);
        return () => then(id, answer);
      } catch (error) {
        if (error.status !== 404) {
          throw error;
        }
        return () => this.hooks.failed(error.message);
      }
    });
  }

  /** Messages up to this one are on the screen; what is unread of them is marked as read in a moment, once. */
  see(messageId) {
    if (this.id !== null && this.seen === null && this.hooks.taskOf(this.id)?.unread > 0 && messageId > 0) {
      this.seen = messageId;
      this.timer = setTimeout(() => this.#mark(), READ_AFTER_MS);
    }
  }

  #mark() {
    const { seen } = this;
    clearTimeout(this.timer);
    this.seen = null;
    if (seen !== null && this.hooks.isSeen()) {
      this.#ask((token, id) => markRead(token, id, seen));
    }
  }
}
