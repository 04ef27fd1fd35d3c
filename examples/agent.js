// An agent that speaks Wegent's runner protocol, in Node without packages: docs/extending/runner.md tells the protocol.
//
//   [process.commands]
//   Counter = ["node", "/path/to/examples/agent.js"]
//
// It counts the words of the message, asks the viewers for something only a front end can do, and stops when it is told.
"use strict";

const readline = require("node:readline");

const say = (type, fields = {}) => process.stdout.write(JSON.stringify({ type, ...fields }) + "\n");
const end = (type, fields) => process.stdout.write(JSON.stringify({ type, ...fields }) + "\n", () => process.exit(0));

const asked = new Map(); // skill requests that wait: id → resolve
let cancelled = false;

function ask(skill_name, action, data) {
  const id = String(asked.size + 1);
  say("skill", { id, skill_name, action, data });
  return new Promise((resolve) => asked.set(id, resolve));
}

async function work(job) {
  const words = job.prompt.split(/\s+/).filter(Boolean);
  say("thinking", { content: `${job.user.name} wants ${words.length} words counted.` });
  say("block", { id: "count", tool_name: "counter", tool_input: { text: job.prompt }, status: "streaming" });
  for (const [index, word] of words.entries()) {
    if (cancelled) return end("error", { message: "The run was cancelled." });
    say("chunk", { content: `${index + 1}. ${word}\n` });
    say("progress", { progress: Math.round((100 * (index + 1)) / words.length) });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  say("block", { id: "count", tool_name: "counter", tool_output: words.length, status: "done" });
  const answer = await ask("clock", "now", {});
  say("chunk", { content: answer.success ? `Counted at ${answer.result}.\n` : "Nobody told me the time.\n" });
  end("done", { result: { workbench: { words: words.length } } });
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.type === "start") work(message.job).catch((error) => end("error", { message: String(error) }));
  if (message.type === "cancel") cancelled = true;
  if (message.type === "skill") asked.get(message.id)?.(message);
});
