// The user's devices: what REST listed, moved by the events of the user's room. No DOM.

const WORDS = { online: "online", busy: "busy", offline: "offline" };

export class DeviceList {
  constructor() {
    this.items = new Map();
  }

  /** All of them, as REST lists them. */
  put(items) {
    this.items = new Map(items.map((item) => [item.device_id, item]));
  }

  get(id) {
    return this.items.get(id) ?? null;
  }

  /** Those that are there first, then by name. */
  ordered() {
    const later = (a, b) => (a < b ? -1 : Number(a > b));
    return [...this.items.values()].sort((a, b) => later(!isThere(a), !isThere(b)) || later(a.name, b.name));
  }

  /** The one that new chats are to run on, if it is there. */
  preferred() {
    return this.ordered().find((item) => item.is_default && isThere(item)) ?? null;
  }

  /** Apply an event: "changed", "unknown" for a device that has to be read first, or null for an event of another kind. */
  onEvent(name, { device_id: id, ...told }) {
    if (!name.startsWith("device:")) {
      return null;
    }
    const held = this.items.get(id);
    if (held === undefined) {
      return "unknown";
    }
    const said = Object.entries(told).filter(([, value]) => value !== undefined && value !== null);
    this.items.set(id, { ...held, ...Object.fromEntries(said) });
    return "changed";
  }
}

/** Whether something can be sent there now. */
export function isThere(device) {
  return device.status !== "offline";
}

/** How a device is, in words: `online · 1 of 5`. */
export function wordsFor(device) {
  const state = WORDS[device.status] ?? String(device.status);
  return isThere(device) || device.slot_used > 0 ? `${state} · ${device.slot_used} of ${device.slot_max}` : state;
}
