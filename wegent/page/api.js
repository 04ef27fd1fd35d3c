// The REST calls of this page. Paths are relative to the page, so that it also works below another path.

/** A call that failed; `status` is the HTTP status, 0 if nobody answered. */
export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { code, status });
  }
}

async function answer(path, { method = "GET", token = null, headers = {}, body } = {}) {
  const given = { Accept: "application/json", ...headers };
  if (token) {
    given.Authorization = `Bearer ${token}`;
  }
  let response = null;
  try {
    response = await fetch(`api/v1/${path}`, { method, headers: given, body, cache: "no-store" });
  } catch {
    throw new ApiError("The server cannot be reached", "UNREACHABLE", 0);
  }
  if (!response.ok) {
    const data = await response.json().catch(() => ({}));
    throw new ApiError(data.error ?? `The server answered ${response.status}`, data.code, response.status);
  }
  return response;
}

async function call(path, { body, ...options } = {}) {
  const sent = body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await answer(path, { ...options, ...sent });
  return response.json().catch(() => ({}));
}

/** → `{access_token, expires_at, user: {id, user_name}}` */
export function login(userName, password) {
  return call("auth/login", { method: "POST", body: { user_name: userName, password } });
}

/** → `{items: [{id, title, status, progress, revision, team_id, updated_at}], next_cursor?}`, newest first. */
export function listTasks(token, cursor = null, limit = 30) {
  const query = new URLSearchParams({ limit });
  if (cursor) {
    query.set("cursor", cursor);
  }
  return call(`tasks?${query}`, { token });
}

/** One task, as in the list. */
export function getTask(token, id) {
  return call(`tasks/${id}`, { token });
}

/** Who is in a group chat, the owner first: `{items: [{user_id, user_name, role, joined_at}]}`. */
export function listMembers(token, id) {
  return call(`tasks/${id}/members`, { token });
}

/** Add somebody; a chat of one person becomes a group chat. → as `listMembers` */
export function inviteMember(token, id, userName) {
  return call(`tasks/${id}/group-chat`, { method: "POST", token, body: { members: [{ user_name: userName }] } });
}

export function removeMember(token, id, userId) {
  return call(`tasks/${id}/members/${userId}`, { method: "DELETE", token });
}

export function leaveTask(token, id) {
  return call(`tasks/${id}/leave`, { method: "POST", token });
}

/** Everything up to a message has been read. */
export function markRead(token, id, messageId) {
  return call(`tasks/${id}/read`, { method: "PUT", token, body: { message_id: messageId } });
}

/** The teams that this user may talk to: `[{id, name}]`. */
export async function listTeams(token) {
  const { items = [] } = await call("kinds/team", { token });
  return items.map(({ id, metadata = {} }) => ({ id, name: metadata.displayName || metadata.name || `Team ${id}` }));
}

/** The user's devices: `[{device_id, name, status, connected, is_default, slot_used, slot_max, running_tasks}]`. */
export async function listDevices(token) {
  const { items = [] } = await call("devices", { token });
  return items;
}

/** New chats are to run on this device. */
export function preferDevice(token, id) {
  return call(`devices/${encodeURIComponent(id)}/default`, { method: "PUT", token });
}

export function removeDevice(token, id) {
  return call(`devices/${encodeURIComponent(id)}`, { method: "DELETE", token });
}

/** → `{id, name, content_type, size, characters, cut, unread?}` */
export async function uploadFile(token, file) {
  const body = new FormData();
  body.append("file", file);
  return (await answer("attachments", { method: "POST", token, body })).json();
}

/** The bytes of an attachment. */
export async function downloadFile(token, id) {
  return (await answer(`attachments/${id}`, { token })).blob();
}

/** The user's knowledge bases: `[{id, name, documents}]`. */
export async function listKnowledgeBases(token) {
  const { items = [] } = await call("knowledge-bases?limit=200", { token });
  return items;
}

/** Background work, newest first: `[{id, prompt, status, next_at?, cron?, runs, task_id?, error_message?}]`. */
export async function listExecutions(token) {
  const { items = [] } = await call("executions?limit=30", { token });
  return items;
}

export function makeExecution(token, asked) {
  return call("executions", { method: "POST", token, body: asked });
}

export function removeExecution(token, id) {
  return call(`executions/${id}`, { method: "DELETE", token });
}

/** Have an answer checked; what comes of it is told by events. */
export function correct(token, taskId, subtaskId) {
  return call("chat/correct", { method: "POST", token, body: { task_id: taskId, subtask_id: subtaskId } });
}

/** → `{status, result?, applied}` */
export function getCorrection(token, subtaskId) {
  return call(`subtasks/${subtaskId}/correction`, { token });
}

export function applyCorrection(token, subtaskId) {
  return call(`subtasks/${subtaskId}/correction/apply`, { method: "POST", token });
}

export function removeCorrection(token, subtaskId) {
  return call(`subtasks/${subtaskId}/correction`, { method: "DELETE", token });
}

/** The address of the raw WebSocket transport. */
export function socketUrl(base = document.baseURI) {
  const url = new URL("ws/chat", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}
