import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection, Disconnected, Refused } from "../../../wegent/page/socket.js";
import { Clock, sockets } from "./fakes.mjs";

async function connected(run) {
  const clock = new Clock();
  const WebSocket = sockets();
  const log = { states: [], events: [], unauthorized: [] };
  const hooks = {
    state: (state) => log.states.push(state),
    event: (...event) => log.events.push(event),
    unauthorized: (reason) => log.unauthorized.push(reason),
  };
  const connection = new Connection("ws://x/ws/chat", () => "tok", hooks, { WebSocket, random: () => 1, now: () => clock.time });
  try {
    connection.start();
    await run({ connection, clock, WebSocket, log });
  } finally {
    clock.restore();
  }
}

test("the first frame is the token and the connection is open when the server is ready", () => connected(({ WebSocket, log }) => {
  WebSocket.last.accept();
  assert.deepEqual(WebSocket.last.sent, [{ auth: { token: "tok" } }]);
  assert.deepEqual(log.states, ["connecting", "open"]);
}));

test("an ack answers its request and an error in it refuses", () => connected(async ({ connection, WebSocket }) => {
  WebSocket.last.accept();
  const asked = [connection.request("a", {}), connection.request("b", {})];
  const [a, b] = WebSocket.last.sent.slice(1);
  WebSocket.last.say({ ack: b.id, data: { error: "No", code: "CONFLICT" } });
  WebSocket.last.say({ ack: a.id, data: { fine: true } });
  assert.deepEqual(await asked[0], { fine: true });
  await assert.rejects(asked[1], (error) => error instanceof Refused && error.code === "CONFLICT");
}));

test("nothing is sent while there is no connection", () => connected(async ({ connection }) => {
  await assert.rejects(connection.request("a", {}), Disconnected);
}));

test("a lost connection ends what waits for an ack and comes back by itself, later each time", () => connected(async ({ connection, clock, WebSocket, log }) => {
  WebSocket.last.accept();
  const asked = connection.request("a", {});
  WebSocket.last.hangUp(1006);
  await assert.rejects(asked, Disconnected);
  const waits = [];
  for (let n = 1; n <= 8; n += 1) {
    const before = clock.time;
    await clock.advance(connection.retryAt - clock.time);
    waits.push(clock.time - before);
    assert.equal(WebSocket.all.length, n + 1);
    WebSocket.last.hangUp(1006);
  }
  assert.deepEqual(waits, [400, 800, 1600, 3200, 6400, 12800, 20000, 20000]);
  assert.equal(log.states.at(-1), "waiting");
}));

for (const code of [1001, 1006, 1013, 4001, 4008, 4012]) {
  test(`close code ${code} means come back`, () => connected(({ connection, WebSocket }) => {
    WebSocket.last.accept();
    WebSocket.last.hangUp(code);
    assert.equal(connection.state, "waiting");
  }));
}

for (const code of [4400, 4403, 4429]) {
  test(`close code ${code} means stay away until somebody asks`, () => connected(async ({ connection, clock, WebSocket }) => {
    WebSocket.last.accept();
    WebSocket.last.hangUp(code);
    await clock.advance(600_000);
    assert.equal(connection.state, "stopped");
    assert.equal(WebSocket.all.length, 1);
    connection.start();
    assert.equal(WebSocket.all.length, 2);
  }));
}

test("a token that no longer counts asks for a new login", () => connected(({ connection, WebSocket, log }) => {
  WebSocket.last.say({ error: "Invalid or expired token", code: "NOT_AUTHENTICATED" });
  WebSocket.last.hangUp(4401);
  assert.equal(connection.state, "stopped");
  assert.deepEqual(log.unauthorized, ["Invalid or expired token"]);
}));

test("a token that runs out while connected asks for a new login", () => connected(({ WebSocket, log }) => {
  WebSocket.last.accept();
  WebSocket.last.say({ event: "auth:error", data: { error: "Token expired", code: "TOKEN_EXPIRED" } });
  assert.deepEqual(log.unauthorized, ["Token expired"]);
}));

test("an event that wants an ack gets one", () => connected(({ WebSocket, log }) => {
  WebSocket.last.accept();
  WebSocket.last.say({ event: "skill:request", data: { request_id: "r" }, id: 9 });
  assert.deepEqual(WebSocket.last.sent.at(-1), { ack: 9, data: {} });
  assert.deepEqual(log.events, [["skill:request", { request_id: "r" }]]);
}));

test("an ack that stays away means that the connection is gone", () => connected(async ({ connection, clock, WebSocket }) => {
  WebSocket.last.accept();
  const asked = assert.rejects(connection.request("a", {}), Disconnected);
  await clock.advance(20_000);
  await asked;
  assert.equal(WebSocket.all[0].isClosed, true);
}));

test("long silence is answered by asking and by coming back if nobody answers", () => connected(async ({ connection, clock, WebSocket }) => {
  WebSocket.last.accept();
  await clock.advance(60_000);
  assert.equal(WebSocket.last.sent.at(-1).event, "auth:refresh");
  WebSocket.last.say({ ack: WebSocket.last.sent.at(-1).id, data: { success: true } });
  assert.equal(connection.state, "open");
  await clock.advance(60_000);
  assert.equal(connection.state, "open");
  await clock.advance(5_000);
  assert.notEqual(connection.state, "open");
}));

test("a server that accepts and then says nothing is left", () => connected(async ({ connection, clock, WebSocket }) => {
  WebSocket.last.onopen();
  await clock.advance(15_000);
  assert.equal(connection.state, "waiting");
}));

test("who hurries does not wait for the back-off", () => connected(({ connection, WebSocket }) => {
  WebSocket.last.hangUp(1006);
  connection.hurry();
  assert.equal(WebSocket.all.length, 2);
}));

test("frames that are no JSON and acks that nobody waits for change nothing", () => connected(({ connection, WebSocket }) => {
  WebSocket.last.accept();
  WebSocket.last.onmessage({ data: "{" });
  WebSocket.last.onmessage({ data: "null" });
  WebSocket.last.say({ ack: 99, data: {} });
  assert.equal(connection.state, "open");
}));

test("what an old socket still says is not heard", () => connected(({ connection, WebSocket, log }) => {
  const { onmessage } = WebSocket.last;
  connection.stop();
  onmessage({ data: JSON.stringify({ event: "chat:start", data: {} }) });
  assert.deepEqual(log.events, []);
}));
