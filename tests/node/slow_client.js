// A stock client that stops reading while it asks for more and more, and then has only what the library does by itself.
const { io } = require("socket.io-client");

const [url, token, team] = process.argv.slice(2);
const ASKED = 30;
const seen = { disconnects: [], joins: 0, acks: 0, asked: ASKED, resumes: 0, text: "", ending: null };
const socket = io(`${url}/chat`, { transports: ["websocket"], auth: { token }, reconnectionDelay: 100 });
let run = null;
let revision = 0;
let paused = false;

const ask = (event, payload) => socket.timeout(20000).emitWithAck(event, payload);

// What follows an ack may come in the same read: `apply` is called before it is looked at, as a promise would not be.
function askThen(event, payload, apply) {
  return new Promise((resolve, reject) => {
    socket.timeout(20000).emit(event, payload, (error, answer) => {
      if (error) return reject(error);
      apply(answer);
      resolve(answer);
    });
  });
}

function ending() {
  return new Promise((resolve) => socket.once("chat:done", resolve));
}

function chunk(payload) {
  if (run === null || payload.subtask_id !== run.assistant_subtask_id) return;
  const known = [...seen.text];
  if (payload.offset > known.length) {
    seen.resumes += 1;
    ask("chat:resume", { task_id: run.task_id, subtask_id: payload.subtask_id, offset: known.length });
  } else {
    seen.text += [...payload.content].slice(known.length - payload.offset).join("");
  }
  if (seen.text.length > 2000 && !paused) pause();
}

function pause() {
  paused = true;
  const tcp = socket.io.engine.transport.ws._socket;
  tcp.pause();
  for (let n = 0; n < ASKED; n++) {
    socket.emit("history:sync", { task_id: run.task_id }, () => (seen.acks += 1));
  }
  setTimeout(() => tcp.resume(), 1500);
}

function joinAgain() {
  seen.joins += 1;
  return askThen("task:join", { task_id: run.task_id, after_revision: revision }, (joined) => {
    revision = joined.revision;
    const row = joined.subtasks.find((each) => each.id === run.assistant_subtask_id);
    if (joined.streaming !== null) seen.text = joined.streaming.cached_content;
    else if (row) seen.text = row.result.value;
  });
}

async function main() {
  await new Promise((resolve) => socket.once("connect", resolve));
  const large = "word ".repeat(24000);
  const first = ending();
  const sent = await ask("chat:send", { team_id: Number(team), message: `/fast 1 ${large}` });
  await first;
  const joined = await ask("task:join", { task_id: sent.task_id });
  revision = joined.revision;
  socket.on("chat:chunk", chunk);
  socket.on("connect", joinAgain);
  socket.on("disconnect", (reason) => seen.disconnects.push(reason));
  const last = ending();
  const message = { task_id: sent.task_id, team_id: Number(team), message: "/long 2500" };
  await askThen("chat:send", message, (answer) => (run = answer));
  seen.ending = await last;
  process.stdout.write(JSON.stringify({ ...seen, task_id: run.task_id }), () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
