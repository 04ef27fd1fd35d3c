import assert from "node:assert/strict";
import { test } from "node:test";

import { Disconnected, Refused } from "../../../wegent/page/socket.js";
import { TaskState, phase } from "../../../wegent/page/state.js";
import { TaskSession } from "../../../wegent/page/tasks.js";
import { Clock, settle } from "./fakes.mjs";

/** A connection whose acks the test gives. */
class FakeConnection {
  constructor(state = "open") {
    this.state = state;
    this.asked = [];
  }

  request(event, data) {
    if (this.state !== "open") {
      return Promise.reject(new Disconnected());
    }
    return new Promise((resolve, reject) => this.asked.push({ event, data, resolve, reject }));
  }

  named(event) {
    return this.asked.filter((request) => request.event === event);
  }

  async answer(event, ack) {
    await settle();
    const request = this.named(event).findLast(({ done }) => !done);
    request.done = true;
    request.resolve(ack);
    await settle();
  }

  async refuse(event, code) {
    await settle();
    const request = this.named(event).findLast(({ done }) => !done);
    request.done = true;
    request.reject(new Refused("No", code));
    await settle();
  }

  async lose() {
    this.state = "waiting";
    this.asked.filter(({ done }) => !done).forEach((request) => {
      request.done = true;
      request.reject(new Disconnected());
    });
    await settle();
  }
}

function open(id = 1, connection = new FakeConnection()) {
  const log = { states: [], created: [], trouble: [] };
  const session = new TaskSession(connection, {
    changed: () => {}, state: (state) => log.states.push(state), created: (task) => log.created.push(task), trouble: (said) => log.trouble.push(said),
  }, new TaskState(id));
  session.onSocket(connection.state);
  return { session, connection, log };
}

const EMPTY = { streaming: null, subtasks: [], revision: 5, has_more: false };
const STREAMING = { ...EMPTY, streaming: { subtask_id: 7, attempt: 1, offset: 2, cached_content: "ab", values: {} } };
const chunk = (content, offset) => ["chat:chunk", { task_id: 1, subtask_id: 7, attempt: 1, content, offset }];
const done = (value) => ["chat:done", { task_id: 1, subtask_id: 7, message_id: 2, attempt: 1, revision: 6, offset: value.length, result: { value } }];

test("a task is joined, synced, ready, and streaming while something runs", async () => {
  const { session, connection, log } = open();
  await connection.answer("task:join", STREAMING);
  session.onEvent(...chunk("c", 2));
  session.onEvent(...done("abc"));
  assert.deepEqual(log.states, ["joining", "syncing", "ready", "streaming", "ready"]);
  assert.equal(session.task.rows.get(7).content.text, "abc");
});

test("without a socket a task waits for it and is joined when it comes", async () => {
  const { session, connection, log } = open(1, new FakeConnection("connecting"));
  connection.state = "open";
  session.onSocket("open");
  await connection.answer("task:join", EMPTY);
  assert.deepEqual(log.states, ["waiting_socket", "joining", "syncing", "ready"]);
});

test("what arrives while joining is applied after", async () => {
  const { session, connection } = open();
  session.onEvent(...chunk("bcd", 1));
  assert.equal(session.task.rows.size, 0);
  await connection.answer("task:join", STREAMING);
  assert.equal(session.task.rows.get(7).content.text, "abcd");
});

test("recoveries that are asked for meanwhile merge into the one that runs", async () => {
  const { session, connection } = open();
  session.recover();
  session.recover();
  await connection.answer("task:join", EMPTY);
  assert.equal(connection.named("task:join").length, 1);
  session.recover();
  assert.equal(connection.named("task:join").length, 2);
});

test("the cursor of the next join is the revision of the last ack, whatever events said since", async () => {
  const { session, connection } = open();
  await connection.answer("task:join", STREAMING);
  session.onEvent(...done("abc"));
  session.recover();
  assert.equal(connection.named("task:join").at(-1).data.after_revision, 5);
});

test("when more was missed than an answer holds the task is read anew", async () => {
  const { session, connection } = open();
  await connection.answer("task:join", EMPTY);
  session.recover();
  await connection.answer("task:join", { ...EMPTY, revision: 900, has_more: true });
  assert.equal(connection.named("task:join").at(-1).data.after_revision, undefined);
  await connection.answer("task:join", { ...EMPTY, revision: 900 });
  assert.equal(session.state, "ready");
});

test("a lost connection while joining leaves the task waiting for the socket", async () => {
  const { session, connection } = open();
  await connection.lose();
  assert.equal(session.state, "waiting_socket");
  connection.state = "open";
  session.onSocket("open");
  await connection.answer("task:join", EMPTY);
  assert.equal(session.state, "ready");
});

test("a task that is not to be had is an error until somebody tries again", async () => {
  const { session, connection } = open();
  await connection.refuse("task:join", "ACCESS_DENIED");
  assert.equal(session.state, "error");
  session.recover();
  await connection.answer("task:join", EMPTY);
  assert.equal(session.state, "ready");
});

test("an overloaded server is asked again, later", async () => {
  const clock = new Clock();
  try {
    const { session, connection } = open();
    await connection.refuse("task:join", "OVERLOADED");
    assert.equal(session.state, "joining");
    await clock.advance(2_000);
    await connection.answer("task:join", EMPTY);
    assert.equal(session.state, "ready");
  } finally {
    clock.restore();
  }
});

test("a gap is asked for once and closed by what follows the ack", async () => {
  const { session, connection } = open();
  await connection.answer("task:join", STREAMING);
  session.onEvent(...chunk("e", 4));
  session.onEvent(...chunk("f", 5));
  assert.deepEqual(connection.named("chat:resume").map(({ data }) => data), [{ task_id: 1, subtask_id: 7, attempt: 1, offset: 2 }]);
  await connection.answer("chat:resume", { success: true, attempt: 1, offset: 2, status: "RUNNING" });
  session.onEvent(...chunk("cdef", 2));
  assert.equal(session.task.rows.get(7).content.text, "abcdef");
});

test("a gap that cannot be closed is not asked for without end", async () => {
  const { session, connection } = open();
  await connection.answer("task:join", STREAMING);
  for (let n = 0; n < 6; n += 1) {
    session.onEvent(...chunk("z", 9));
    if (connection.named("chat:resume").some((request) => !request.done)) {
      await connection.answer("chat:resume", { success: true, attempt: 1, offset: 2, status: "RUNNING" });
    }
  }
  assert.equal(connection.named("chat:resume").length, 3);
});

test("cached text that was cut is fetched before the task is ready", async () => {
  const { session, connection } = open();
  await connection.answer("task:join", { ...STREAMING, streaming: { ...STREAMING.streaming, offset: 4, truncated: true } });
  assert.equal(session.state, "syncing");
  await connection.answer("chat:resume", { success: true, attempt: 1, offset: 2, status: "RUNNING" });
  session.onEvent(...chunk("cd", 2));
  assert.equal(session.task.rows.get(7).content.text, "abcd");
});

test("a first message makes the task and joins it for a cursor", async () => {
  const { session, connection, log } = open(null);
  assert.equal(session.state, "idle");
  session.send("hi", 3);
  await connection.answer("chat:send", { task_id: 1, subtask_id: 6, message_id: 1, assistant_subtask_id: 7 });
  session.onEvent(...chunk("a", 0));
  await connection.answer("task:join", { ...STREAMING });
  assert.deepEqual(log.created, [1]);
  assert.equal(session.state, "streaming");
  assert.equal(session.task.rows.get(7).content.text, "ab");
});

test("a message whose ack was lost is sent again with the same id, and those behind it wait", async () => {
  const { session, connection } = open(null);
  session.send("one", 3);
  session.send("two", 3);
  await settle();
  await connection.lose();
  connection.state = "open";
  session.onSocket("open");
  const [first, again] = connection.named("chat:send").map(({ data }) => data);
  assert.deepEqual(again, first);
  await connection.answer("chat:send", { task_id: 1, subtask_id: 6, message_id: 1, assistant_subtask_id: 7 });
  const last = connection.named("chat:send").at(-1).data;
  assert.equal(last.message, "two");
  assert.equal(last.task_id, 1);
});

test("a message that is refused says so and can be sent again", async () => {
  const { session, connection } = open();
  await connection.answer("task:join", EMPTY);
  session.send("hi", 3);
  await connection.refuse("chat:send", "OVERLOADED");
  const [row] = session.task.ordered();
  assert.equal(phase(row), "error");
  session.resend(row, 3);
  await connection.answer("chat:send", { task_id: 1, subtask_id: 6, message_id: 1, assistant_subtask_id: null });
  assert.equal(phase(row), "completed");
});

test("a cancel that came too late reads the task again", async () => {
  const { session, connection } = open();
  await connection.answer("task:join", STREAMING);
  session.cancel(session.task.rows.get(7));
  await connection.refuse("chat:cancel", "CONFLICT");
  assert.equal(connection.named("task:join").length, 2);
});

test("a task that was left says and takes nothing more", async () => {
  const { session, connection, log } = open();
  await connection.answer("task:join", STREAMING);
  session.close();
  session.onEvent(...chunk("c", 2));
  session.recover();
  assert.equal(connection.named("task:leave").length, 1);
  assert.equal(connection.named("task:join").length, 1);
  assert.equal(log.states.at(-1), "streaming");
});

test("an answer that was run again elsewhere is read again, and a refusal is told", async () => {
  const { session, connection, log } = open();
  const rows = [
    { id: 6, message_id: 1, attempt: 1, role: "USER", status: "COMPLETED", prompt: "why", result: null },
    { id: 7, message_id: 2, attempt: 1, role: "ASSISTANT", status: "FAILED", prompt: "", result: { value: "" } },
  ];
  await connection.answer("task:join", { ...EMPTY, subtasks: rows });
  session.retry(session.task.rows.get(7));
  await connection.refuse("chat:retry", "CONFLICT");
  assert.equal(connection.named("task:join").length, 2);
  session.retry(session.task.rows.get(7));
  await connection.refuse("chat:retry", "DEVICE_OFFLINE");
  assert.equal(log.trouble.length, 1);
});
