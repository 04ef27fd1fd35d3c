// Files that are to go with the next message: uploaded when they are chosen, shown as chips, taken when it is sent.

import { el, icon, setText } from "./dom.js";

const MOST = 20;

/** A size in bytes as people read it. */
export function sizeOf(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${Number((bytes / 1000 ** power).toFixed(power > 0 ? 1 : 0))} ${units[power]}`;
}

export class Attaching {
  /** `parts`: the elements `button`, `input`, `list`, `area`; `hooks`: `upload(file)` → the attachment, `changed()`, `failed(message)`. */
  constructor(parts, hooks) {
    Object.assign(this, parts, { hooks });
    this.items = new Set();
    this.button.addEventListener("click", () => this.input.click());
    this.input.addEventListener("change", () => {
      this.add([...this.input.files]);
      this.input.value = "";
    });
    this.area.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
    this.area.addEventListener("drop", (event) => this.#dropped(event, event.dataTransfer));
    this.area.addEventListener("paste", (event) => this.#dropped(event, event.clipboardData));
  }

  #dropped(event, data) {
    const files = [...(data?.files ?? [])];
    if (files.length > 0) {
      event.preventDefault();
      this.add(files);
    }
  }

  add(files) {
    for (const file of files.slice(0, MOST - this.items.size)) {
      const item = { file, attachment: null };
      this.items.add(item);
      this.#upload(item);
    }
    this.#draw();
  }

  async #upload(item) {
    try {
      item.attachment = await this.hooks.upload(item.file);
    } catch (error) {
      this.items.delete(item);
      this.hooks.failed(`${item.file.name} was not attached: ${error.message}`);
    }
    this.#draw();
  }

  /** Whether nothing is on its way any more. */
  get ready() {
    return [...this.items].every((item) => item.attachment !== null);
  }

  /** What goes with the message that is sent now. */
  take() {
    const taken = [...this.items].map((item) => item.attachment);
    this.items.clear();
    this.#draw();
    return taken;
  }

  clear() {
    this.items.clear();
    this.#draw();
  }

  #draw() {
    this.list.replaceChildren(...[...this.items].map((item) => this.#chip(item)));
    this.list.hidden = this.items.size === 0;
    this.hooks.changed();
  }

  #chip(item) {
    const note = el("span", { class: "note" });
    setText(note, item.attachment === null ? "uploading…" : (item.attachment.unread ? "not readable as text" : sizeOf(item.attachment.size)));
    const label = `Remove ${item.file.name}`;
    const remove = el("button", { class: "round tiny", type: "button", "aria-label": label, title: label, on: { click: () => this.#remove(item) } }, icon("cross"));
    return el("li", { class: "attachment", data: { ready: String(item.attachment !== null) } }, icon("clip"), el("span", { class: "title" }, item.file.name), note, remove);
  }

  #remove(item) {
    this.items.delete(item);
    this.#draw();
  }
}
