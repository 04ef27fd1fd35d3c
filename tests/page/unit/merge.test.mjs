import assert from "node:assert/strict";
import { test } from "node:test";

import { addOwn, applyCancel, applyEvent, applyHistory, applyJoin, applyResume, applyRetry, applySent, failOwn } from "../../../wegent/page/merge.js";
import { TaskState, phase } from "../../../wegent/page/state.js";

const chunk = (content, offset, more = {}) => ["chat:chunk", { task_id: 1, subtask_id: 7, attempt: 1, content, offset, ...more }];
const start = (attempt, more = {}) => ["chat:start", { task_id: 1, subtask_id: 7, message_id: 2, attempt, revision: 3, bot_name: "B", ...more }];
const ending = (name, value, more = {}) =>
  [name, { task_id: 1, subtask_id: 7, message_id: 2, attempt: 1, revision: 4, offset: [...value].length, result: { value }, ...more }];

function after(...events) {
  const task = new TaskState(1);
  const changes = events.map(([name, data]) => applyEvent(task, name, data));
  return { task, row: task.rows.get(7), last: changes.at(-1) };
}

test("a delta at the end is appended and one that overlaps only brings its rest", () => {
  const { row } = after(start(1), chunk("a👍", 0), chunk("👍b", 1), chunk("a", 0));
  assert.equal(row.content.text, "a👍b");
  assert.equal(row.content.length, 3);
});

test("a delta past the end changes nothing and asks for what is missing from the own length", () => {
  const { row, last } = after(start(1), chunk("👍", 0), chunk("x", 5));
  assert.equal(row.content.text, "👍");
  assert.deepEqual([...last.gaps.values()], [{ subtask_id: 7, attempt: 1, offset: 1 }]);
});

test("events of an older attempt are ignored and a greater one empties text and values", () => {
  const block = { id: "t", version: 3, at: 0, status: "done" };
  const { row } = after(start(1), chunk("old", 0, { result: { blocks: [block] } }), start(2), chunk("late", 3), chunk("new", 0, { attempt: 2 }));
  assert.equal(row.content.text, "new");
  assert.equal(row.blocks.size, 0);
  assert.equal(row.attempt, 2);
});

test("a start of the same attempt empties nothing", () => {
  const { row } = after(start(1), chunk("kept", 0), start(1));
  assert.equal(row.content.text, "kept");
});

test("a chunk or an ending for an unknown row makes the row", () => {
  assert.equal(after(chunk("x", 0)).row.content.text, "x");
  assert.equal(phase(after(ending("chat:done", "whole")).row), "completed");
});

test("the greatest version of a block wins whatever order they come in", () => {
  const block = (version) => ({ result: { blocks: [{ id: "t", version, at: 0, status: String(version) }] } });
  const { row } = after(start(1), chunk("", 0, block(2)), chunk("", 0, block(3)), chunk("", 0, block(1)));
  assert.equal(row.blocks.get("t").version, 3);
});

test("thinking grows by its own offset", () => {
  const thinking = (content, offset) => ({ result: { thinking: { content, offset } } });
  const { row, last } = after(start(1), chunk("", 0, thinking("hm", 0)), chunk("", 0, thinking("mm", 1)), chunk("", 0, thinking("!", 9)));
  assert.equal(row.thinking.text, "hmm");
  assert.equal(last.gaps.size, 1);
});

test("an ending sets the text, also where that is shorter", () => {
  const { row } = after(start(1), chunk("hello world", 0), ending("chat:error", "hello", { error: "lost", type: "worker_lost" }));
  assert.equal(row.content.text, "hello");
  assert.equal(row.error, "lost");
  assert.equal(row.errorType, "worker_lost");
  assert.equal(phase(row), "error");
});

test("after an ending only a greater attempt applies", () => {
  const { row } = after(start(1), ending("chat:done", "a"), chunk("b", 1), ending("chat:cancelled", "c"), start(1));
  assert.equal(row.content.text, "a");
  assert.equal(row.status, "COMPLETED");
  assert.equal(after(ending("chat:done", "a"), start(2)).row.status, "RUNNING");
});

test("a value that was cut asks for the rest and takes it although the attempt has ended", () => {
  const cut = ["chat:done", { ...ending("chat:done", "abcdef")[1], result: { value: "abc", truncated: true } }];
  const { task, row, last } = after(start(1), chunk("ab", 0), cut);
  assert.deepEqual([...last.gaps.values()], [{ subtask_id: 7, attempt: 1, offset: 3 }]);
  applyEvent(task, ...chunk("cdef", 2));
  assert.equal(row.content.text, "abcdef");
  applyEvent(task, ...chunk("never", 6));
  assert.equal(row.content.text, "abcdef");
});

test("a value that was cut does not take away what was streamed", () => {
  const cut = ["chat:done", { ...ending("chat:done", "abcdef")[1], result: { value: "abc", truncated: true } }];
  const { row, last } = after(start(1), chunk("abcdef", 0), cut);
  assert.equal(row.content.text, "abcdef");
  assert.equal(last.gaps.size, 0);
});

test("a row that was cut in the snapshot is fetched and closed by the repeated ending", () => {
  const task = new TaskState(1);
  const subtask = { id: 7, message_id: 2, revision: 4, attempt: 1, role: "ASSISTANT", status: "COMPLETED", result: { value: "ab", truncated: true } };
  const change = applyJoin(task, { streaming: null, subtasks: [subtask], revision: 4, has_more: false });
  assert.equal(change.gaps.get(7).offset, 2);
  applyEvent(task, ...chunk("cd", 2));
  applyEvent(task, ...ending("chat:done", "abcd"));
  assert.equal(task.rows.get(7).content.text, "abcd");
  assert.equal(task.rows.get(7).wanted, null);
});

test("a snapshot neither shortens a stream nor undoes its ending", () => {
  const { task, row } = after(start(1), chunk("abc", 0));
  const stale = { id: 7, message_id: 2, revision: 3, attempt: 1, role: "ASSISTANT", status: "RUNNING", result: { value: "a" } };
  applyJoin(task, { streaming: null, subtasks: [stale], revision: 3 });
  assert.equal(row.content.text, "abc");
  applyEvent(task, ...ending("chat:done", "abc"));
  applyJoin(task, { streaming: null, subtasks: [stale], revision: 4 });
  assert.equal(row.status, "COMPLETED");
});

test("cached content that was cut asks for the rest", () => {
  const task = new TaskState(1);
  const streaming = { subtask_id: 7, attempt: 2, offset: 9, cached_content: "abc", truncated: true, values: { blocks: [{ id: "t", version: 1, at: 1 }] }, thinking: "hm" };
  const change = applyJoin(task, { streaming, subtasks: [], revision: 5 });
  assert.deepEqual(change.gaps.get(7), { subtask_id: 7, attempt: 2, offset: 3 });
  assert.equal(task.rows.get(7).thinking.text, "hm");
  assert.equal(task.rows.get(7).blocks.size, 1);
});

test("only the ack of a join moves the cursor", () => {
  const { task } = after(start(1), ending("chat:done", "a"));
  assert.equal(task.revision, null);
  applyJoin(task, { streaming: null, subtasks: [], revision: 9 });
  assert.equal(task.revision, 9);
});

test("a removed row goes and late events do not bring it back", () => {
  const { task } = after(start(1));
  applyJoin(task, { streaming: null, subtasks: [{ id: 7, deleted: true, revision: 8 }], revision: 8 });
  applyEvent(task, ...chunk("x", 0));
  assert.equal(task.rows.size, 0);
});

test("a late event of a row that the ack of a join lacks does not make it", () => {
  const task = new TaskState(1);
  applyJoin(task, { revision: 9, subtasks: [] });
  applyEvent(task, "chat:message", { task_id: 1, subtask_id: 3, message_id: 3, revision: 8, role: "USER", content: "gone" });
  applyEvent(task, ...ending("chat:done", "gone"));
  assert.deepEqual(task.ordered(), []);
  applyEvent(task, "chat:message", { task_id: 1, subtask_id: 3, message_id: 3, revision: 10, role: "USER", content: "new" });
  assert.equal(task.ordered().length, 1);
});

test("a resume that starts over cuts the text to where it starts", () => {
  const { task, row } = after(start(1), chunk("abcdef", 0));
  applyResume(task, 7, { offset: 6 }, { attempt: 1, offset: 0, status: "RUNNING" });
  assert.equal(row.content.text, "");
  applyResume(task, 7, { offset: 0 }, { attempt: 2, offset: 0, status: "RUNNING" });
  assert.equal(row.attempt, 2);
});

test("an own message shows at once and merges with its row when the ack arrives", () => {
  const task = new TaskState(1);
  const own = addOwn(task, "c1", "hi", "2026-01-01T00:00:00Z");
  assert.equal(phase(own), "pending");
  applySent(task, "c1", { task_id: 1, subtask_id: 6, message_id: 1, assistant_subtask_id: 7 });
  assert.equal(task.rows.get(6), own);
  assert.equal(phase(own), "completed");
  assert.equal(task.own.size, 0);
  assert.deepEqual(task.ordered().map((row) => row.id), [6, 7]);
});

test("an own message merges with its row also when the snapshot comes before the ack", () => {
  const task = new TaskState(1);
  const own = addOwn(task, "c1", "hi", "2026-01-01T00:00:00Z");
  const subtask = { id: 6, message_id: 1, revision: 1, attempt: 1, role: "USER", prompt: "hi", status: "COMPLETED", result: null, client_message_id: "c1" };
  applyJoin(task, { streaming: null, subtasks: [subtask], revision: 1 });
  applySent(task, "c1", { task_id: 1, subtask_id: 6, message_id: 1, assistant_subtask_id: null });
  assert.deepEqual([...task.rows.values()], [own]);
});

test("an own message that was refused says why", () => {
  const task = new TaskState(1);
  const own = addOwn(task, "c1", "hi", "2026-01-01T00:00:00Z");
  failOwn(task, "c1", "busy");
  assert.equal(phase(own), "error");
});

test("rows are ordered by message id and those without one come last", () => {
  const task = new TaskState(1);
  applyEvent(task, "chat:message", { task_id: 1, subtask_id: 9, message_id: 5, role: "USER", content: "b", created_at: "2026-01-02T00:00:00Z" });
  applyEvent(task, "chat:chunk", { task_id: 1, subtask_id: 4, attempt: 1, content: "", offset: 0 });
  applyEvent(task, "chat:message", { task_id: 1, subtask_id: 12, message_id: 3, role: "USER", content: "a", created_at: "2026-01-03T00:00:00Z" });
  assert.deepEqual(task.ordered().map((row) => row.id), [12, 9, 4]);
});

test("cancelling shows until the ending tells how it ended, and a retry waits for the next attempt", () => {
  const { task, row } = after(start(1), chunk("a", 0));
  applyCancel(row);
  assert.equal(row.status, "CANCELLING");
  applyEvent(task, ...chunk("b", 1));
  assert.equal(row.status, "CANCELLING");
  applyEvent(task, ...ending("chat:cancelled", "ab"));
  assert.equal(phase(row), "cancelled");
  applyRetry(row, { attempt: 2 });
  assert.equal(phase(row), "pending");
  assert.equal(row.content.text, "");
});

test("history adds older messages and leaves known ones alone", () => {
  const { task } = after(start(1), chunk("live", 0));
  const messages = [
    { subtask_id: 3, message_id: 1, role: "USER", content: "q", status: "COMPLETED", sender: null },
    { subtask_id: 7, message_id: 2, role: "ASSISTANT", content: "stale", status: "RUNNING", sender: null },
  ];
  applyHistory(task, { messages, has_more: false });
  assert.equal(task.rows.get(3).prompt, "q");
  assert.equal(task.rows.get(7).content.text, "live");
});

test("names of the language are not names of events or statuses", () => {
  const task = new TaskState(1);
  applyEvent(task, "constructor", { subtask_id: 7 });
  applyEvent(task, "toString", { subtask_id: 7, attempt: 1 });
  assert.equal(task.rows.size, 0);
  applyJoin(task, { subtasks: [{ id: 7, message_id: 1, role: "ASSISTANT", attempt: 1, status: "constructor", result: null }], revision: 1 });
  assert.equal(task.rows.get(7).status, "PENDING");
});
