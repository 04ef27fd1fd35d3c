// The open chat: which task it is, its session, and how it shows.

import { drafts } from "./account.js";
import { Attaching } from "./attaching.js";
import { KnowledgeChoice } from "./knowledge.js";
import { Corrections } from "./corrections.js";
import { PlaceChoice } from "./devicesview.js";
import { MessageList } from "./messages.js";
import { TaskState, isTerminal } from "./state.js";
import { TaskSession } from "./tasks.js";
import { BannerView, Composer, HeadingView, announce, byId, toast } from "./view.js";

const KEPT_TASKS = 8;
const LONGEST_BYTES = 900_000;
const SPOKEN_LENGTH = 400;

export class Chat {
  /** `hooks`: `created(taskId)`, `userId()`, `titleOf(taskId)`, `teamOf(taskId)`, `deviceOf(taskId)` → its name or null, `drawn()`. */
  constructor(connection, hooks) {
    Object.assign(this, { connection, hooks });
    this.session = null;
    this.kept = new Map();
    this.running = new Set();
    this.teams = [];
    this.banner = new BannerView();
    this.heading = new HeadingView();
    this.composer = new Composer({
      send: (text) => this.send(text), stop: () => this.stop(), changed: (text) => drafts.save(this.session?.id, text),
    });
    this.place = new PlaceChoice({ field: byId("place-field"), select: byId("place") });
    this.knowledge = new KnowledgeChoice({ field: byId("knowledge-field"), select: byId("knowledge") });
    this.corrections = new Corrections();
    const parts = { button: byId("attach"), input: byId("files"), list: byId("attachments"), area: byId("composer") };
    this.attaching = new Attaching(parts, { upload: hooks.upload, changed: () => this.draw(), failed: (message) => toast(message) });
    this.list = new MessageList({ list: byId("messages"), scroller: byId("scroller"), toEnd: byId("to-end") }, {
      mine: (row) => row.sender === null || row.sender.user_id === hooks.userId(),
      retry: (row) => this.session.retry(row),
      nameOf: (row) => this.#teamName() || row.botName || "Assistant",
      resend: (row) => this.session.resend(row, this.#team()),
      download: (file) => hooks.download(file),
      correctionOf: (row) => this.corrections.of(row),
      correction: (action, row) => hooks.correction(action, row),
    });
    byId("earlier").addEventListener("click", () => this.#loadEarlier());
    byId("close-session").addEventListener("click", () => this.#closeSession());
  }

  get id() {
    return this.session?.id ?? null;
  }

  /** Open a task, or with null the page that starts one. */
  open(id) {
    if (this.session !== null && this.session.id === id) {
      return;
    }
    this.close();
    const session = new TaskSession(this.connection, this.#hooks(() => session), this.kept.get(id) ?? new TaskState(id));
    this.session = session;
    this.running.clear();
    this.attaching.clear();
    this.list.show(session.task);
    this.composer.set(drafts.load(id));
    this.composer.focus();
    this.banner.close();
    session.onSocket(this.connection.state);
    this.draw();
  }

  close() {
    if (this.session !== null) {
      this.#keep(this.session);
      this.session.close();
      this.session = null;
    }
  }

  /** Forget everything: somebody else may log in. */
  reset() {
    this.close();
    this.kept.clear();
    this.corrections.clear();
    this.attaching.clear();
  }

  /** An event that this chat's session is not concerned with: what becomes of corrections. */
  onEvent(name, data) {
    const id = this.corrections.onEvent(name, data);
    this.#redrawAnswer(id);
    return id !== null && name !== "chat:start";
  }

  /** Do something with a correction that is not told by an event, and show it. */
  correct(id, change) {
    change(this.corrections);
    this.#redrawAnswer(id);
  }

  #redrawAnswer(id) {
    const row = this.session?.task.rows.get(id);
    if (row !== undefined) {
      this.list.touch(this.session.task, [row]);
    }
  }

  /** What was read of a task is kept for a while, so that coming back shows it at once and asks only for what is new. */
  #keep(session) {
    if (session.id !== null) {
      this.kept.delete(session.id);
      this.kept.set(session.id, session.task);
    }
    if (this.kept.size > KEPT_TASKS) {
      this.kept.delete(this.kept.keys().next().value);
    }
  }

  #hooks(mine) {
    const ours = (handler) => (...args) => this.session !== null && this.session === mine() && handler(...args);
    return {
      changed: ours((change) => this.#changed(change)),
      state: ours((state, detail) => this.#state(state, detail)),
      created: ours((id) => this.hooks.created(id)),
      trouble: ours((message) => toast(message)),
    };
  }

  #changed({ touched }) {
    this.list.touch(this.session.task, touched);
    touched.forEach((row) => row.role === "ASSISTANT" && this.#speak(row));
    this.draw();
  }

  /** Tell the beginning and the end of an answer, not each word of it. */
  #speak(row) {
    const key = `${row.id}.${row.attempt}`;
    if (row.status === "RUNNING" && !this.running.has(key)) {
      this.running.add(key);
      announce(`${this.#teamName() || "The assistant"} is answering`);
    } else if (isTerminal(row.status) && this.running.delete(key)) {
      const end = { COMPLETED: row.content.text.slice(-SPOKEN_LENGTH), FAILED: `The answer failed: ${row.error}`, CANCELLED: "The answer was stopped" };
      announce(end[row.status]);
    }
  }

  #state(state, detail) {
    byId("chat").dataset.state = state;
    if (state === "error") {
      this.banner.open(`This chat cannot be shown: ${detail}`, "Try again", () => this.session.recover());
    } else if (state === "ready" || state === "streaming") {
      this.banner.close();
    }
    this.draw();
  }

  /** Draw the messages as well: what they show besides their rows has changed. */
  redraw() {
    if (this.session !== null) {
      this.list.touch(this.session.task, this.session.task.ordered());
      this.draw();
    }
  }

  draw() {
    const { session } = this;
    if (session === null) {
      return;
    }
    const { task } = session;
    const isEmpty = task.rows.size === 0 && task.own.size === 0;
    byId("welcome").hidden = !(session.id === null && isEmpty);
    byId("earlier").hidden = !task.hasMore;
    byId("scroller").setAttribute("aria-busy", String(session.state === "joining"));
    const device = this.#deviceName();
    const subtitle = [this.#teamName(), device && `on ${device}`].filter(Boolean).join(" · ");
    this.heading.update(session.id === null ? "New chat" : (this.hooks.titleOf(session.id) ?? `Chat ${session.id}`), subtitle);
    this.heading.preview(task.app);
    byId("close-session").hidden = device === null;
    this.place.show(session.id === null);
    this.composer.update({ ready: this.#team() !== null && session.state !== "error" && this.attaching.ready, running: this.#active() !== null, isNew: session.id === null && isEmpty });
    this.hooks.drawn();
  }

  /** The greatest message id that is shown, 0 while none is. */
  newestMessageId() {
    let newest = 0;
    this.session?.task.rows.forEach((row) => {
      newest = Math.max(newest, row.messageId ?? 0);
    });
    return newest;
  }

  #active() {
    const rows = this.session.task.active();
    return rows.find((row) => row.status === "RUNNING") ?? rows[0] ?? null;
  }

  setTeams(teams) {
    this.teams = teams;
    this.composer.setTeams(teams);
    this.redraw();
  }

  /** Devices, or what they do, have changed. */
  setDevices(devices) {
    this.place.setDevices(devices);
    this.draw();
  }

  #deviceName() {
    return this.id === null ? null : this.hooks.deviceOf(this.id);
  }

  async #closeSession() {
    if (await this.session.closeSession()) {
      toast(`Closed on ${this.#deviceName()}`);
    }
  }

  #team() {
    return (this.id === null ? null : this.hooks.teamOf(this.id)) ?? this.composer.teamId;
  }

  #teamName() {
    const id = this.id === null ? null : this.hooks.teamOf(this.id);
    return this.teams.find((team) => team.id === id)?.name ?? "";
  }

  /** False where the message is longer than the server takes; then it stays where it was written. */
  send(text) {
    if (new TextEncoder().encode(text).length > LONGEST_BYTES) {
      toast("This message is too long to be sent.");
      return false;
    }
    drafts.save(this.session.id, "");
    this.list.goToEnd();
    this.session.send(text, this.#team(), this.id === null ? this.place.deviceId : null, this.attaching.take(), this.knowledge.sources);
    return true;
  }

  stop() {
    const row = this.#active();
    if (row !== null) {
      this.session.cancel(row);
    }
  }

  async #loadEarlier() {
    byId("earlier").disabled = true;
    await this.list.keepPlace(() => this.session.loadEarlier());
    byId("earlier").disabled = false;
  }
}
