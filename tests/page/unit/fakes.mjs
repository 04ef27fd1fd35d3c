// A clock that a test moves, and a WebSocket whose other end is the test.

import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto; // Node 18 has it in its module only

const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout };

/** Let everything that promises wait for happen. */
export function settle() {
  return new Promise((resolve) => real.setTimeout(resolve, 0));
}

export class Clock {
  constructor() {
    this.time = 0;
    this.timers = new Map();
    this.next = 1;
    globalThis.setTimeout = (run, ms = 0) => {
      this.timers.set(this.next, { at: this.time + ms, run });
      return this.next++;
    };
    globalThis.clearTimeout = (id) => this.timers.delete(id);
  }

  restore() {
    Object.assign(globalThis, real);
  }

  async advance(ms) {
    const until = this.time + ms;
    await settle();
    for (let due = this.#due(until); due !== null; due = this.#due(until)) {
      const [id, { at, run }] = due;
      this.timers.delete(id);
      this.time = at;
      run();
      await settle();
    }
    this.time = until;
  }

  #due(until) {
    const sorted = [...this.timers].filter(([, { at }]) => at <= until).sort(([a, x], [b, y]) => x.at - y.at || a - b);
    return sorted[0] ?? null;
  }
}

/** Made by `sockets()`: a class whose instances are kept in `.all`. */
export function sockets() {
  return class FakeSocket {
    static all = [];

    static get last() {
      return FakeSocket.all.at(-1);
    }

    constructor(url) {
      Object.assign(this, { url, sent: [], isClosed: false });
      FakeSocket.all.push(this);
    }

    send(text) {
      this.sent.push(JSON.parse(text));
    }

    close() {
      this.isClosed = true;
    }

    // What the other end does

    say(frame) {
      this.onmessage?.({ data: JSON.stringify(frame) });
    }

    accept() {
      this.onopen?.();
      this.say({ ready: { sid: "w.1", ping_interval: 25 } });
    }

    hangUp(code, reason = "") {
      this.onclose?.({ code, reason });
    }
  };
}
