// Background work, corrections and attachments: what the page makes of what it hears. No DOM.

import assert from "node:assert/strict";
import test from "node:test";
import { sizeOf } from "../../../wegent/page/attaching.js";
import { askedFor, wordsFor } from "../../../wegent/page/background.js";
import { Corrections } from "../../../wegent/page/corrections.js";
import { applyJoin } from "../../../wegent/page/merge.js";
import { TaskState } from "../../../wegent/page/state.js";

const RESULT = { scores: { accuracy: 7, logic: 9, completeness: 9 }, corrections: [], summary: "so so", improved_answer: "better 👍🏽!", is_correct: false };

test("a form becomes what the server takes", () => {
  const form = { team: "4", prompt: " water ", kind: "now", at: "", cron: "30 7 * * 1-5" };
  assert.deepEqual(askedFor(form), { team_id: 4, prompt: "water" });
  assert.deepEqual(askedFor({ ...form, kind: "again" }, "Europe/Berlin"), { team_id: 4, prompt: "water", cron: "30 7 * * 1-5", timezone: "Europe/Berlin" });
  assert.match(askedFor({ ...form, kind: "later", at: "2030-01-01T10:00" }).run_at, /^20(29|30)-.*Z$/);
  assert.throws(() => askedFor({ ...form, kind: "later" }), /when/);
  assert.throws(() => askedFor({ ...form, prompt: " " }), /what is to be done/);
});

test("background work is told in words", () => {
  assert.equal(wordsFor({ status: "COMPLETED", runs: 1 }), "done");
  assert.match(wordsFor({ status: "PENDING", next_at: "2030-01-01T10:00:00Z", runs: 0 }), /20(29|30)/);
  assert.match(wordsFor({ status: "FAILED", next_at: "2030-01-01T10:00:00Z", cron: "* * * * *", runs: 3 }), /^failed · next .* · 3 runs$/);
});

test("a correction grows by its chunks and ends as its ending says", () => {
  const corrections = new Corrections();
  const told = (name, data = {}) => corrections.onEvent(`correction:${name}`, { task_id: 1, subtask_id: 2, ...data });
  told("start", { correction_model: "m" });
  told("progress", { stage: "evaluating" });
  told("chunk", { field: "improved_answer", content: "better 👍🏽", offset: 0 });
  told("chunk", { field: "improved_answer", content: "lost", offset: 99 });
  told("chunk", { field: "improved_answer", content: "!", offset: 9 });
  assert.equal(corrections.of({ id: 2 }).improved, "better 👍🏽!");
  assert.equal(corrections.of({ id: 2 }).note, "summing up…");
  assert.equal(told("done", { result: RESULT }), 2);
  assert.deepEqual([corrections.of({ id: 2 }).state, corrections.of({ id: 2 }).summary], ["done", "so so"]);
  assert.equal(corrections.onEvent("chat:start", { subtask_id: 2 }), 2);
  assert.equal(corrections.of({ id: 2, correction: null }), null);
  assert.equal(corrections.onEvent("chat:chunk", { subtask_id: 2 }), null);
});

test("what is kept with a row shows until more is known, and is the same thing each time", () => {
  const corrections = new Corrections();
  const task = new TaskState(1);
  const contexts = [{ type: "text", title: "t", text: "x" }, { type: "attachment", id: 9, name: "a.txt", size: 3 }];
  const subtasks = [
    { id: 1, message_id: 1, role: "USER", status: "COMPLETED", prompt: "q", contexts, revision: 1, attempt: 1 },
    { id: 2, message_id: 2, role: "ASSISTANT", status: "COMPLETED", revision: 2, attempt: 1, result: { value: "a", correction: { status: "DONE", applied: true } } },
  ];
  applyJoin(task, { subtasks, revision: 2 });
  assert.deepEqual(task.rows.get(1).attachments.map(({ id }) => id), [9]);
  assert.deepEqual(task.rows.get(1).sources.map(({ title }) => title), ["t"]);
  const row = task.rows.get(2);
  assert.deepEqual([corrections.of(row).state, corrections.of(row).applied], ["kept", true]);
  assert.equal(corrections.of(row), corrections.of(row));
  corrections.put(2, { status: "DONE", result: RESULT, applied: true });
  assert.equal(corrections.of(row).state, "done");
  applyJoin(task, { subtasks: [{ ...subtasks[1], revision: 3, result: { value: "a" } }], revision: 3 });
  corrections.put(2, null);
  assert.equal(corrections.of(row), null);
});

test("sizes are short", () => {
  assert.deepEqual([0, 999, 1_000, 1_500_000, 64_000_000].map(sizeOf), ["0 B", "999 B", "1 KB", "1.5 MB", "64 MB"]);
});
