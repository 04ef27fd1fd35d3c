// The raw WebSocket transport: authentication, events, acks, and coming back after a loss.

const BACKOFF_FIRST_MS = 400;
const BACKOFF_LIMIT_MS = 20_000;
const HANDSHAKE_MS = 15_000;
const ACK_MS = 20_000;
const PROBE_MS = 5_000;

/** Close codes after which coming back changes nothing, until something else has changed. */
const STAY_AWAY = {
  4400: "The server did not understand this page",
  4401: "Your session has ended",
  4403: "This account may not connect",
  4429: "Too many connections are open for this account",
};
const COME_BACK = { 4001: "The server is restarting", 4008: "The connection was too slow", 4012: "The connection fell silent", 1013: "The server is busy" };

/** An ack that says no; `code` is one of the protocol's. */
export class Refused extends Error {
  constructor(message, code) {
    super(message);
    this.name = "Refused";
    this.code = code;
  }
}

/** The connection went, or was not there, before an answer came: nobody knows whether the event was handled. */
export class Disconnected extends Error {
  constructor(message = "Not connected") {
    super(message);
    this.name = "Disconnected";
  }
}

/**
 * One connection that comes back by itself. States: connecting, open, waiting (until `retryAt`), stopped.
 *
 * `hooks`: `state(state, detail)`, `event(name, data)`, `unauthorized(reason)`; `token()` gives the bearer token.
 * A browser shows no pings, so silence is noticed by asking: an event whose ack stays away means the connection is gone.
 */
export class Connection {
  constructor(url, token, hooks, { WebSocket = globalThis.WebSocket, random = Math.random, now = Date.now } = {}) {
    Object.assign(this, { url, token, hooks, WebSocket, random, now });
    this.state = "stopped";
    this.socket = null;
    this.attempts = 0;
    this.nextId = 1;
    this.waiting = new Map();
    this.heardAt = 0;
    this.quietMs = 60_000;
    this.timer = null;
    this.quietTimer = null;
    this.refusal = null;
  }

  /** Connect now, whatever state this is in; an open connection stays. */
  start() {
    if (this.socket === null) {
      this.#open();
    }
  }

  stop(detail = "") {
    this.#release();
    this.#enter("stopped", detail);
  }

  /** Try at once instead of waiting for the back-off: the network came back, or the person asked. */
  hurry() {
    if (this.state === "waiting") {
      this.attempts = 0;
      this.#open();
    }
  }

  /** Send an event and wait for its ack. Raises Refused, or Disconnected when no ack can come any more. */
  request(event, data, timeoutMs = ACK_MS) {
    if (this.state !== "open") {
      return Promise.reject(new Disconnected());
    }
    const id = this.nextId;
    this.nextId += 1;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#lose("The server did not answer"), timeoutMs);
      this.waiting.set(id, { resolve, reject, timer });
      this.#write({ event, data, id });
    });
  }

  /** Make sure that somebody is there. Raises Disconnected if not, and then is on its way back already. */
  async probe() {
    await this.request("auth:refresh", { token: this.token() }, PROBE_MS).catch((error) => {
      if (!(error instanceof Refused)) {
        throw error;
      }
    });
  }

  #open() {
    this.#release();
    this.refusal = null;
    this.#enter("connecting");
    const socket = new this.WebSocket(this.url);
    this.socket = socket;
    const mine = (handler) => (event) => this.socket === socket && handler(event);
    socket.onopen = mine(() => this.#write({ auth: { token: this.token() } }));
    socket.onmessage = mine((event) => this.#frame(event.data));
    socket.onclose = mine((event) => this.#closed(event.code, event.reason));
    this.timer = setTimeout(() => this.#lose("The server did not answer"), HANDSHAKE_MS);
  }

  #write(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  #frame(text) {
    this.heardAt = this.now();
    let frame = null;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame?.event !== undefined) {
      this.#event(frame);
    } else if (frame?.ack !== undefined) {
      this.#ack(frame.ack, frame.data ?? {});
    } else if (frame?.ready) {
      this.#ready(frame.ready);
    } else if (frame?.error) {
      this.refusal = frame;
    }
  }

  #event({ event, data, id }) {
    if (id !== undefined) {
      this.#write({ ack: id, data: {} });
    }
    if (event === "auth:error") {
      this.#unauthorized(data?.error);
      return;
    }
    this.hooks.event(event, data ?? {});
  }

  #ack(id, data) {
    const request = this.waiting.get(id);
    if (!request) {
      return;
    }
    this.waiting.delete(id);
    clearTimeout(request.timer);
    if (data.error !== undefined) {
      request.reject(new Refused(data.error, data.code));
    } else {
      request.resolve(data);
    }
  }

  #ready({ ping_interval: interval }) {
    clearTimeout(this.timer);
    this.attempts = 0;
    this.quietMs = 1000 * (2 * (interval ?? 25) + 10);
    this.#enter("open");
    this.#watch();
  }

  /** Ask when nothing was heard for longer than two pings: a dead network tells nobody. */
  #watch() {
    clearTimeout(this.quietTimer);
    const wait = Math.max(1000, this.heardAt + this.quietMs - this.now());
    this.quietTimer = setTimeout(async () => {
      if (this.state === "open" && this.now() - this.heardAt >= this.quietMs) {
        await this.probe().catch(() => {});
      }
      if (this.state === "open") {
        this.#watch();
      }
    }, wait);
  }

  #closed(code, reason) {
    const said = this.refusal?.error ?? reason;
    if (code === 4401 || ["NOT_AUTHENTICATED", "TOKEN_EXPIRED"].includes(this.refusal?.code)) {
      this.#unauthorized(said || STAY_AWAY[4401]);
    } else if (code in STAY_AWAY) {
      this.stop(said || STAY_AWAY[code]);
    } else {
      this.#lose(COME_BACK[code] ?? "");
    }
  }

  #unauthorized(reason) {
    this.stop(reason);
    this.hooks.unauthorized(reason || STAY_AWAY[4401]);
  }

  /** Come back after a back-off that doubles, spread so that not everybody comes at once. */
  #lose(detail) {
    this.#release();
    const ceiling = Math.min(BACKOFF_LIMIT_MS, BACKOFF_FIRST_MS * 2 ** this.attempts);
    const delay = ceiling * (0.5 + this.random() / 2);
    this.attempts += 1;
    this.retryAt = this.now() + delay;
    this.#enter("waiting", detail);
    this.timer = setTimeout(() => this.#open(), delay);
  }

  /** Let go of the socket without waiting for it: on a dead network its close would take minutes. */
  #release() {
    clearTimeout(this.timer);
    clearTimeout(this.quietTimer);
    const { socket } = this;
    this.socket = null;
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const lost = [...this.waiting.values()];
    this.waiting.clear();
    lost.forEach(({ reject, timer }) => {
      clearTimeout(timer);
      reject(new Disconnected("The connection was lost"));
    });
  }

  #enter(state, detail = "") {
    this.state = state;
    this.hooks.state(state, detail);
  }
}
