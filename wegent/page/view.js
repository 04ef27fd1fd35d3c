// The page around the messages: login, heading, connection, composer, and what is said to those who don't see it.

import { el, setText } from "./dom.js";
import { safeHref } from "./inline.js";

export function byId(id) {
  return document.getElementById(id);
}

function show(id, isShown) {
  byId(id).hidden = !isShown;
}

export class LoginView {
  /** `submit(userName, password)` logs in, or raises an error whose message is shown. */
  constructor(submit) {
    this.form = byId("login-form");
    this.form.addEventListener("submit", async (event) => {
      event.preventDefault();
      await this.#submit(submit);
    });
  }

  async #submit(submit) {
    const { user_name: name, password } = this.form.elements;
    const button = this.form.querySelector("button");
    button.disabled = true;
    this.#fail("");
    try {
      await submit(name.value, password.value);
      password.value = "";
    } catch (error) {
      this.#fail(error.message);
      password.select();
    } finally {
      button.disabled = false;
    }
  }

  #fail(message) {
    setText(byId("login-error"), message);
    show("login-error", message !== "");
  }

  open(hint) {
    show("app", false);
    show("login", true);
    setText(byId("login-hint"), hint || "Log in to talk to your teams.");
    document.title = "Wegent";
    const { user_name: name, password } = this.form.elements;
    (name.value === "" ? name : password).focus();
  }

  close() {
    show("login", false);
    show("app", true);
  }
}

export class ConnectionView {
  /** `retry()` when the person asks to connect. */
  constructor(retry) {
    this.node = byId("connection");
    this.text = byId("connection-text");
    this.timer = null;
    this.node.addEventListener("click", () => retry());
  }

  update(state, detail, retryAt) {
    clearInterval(this.timer);
    this.node.dataset.state = state;
    this.node.disabled = state === "open" || state === "connecting";
    this.node.title = detail;
    const words = { open: "Connected", connecting: "Connecting…", stopped: "Not connected · Reconnect" };
    if (state === "waiting") {
      this.#count(detail, retryAt);
      this.timer = setInterval(() => this.#count(detail, retryAt), 1000);
    } else {
      setText(this.text, words[state]);
    }
  }

  /** The count is drawn as an attribute: a status that speaks each second would be a nuisance. */
  #count(detail, retryAt) {
    const seconds = Math.max(1, Math.round((retryAt - Date.now()) / 1000));
    setText(this.text, detail || "Connection lost");
    this.node.dataset.again = `again in ${seconds} s`;
  }
}

export class Composer {
  /** `send(text)` says whether it took it; `stop()`, `changed(text)`. */
  constructor({ send, stop, changed }) {
    this.field = byId("message");
    this.button = byId("send");
    this.team = byId("team");
    this.ready = true;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(send);
    });
    byId("stop").addEventListener("click", stop);
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.#send(send);
      }
    });
    this.field.addEventListener("input", () => {
      this.#fit();
      changed(this.field.value);
    });
  }

  #send(send) {
    const text = this.field.value.trim();
    if (text !== "" && this.ready && send(text)) {
      this.set("");
    }
  }

  set(text) {
    this.field.value = text;
    this.#fit();
  }

  focus() {
    this.field.focus({ preventScroll: true });
  }

  /** Whether a message can be sent at all, whether something runs, and whether the team is still to be chosen. */
  update({ ready, running, isNew }) {
    this.ready = ready;
    show("stop", running);
    show("team-field", isNew && this.team.options.length > 0);
    this.#enable();
  }

  setTeams(teams) {
    const chosen = this.team.value;
    this.team.replaceChildren(...teams.map(({ id, name }) => el("option", { value: id }, name)));
    if (teams.some(({ id }) => String(id) === chosen)) {
      this.team.value = chosen;
    }
  }

  get teamId() {
    return Number(this.team.value) || null;
  }

  #enable() {
    this.button.disabled = this.field.value.trim() === "" || !this.ready;
  }

  /** As tall as its text, up to a limit that the style sheet sets; the height is set through the row count. */
  #fit() {
    this.field.rows = 1;
    const line = Number.parseFloat(getComputedStyle(this.field).lineHeight) || 22;
    this.field.rows = Math.min(10, Math.max(1, Math.round(this.field.scrollHeight / line)));
    this.#enable();
  }
}

export class HeadingView {
  update(title, subtitle) {
    setText(byId("title"), title);
    setText(byId("subtitle"), subtitle);
    document.title = title === "New chat" ? "Wegent" : `${title} · Wegent`;
  }

  /** A link to what is to be looked at in the chat, if there is something. */
  preview(app) {
    const href = safeHref(app?.previewUrl);
    byId("preview").hidden = href === null;
    if (href !== null) {
      byId("preview").href = href;
      setText(byId("preview"), `Open ${app.name ?? "the preview"}`);
    }
  }
}

export class BannerView {
  constructor() {
    this.action = null;
    byId("banner-action").addEventListener("click", () => this.action?.());
  }

  open(text, label, action) {
    this.action = action;
    setText(byId("banner-text"), text);
    setText(byId("banner-action"), label);
    show("banner", true);
  }

  close() {
    show("banner", false);
  }
}

/** On a narrow window the list of chats is a drawer. */
export class DrawerView {
  constructor() {
    byId("menu").addEventListener("click", () => this.set(!document.body.classList.contains("drawer")));
    byId("scrim").addEventListener("click", () => this.set(false));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.set(false));
  }

  set(isOpen) {
    document.body.classList.toggle("drawer", isOpen);
    show("scrim", isOpen);
    byId("menu").setAttribute("aria-expanded", String(isOpen));
  }
}

let toastTimer = null;

export function toast(message) {
  setText(byId("toast"), message);
  show("toast", true);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => show("toast", false), 6000);
}

/** Say something to screen readers, when they have a moment. */
export function announce(message) {
  setText(byId("announcer"), message);
}
