// Whatever pieces a client is given that the protocol allows, it ends with what the run said.

import assert from "node:assert/strict";
import { test } from "node:test";

import { applyEvent, applyJoin, applyResume } from "../../../wegent/page/merge.js";
import { TaskState } from "../../../wegent/page/state.js";
import { ROUNDS, Random, SEED, someText } from "./random.mjs";

const IDS = { task_id: 1, subtask_id: 7 };
const ENDINGS = { COMPLETED: "chat:done", FAILED: "chat:error", CANCELLED: "chat:cancelled" };

/** A server's side of one row: attempts with a log each, of which a client is sent pieces. */
class Server {
  constructor(random) {
    this.random = random;
    this.attempt = 0;
    this.revision = 1;
    this.begin();
  }

  begin() {
    this.attempt += 1;
    this.revision += 1;
    Object.assign(this, { content: [], thinking: [], blocks: new Map(), status: "RUNNING", result: null });
  }

  say() {
    const { random } = this;
    const added = [...someText(random, 6)];
    const thought = random.chance(0.3) ? [...someText(random, 4)] : [];
    const made = { content: added.join(""), offset: this.content.length, result: {} };
    if (thought.length > 0) {
      made.result.thinking = { content: thought.join(""), offset: this.thinking.length };
    }
    if (random.chance(0.25)) {
      const id = random.pick(["a", "b"]);
      const block = { id, version: (this.blocks.get(id)?.version ?? 0) + 1, at: this.content.length, status: "streaming" };
      this.blocks.set(id, block);
      made.result.blocks = [block];
    }
    this.content.push(...added);
    this.thinking.push(...thought);
    return ["chat:chunk", { ...IDS, attempt: this.attempt, ...made }];
  }

  /** A failed run may have lost the end of what it had already said. */
  end() {
    this.status = this.random.pick(Object.keys(ENDINGS));
    if (this.status === "FAILED" && this.random.chance(0.5)) {
      this.content.length = this.random.below(this.content.length + 1);
    }
    this.revision += 1;
    return this.ending();
  }

  ending() {
    const value = this.content.join("");
    const cut = this.random.chance(0.2) ? { value: this.content.slice(0, 2).join(""), truncated: true } : { value };
    const result = { ...cut, thinking: this.thinking.join(""), blocks: [...this.blocks.values()] };
    return [ENDINGS[this.status], { ...IDS, message_id: 2, attempt: this.attempt, revision: this.revision, offset: this.content.length, result }];
  }

  get running() {
    return this.status === "RUNNING";
  }

  /** The ack of a join: the row, whose text may lag behind, and the stream, whose text may be cut. */
  snapshot() {
    const lag = this.running ? this.random.below(this.content.length + 1) : this.content.length;
    const result = { value: this.content.slice(0, lag).join(""), thinking: this.running ? "" : this.thinking.join("") };
    const row = { id: 7, message_id: 2, revision: this.revision, attempt: this.attempt, role: "ASSISTANT", status: this.status, result };
    row.result.blocks = this.running ? [] : [...this.blocks.values()];
    const cut = this.random.chance(0.2) ? this.random.below(this.content.length + 1) : this.content.length;
    const streaming = this.running
      ? { subtask_id: 7, attempt: this.attempt, offset: this.content.length, cached_content: this.content.slice(0, cut).join(""),
          thinking: this.thinking.join(""), values: { blocks: [...this.blocks.values()] } }
      : null;
    return { subtasks: [row], streaming, revision: this.revision, has_more: false };
  }

  /** What follows the ack of a resume: chunks to the log's end in pieces of any size, all values, the ending if there is one. */
  resume({ attempt, offset }) {
    const from = attempt === this.attempt && offset <= this.content.length ? offset : 0;
    const events = [];
    for (let at = from; at < this.content.length; ) {
      const to = Math.min(this.content.length, at + 1 + this.random.below(9));
      events.push(["chat:chunk", { ...IDS, attempt: this.attempt, content: this.content.slice(at, to).join(""), offset: at }]);
      at = to;
    }
    const thinking = { content: this.thinking.join(""), offset: 0 };
    events.push(["chat:chunk", { ...IDS, attempt: this.attempt, content: "", offset: this.content.length, result: { thinking, blocks: [...this.blocks.values()] } }]);
    return [{ attempt: this.attempt, offset: from, status: this.status }, [...events, ...(this.running ? [] : [this.ending()])]];
  }
}

/** A client to which things are repeated, and that is away for a while; where `lossy`, single chunks are lost as well. */
class Client {
  constructor(random, server, lossy) {
    Object.assign(this, { random, server, lossy, task: new TaskState(1), past: [], isAway: false });
    this.join();
  }

  join() {
    this.isAway = false;
    this.took(applyJoin(this.task, this.server.snapshot()));
  }

  give(event) {
    this.past.push(event);
    const isLost = this.lossy && event[0] === "chat:chunk" && this.random.chance(0.15);
    if (!this.isAway && !isLost) {
      this.took(applyEvent(this.task, ...event));
    }
    if (!this.isAway && this.random.chance(0.2)) {
      this.took(applyEvent(this.task, ...this.random.pick(this.past)));
    }
    this.isAway ||= this.random.chance(0.05);
    if (this.random.chance(this.isAway ? 0.25 : 0.04)) {
      this.join();
    }
    if (!this.isAway && !this.lossy) {
      assert.deepEqual(this.held(), truth(this.server));
    }
  }

  took(change) {
    change.gaps.forEach((gap) => {
      const [ack, events] = this.server.resume(gap);
      applyResume(this.task, 7, gap, ack);
      events.forEach((event) => applyEvent(this.task, ...event));
    });
  }

  held() {
    const { content, thinking, blocks, attempt, status } = this.task.rows.get(7);
    const lengths = [content.length, thinking.length];
    return { text: content.text, thinking: thinking.text, lengths, blocks: [...blocks.values()].sort((a, b) => (a.id < b.id ? -1 : 1)), attempt, status };
  }
}

function truth(server) {
  const blocks = [...server.blocks.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const { content, thinking, attempt, status } = server;
  return { text: content.join(""), thinking: thinking.join(""), lengths: [content.length, thinking.length], blocks, attempt, status };
}

function play(seed) {
  const random = new Random(seed);
  const server = new Server(random);
  const clients = [false, false, true].map((lossy) => new Client(random, server, lossy));
  const tell = (event) => clients.forEach((client) => client.give(event));
  const attempts = 1 + random.below(3);
  for (let n = 1; n <= attempts; n += 1) {
    for (let left = random.below(14); left > 0; left -= 1) {
      tell(server.say());
    }
    if (n === attempts || random.chance(0.5)) {
      tell(server.end());
    }
    if (n < attempts) {
      server.begin();
      tell(["chat:start", { ...IDS, message_id: 2, attempt: server.attempt, revision: server.revision, bot_name: "B" }]);
    }
  }
  clients.filter((client) => client.isAway).forEach((client) => client.join());
  return { clients, server };
}

test("any split, loss, repeat and reconnect that the rules allow ends equal to what was said", () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    try {
      const { clients, server } = play(SEED + round);
      clients.forEach((client) => assert.deepEqual(client.held(), truth(server)));
    } catch (error) {
      error.message = `SEED=${SEED + round} ${error.message}`;
      throw error;
    }
  }
});
