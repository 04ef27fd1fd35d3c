// The REST calls of this page. Paths are relative to the page, so that it also works below another path.

/** A call that failed; `status` is the HTTP status, 0 if nobody answered. */
export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { code, status });
  }
}

async function call(path, { method = "GET", token = null, body } = {}) {
  const headers = { Accept: "application/json" };
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
  }
  let response = null;
  try {
    response = await fetch(`api/v1/${path}`, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new ApiError("The server cannot be reached", "UNREACHABLE", 0);
  }
  const data = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ApiError(data.error ?? `The server answered ${response.status}`, data.code, response.status);
  }
  return data;
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

/** The address of the raw WebSocket transport. */
export function socketUrl(base = document.baseURI) {
  const url = new URL("ws/chat", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}
