import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { People } from "../../../wegent/page/people.js";
import { TaskList } from "../../../wegent/page/tasklist.js";

const ADA = { user_id: 1, user_name: "ada", role: "owner" };
const BOB = { user_id: 2, user_name: "bob", role: "member" };
let calls = [];

/** A server that answers every call with `answer`; `calls` holds what it was asked. */
function serve(answer, status = 200) {
  calls = [];
  globalThis.fetch = async (path, { method, body }) => {
    calls.push([method, path, body && JSON.parse(body)]);
    return { ok: status < 400, status, json: async () => answer };
  };
}

function people({ isSeen = true } = {}) {
  const tasks = new TaskList();
  const failed = [];
  const made = new People({
    call: async (work) => (await work({ token: "t" }))(),
    taskOf: (id) => tasks.get(id),
    changed: () => {},
    failed: (message) => failed.push(message),
    isSeen: () => isSeen,
  });
  return { made, tasks, failed };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

test("who is in a group chat is read once, as soon as it is known to be one", async () => {
  const { made, tasks } = people();
  serve({ items: [ADA, BOB] });
  made.open(7);
  assert.deepEqual(calls, []);
  tasks.put({ items: [{ id: 7, is_group_chat: true, unread: 0 }] }, true);
  made.open(7);
  made.open(7);
  await settled();
  assert.deepEqual(calls, [["GET", "api/v1/tasks/7/members", undefined]]);
  assert.deepEqual(made.members, [ADA, BOB]);
});

test("people come and go by what is told of the open chat", () => {
  const { made, tasks } = people();
  tasks.put({ items: [{ id: 7 }, { id: 8 }] }, true);
  made.open(7);
  made.onEvent("task:updated", { task_id: 8, members: [BOB] });
  assert.deepEqual(made.members, []);
  made.onEvent("task:updated", { task_id: 7, members: [ADA, BOB] });
  assert.deepEqual(made.members, [ADA, BOB]);
  made.open(8);
  assert.deepEqual(made.members, []);
});

test("an invitation makes a group chat, and one of nobody says so", async () => {
  const { made, tasks, failed } = people();
  tasks.put({ items: [{ id: 7, is_group_chat: false }] }, true);
  made.open(7);
  serve({ items: [ADA, BOB] });
  made.invite("bob");
  await settled();
  assert.deepEqual(calls, [["POST", "api/v1/tasks/7/group-chat", { members: [{ user_name: "bob" }] }]]);
  assert.deepEqual(made.members, [ADA, BOB]);
  serve({ error: "there is no user nobody", code: "NOT_FOUND" }, 404);
  made.invite("nobody");
  await settled();
  tasks.onEvent("task:updated", { task_id: 7, members: [ADA, BOB] });
  assert.deepEqual([made.isOwnedBy(1), made.isOwnedBy(2)], [true, false]);
  assert.deepEqual(failed, ["there is no user nobody"]);
});

test("what is unread is marked as read a moment after it is seen, once", async () => {
  const { made, tasks } = people();
  tasks.put({ items: [{ id: 7, unread: 2 }] }, true);
  made.open(7);
  serve({ message_id: 5, unread: 0 });
  made.see(5);
  made.see(5);
  mock.timers.tick(1000);
  await settled();
  assert.deepEqual(calls, [["PUT", "api/v1/tasks/7/read", { message_id: 5 }]]);
  tasks.onEvent("task:updated", { task_id: 7, unread: 0 });
  made.see(5);
  mock.timers.tick(1000);
  assert.equal(calls.length, 1);
});

test("nothing is marked while nobody looks", () => {
  const { made, tasks } = people({ isSeen: false });
  serve({});
  tasks.put({ items: [{ id: 7, unread: 2 }] }, true);
  made.open(7);
  made.see(5);
  mock.timers.tick(1000);
  assert.deepEqual(calls, []);
});

test("a chat that is left was seen, and is marked at once", async () => {
  const { made, tasks } = people();
  serve({});
  tasks.put({ items: [{ id: 7, unread: 2 }] }, true);
  made.open(7);
  made.see(5);
  made.open(null);
  await settled();
  mock.timers.tick(1000);
  assert.deepEqual(calls, [["PUT", "api/v1/tasks/7/read", { message_id: 5 }]]);
});

test("a list shows what is unread and forgets a chat that one is not in any more", () => {
  const tasks = new TaskList();
  tasks.onEvent("task:created", { task_id: 7, title: "x", created_at: "2026-01-01T00:00:00Z", is_group_chat: true });
  tasks.onEvent("task:updated", { task_id: 7, unread: 3 });
  assert.equal(tasks.get(7).unread, 3);
  tasks.onEvent("task:updated", { task_id: 7, members: [ADA] });
  assert.equal(tasks.get(7).is_group_chat, true);
  tasks.onEvent("task:updated", { task_id: 7, deleted: true });
  assert.equal(tasks.get(7), null);
});
