// Devices as they show: a panel beside the chats, and the choice of where a new chat runs.

import { isThere, wordsFor } from "./devices.js";
import { el, icon, setText } from "./dom.js";

class DeviceEntry {
  /** `hooks`: `prefer(device)`, `remove(device)`. */
  constructor(hooks) {
    this.name = el("span", { class: "title" });
    this.note = el("span", { class: "note" });
    this.slots = el("meter", { min: 0, "aria-label": "Slots in use" });
    this.prefer = el("button", { class: "round tiny", type: "button", on: { click: () => hooks.prefer(this.device) } }, icon("star"));
    this.remove = el("button", { class: "round tiny", type: "button", on: { click: () => hooks.remove(this.device) } }, icon("cross"));
    this.tasks = el("ul", { class: "running" });
    const head = el("div", { class: "device" }, el("span", { class: "dot", "aria-hidden": "true" }), this.name, this.prefer, this.remove, this.note, this.slots);
    this.node = el("li", {}, head, this.tasks);
  }

  update(device) {
    this.device = device;
    this.node.dataset.device = device.status;
    setText(this.name, device.name);
    setText(this.note, wordsFor(device));
    Object.assign(this.slots, { max: device.slot_max, value: device.slot_used, hidden: !isThere(device) });
    this.#label(this.prefer, device.is_default ? `New chats run on ${device.name}` : `Run new chats on ${device.name}`);
    this.prefer.setAttribute("aria-pressed", String(Boolean(device.is_default)));
    this.#label(this.remove, `Remove ${device.name}`);
    this.remove.hidden = isThere(device) || device.connected === true;
    const links = (device.running_tasks ?? []).map((task) => el("li", {}, el("a", { href: `#/task/${task.task_id}` }, task.title || `Chat ${task.task_id}`)));
    this.tasks.replaceChildren(...links);
  }

  #label(button, text) {
    button.title = text;
    button.setAttribute("aria-label", text);
  }
}

export class DevicePanel {
  /** `parts`: the elements `list`, `count`, `none`, `command`; `hooks` as those of an entry. */
  constructor(parts, hooks) {
    Object.assign(this, parts, { hooks });
    this.entries = new Map();
    setText(this.command, `wegent device --server ${new URL(".", document.baseURI).href.replace(/\/$/, "")}`);
  }

  draw(devices) {
    const items = devices.ordered();
    const there = items.filter(isThere).length;
    setText(this.count, items.length > 0 ? `${there} of ${items.length} online` : "none");
    this.none.hidden = items.length > 0;
    const entries = items.map((device) => {
      const entry = this.entries.get(device.device_id) ?? new DeviceEntry(this.hooks);
      entry.update(device);
      return [device.device_id, entry];
    });
    this.entries = new Map(entries);
    this.list.replaceChildren(...entries.map(([, entry]) => entry.node));
  }
}

/** Where a new chat runs: where its team does, or on a device that is there. */
export class PlaceChoice {
  /** `parts`: the elements `field`, `select`. */
  constructor(parts) {
    Object.assign(this, parts);
    this.chosen = null;
    this.isShown = false;
    this.select.addEventListener("change", () => {
      this.chosen = this.select.value;
    });
  }

  setDevices(devices) {
    const there = devices.ordered().filter(isThere);
    const option = (device) => el("option", { value: device.device_id }, `${device.name} (${device.slot_used} of ${device.slot_max})`);
    this.select.replaceChildren(el("option", { value: "" }, "On the server"), ...there.map(option));
    const wanted = this.chosen ?? devices.preferred()?.device_id ?? "";
    this.select.value = there.some((device) => device.device_id === wanted) ? wanted : "";
    this.hasDevices = there.length > 0;
    this.show(this.isShown);
  }

  show(isShown) {
    this.isShown = isShown;
    this.field.hidden = !(isShown && this.hasDevices);
  }

  /** The device's id, or null for where the team runs. */
  get deviceId() {
    return this.field.hidden ? null : this.select.value || null;
  }
}
