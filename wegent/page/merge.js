// The client's merge rules, pure: what a task looks like after a snapshot or an event. No DOM, no socket, no clock.
//
// Any two clients that were given the same task, in whatever pieces, end equal: an attempt beats an older one, within an
// attempt a status only moves forward, text grows by offset, a block's greatest version counts, an ending closes it.

import { Channel } from "./text.js";
import { Change, RANK, emptyRun, isTerminal, makeRow } from "./state.js";

const ENDINGS = { "chat:done": "COMPLETED", "chat:error": "FAILED", "chat:cancelled": "CANCELLED" };

// --- attempts -------------------------------------------------------------------------------------------------------

/** Whether something of `attempt` counts for this row; a greater attempt than the row's empties it first. */
function admit(row, attempt) {
  if (attempt === undefined || attempt === null) {
    return true;
  }
  if (attempt > row.attempt) {
    Object.assign(row, emptyRun(), { attempt, status: "PENDING" });
  }
  return attempt === row.attempt;
}

function advance(row, status) {
  if (Object.hasOwn(RANK, status) && RANK[status] > RANK[row.status]) {
    row.status = status;
  }
}

// --- values ---------------------------------------------------------------------------------------------------------

function putBlock(row, block) {
  if (typeof block?.id !== "string" && typeof block?.id !== "number") {
    return;
  }
  const held = row.blocks.get(block.id);
  if (!held || (block.version ?? 0) > (held.version ?? 0)) {
    row.blocks.set(block.id, block);
  }
}

function putNewer(row, name, value) {
  if (value === undefined || value === null) {
    return;
  }
  const version = (it) => it?.version ?? 0;
  if (row[name] === null || version(value) >= version(row[name])) {
    row[name] = value;
  }
}

/** Values come as `{blocks, app, progress}`, or as entries `{kind, key, version, data}`; both say the same. */
function putValues(row, values) {
  if (Array.isArray(values)) {
    values.forEach((value) => putEntry(row, value));
    return;
  }
  Object.values(values?.blocks ?? {}).forEach((block) => putBlock(row, block));
  putNewer(row, "app", values?.app);
  putNewer(row, "progress", values?.progress);
}

function putEntry(row, entry) {
  const { kind, key, version, data } = entry ?? {};
  if (kind === "app" || kind === "progress") {
    putNewer(row, kind, { ...data, version });
  } else {
    putBlock(row, data ? { id: key, version, ...data } : entry);
  }
}

/** Thinking comes as a delta with its offset, or whole, as a string. */
function putThinking(row, thinking) {
  if (typeof thinking === "string") {
    row.thinking.reach(thinking);
    return true;
  }
  return row.thinking.apply(thinking?.content ?? "", thinking?.offset ?? 0);
}

// --- snapshots ------------------------------------------------------------------------------------------------------

/** Attachments are among a row's contexts; `chat:message` lists them as well. */
function attachmentsOf({ attachments, contexts }) {
  return attachments ?? contexts?.filter(({ type }) => type === "attachment");
}

function describe(row, data) {
  row.revision = Math.max(row.revision, data.revision ?? 0);
  row.messageId = data.message_id ?? row.messageId;
  row.role = data.role ?? row.role;
  row.prompt = data.prompt ?? row.prompt;
  row.sender = data.sender ?? row.sender;
  row.botName = data.bot_name ?? row.botName;
  row.createdAt = data.created_at ?? row.createdAt;
  row.attachments = attachmentsOf(data) ?? row.attachments;
  row.sources = data.contexts?.filter(({ type }) => type !== "attachment") ?? row.sources;
  row.clientMessageId = data.client_message_id ?? row.clientMessageId;
}

function putSubtask(task, data, change) {
  if (data.deleted) {
    task.rows.delete(data.id);
    task.gone.add(data.id);
    return;
  }
  const own = task.own.get(data.client_message_id);
  if (own && !task.rows.has(data.id)) {
    adopt(task, own, data.id);
  }
  const row = task.row(data.id, data.role);
  describe(row, data);
  change.touched.add(row);
  if (!admit(row, data.attempt)) {
    return;
  }
  const result = data.result ?? {};
  row.correction = result.correction ?? null;
  if (isTerminal(data.status)) {
    close(row, data.status, { result, error: data.error_message, type: data.error_type }, change);
    row.completedAt = data.completed_at ?? row.completedAt;
    return;
  }
  advance(row, data.status);
  if (!row.ended) {
    row.content.reach(result.value ?? "");
    putThinking(row, result.thinking ?? "");
    putValues(row, { progress: data.progress, ...result });
  }
}

function putStreaming(task, data, change) {
  const row = task.row(data.subtask_id);
  change.touched.add(row);
  if (!admit(row, data.attempt) || row.ended) {
    return;
  }
  advance(row, "RUNNING");
  row.content.reach(data.cached_content ?? "");
  row.startedAt = data.started_at ?? row.startedAt;
  putThinking(row, data.thinking ?? "");
  putValues(row, data.values);
  if (row.content.length < data.offset) {
    change.gap(row, row.content.length);
  }
}

/** Apply the ack of `task:join`; this alone moves the cursor. */
export function applyJoin(task, ack) {
  const change = new Change();
  (ack.subtasks ?? []).forEach((data) => putSubtask(task, data, change));
  if (ack.streaming) {
    putStreaming(task, ack.streaming, change);
  }
  task.hasMore = task.revision === null ? Boolean(ack.has_more) : task.hasMore;
  task.revision = Math.max(task.revision ?? 0, ack.revision ?? 0);
  return change;
}

/** Apply the ack of `history:sync`: older messages, text only; rows that are known stay as they are. */
export function applyHistory(task, ack) {
  const change = new Change();
  for (const { subtask_id: id, content, status, ...data } of ack.messages ?? []) {
    if (!task.rows.has(id)) {
      const row = task.row(id, data.role);
      describe(row, { ...data, prompt: data.role === "USER" ? content : "" });
      row.content.set(data.role === "USER" ? "" : (content ?? ""));
      Object.assign(row, { status, ended: isTerminal(status) });
      change.touched.add(row);
    }
  }
  task.hasMore = Boolean(ack.has_more);
  return change;
}

// --- events ---------------------------------------------------------------------------------------------------------

function onStart(row, data) {
  describe(row, data);
  row.reason = data.reason ?? row.reason;
  advance(row, "RUNNING");
}

function onChunk(row, data, change) {
  if (row.ended && row.wanted === null) {
    return;
  }
  advance(row, "RUNNING");
  if (data.content && !row.content.apply(data.content, data.offset ?? 0)) {
    change.gap(row, row.content.length);
  }
  if (row.ended) {
    settle(row, change);
    return;
  }
  if (data.result?.thinking && !putThinking(row, data.result.thinking)) {
    change.gap(row, 0);
  }
  putValues(row, data.result);
}

/** An ending sets the text; where its value was cut for its size, what is missing up to `offset` is still wanted. */
function close(row, status, { result, truncated, error, type, offset }, change) {
  if (!row.ended) {
    Object.assign(row, { status, ended: true, error: error ?? null, errorType: type ?? null });
    setResult(row, result ?? {}, truncated, offset ?? null);
  } else if (row.wanted !== null) {
    row.wanted = Math.min(row.wanted, offset ?? Infinity);
  }
  settle(row, change);
}

function setResult(row, result, truncated, offset) {
  const value = new Channel(result.value ?? "");
  const short = Boolean(truncated || result.truncated) || value.length < (offset ?? 0);
  if (short) {
    row.content.reach(value.text);
    row.wanted = offset ?? Infinity;
    putThinking(row, result.thinking ?? "");
  } else {
    value.cut(offset ?? Infinity);
    row.content = value;
    row.thinking.set(typeof result.thinking === "string" ? result.thinking : row.thinking.text);
  }
  putValues(row, result);
}

function settle(row, change) {
  if (row.wanted === null) {
    return;
  }
  row.content.cut(row.wanted);
  if (row.content.length === row.wanted) {
    row.wanted = null;
    change.gaps.delete(row.id);
  } else if (!change.gaps.has(row.id)) {
    change.gap(row, row.content.length);
  }
}

function onEnding(row, data, change, status) {
  describe(row, data);
  close(row, status, data, change);
}

function onMessage(task, data, change) {
  putSubtask(task, {
    ...data, id: data.subtask_id, status: data.status ?? "COMPLETED",
    ...(data.role === "ASSISTANT" ? { result: { value: data.content } } : { prompt: data.content }),
  }, change);
}

/** Whether an event comes late, of a row that was removed: the last ack, which had read further, lacks it. */
function isRemoved(task, id, revision) {
  return !task.rows.has(id) && typeof revision === "number" && revision <= (task.revision ?? 0);
}

/** Apply one event of the task's room. One that is not about its rows changes nothing. */
export function applyEvent(task, name, data) {
  const change = new Change();
  const id = data.subtask_id;
  if (name === "task:app_update") {
    task.app = data.app;
  }
  if (typeof id !== "number" || task.gone.has(id) || isRemoved(task, id, data.revision)) {
    return change;
  }
  if (name === "chat:message") {
    onMessage(task, data, change);
  } else if (name === "chat:start" || name === "chat:chunk" || Object.hasOwn(ENDINGS, name)) {
    const row = task.row(id);
    if (admit(row, data.attempt)) {
      change.touched.add(row);
      if (name === "chat:start") {
        onStart(row, data);
      } else if (name === "chat:chunk") {
        onChunk(row, data, change);
      } else {
        onEnding(row, data, change, ENDINGS[name]);
      }
    }
  }
  return change;
}

/** Apply the ack of `chat:resume`: what follows starts at `ack.offset`, of `ack.attempt`. */
export function applyResume(task, id, asked, ack) {
  const change = new Change();
  const row = task.rows.get(id);
  if (row && admit(row, ack.attempt)) {
    change.touched.add(row);
    if (ack.offset < asked.offset && !(row.ended && row.wanted === null)) {
      row.content.cut(ack.offset);
    }
  }
  return change;
}

// --- own messages ---------------------------------------------------------------------------------------------------

/** Show an own message before the server knows it. */
export function addOwn(task, clientMessageId, prompt, createdAt) {
  const row = makeRow(null, `c:${clientMessageId}`, "USER");
  Object.assign(row, { clientMessageId, prompt, createdAt, local: "pending", localError: null });
  task.own.set(clientMessageId, row);
  return row;
}

function adopt(task, row, id) {
  task.own.delete(row.clientMessageId);
  Object.assign(row, { id, local: null, localError: null, status: "COMPLETED", ended: true });
  task.rows.set(id, row);
}

/** Merge an own message with its row when the ack of `chat:send` arrives, and make room for the answer. */
export function applySent(task, clientMessageId, ack) {
  const change = new Change();
  const own = task.own.get(clientMessageId);
  if (own && task.rows.has(ack.subtask_id)) {
    task.own.delete(clientMessageId);
  } else if (own) {
    adopt(task, own, ack.subtask_id);
  }
  const row = task.row(ack.subtask_id, "USER");
  row.messageId = ack.message_id ?? row.messageId;
  change.touched.add(row);
  if (ack.assistant_subtask_id) {
    const answer = task.row(ack.assistant_subtask_id);
    answer.createdAt ??= row.createdAt;
    change.touched.add(answer);
  }
  return change;
}

/** Apply the ack of `chat:cancel`; how it ended is told by the ending alone. */
export function applyCancel(row) {
  if (!row.ended && RANK[row.status] < RANK.CANCELLING) {
    row.status = "CANCELLING";
  }
}

/** Apply the ack of `chat:retry`: the row waits for its next attempt. */
export function applyRetry(row, ack) {
  admit(row, ack.attempt);
}

/** Say on an own message that it was not sent, and why. */
export function failOwn(task, clientMessageId, error) {
  const own = task.own.get(clientMessageId);
  if (own) {
    Object.assign(own, { local: "error", localError: error });
  }
  return own;
}
