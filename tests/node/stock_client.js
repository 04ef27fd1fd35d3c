// The stock client, driven by a test: connects, sends, and prints what it got as one line of JSON.
const { io } = require("socket.io-client");

const [url, token, team, transports] = process.argv.slice(2);
const options = { transports: transports.split(","), reconnection: false, forceNew: true };

function refusal() {
  return new Promise((resolve) => {
    const socket = io(`${url}/chat`, { ...options, auth: { token: "no.such.token" } });
    socket.on("connect_error", (error) => {
      socket.disconnect();
      resolve({ message: error.message, code: error.code ?? error.data?.code });
    });
  });
}

function stream() {
  return new Promise((resolve, reject) => {
    const socket = io(`${url}/chat`, { ...options, auth: { token } });
    const events = [];
    let ack;
    socket.on("connect_error", reject);
    socket.onAny((name, payload) => {
      if (name.startsWith("chat:")) events.push([name, payload]);
      if (name === "chat:done") {
        const transport = socket.io.engine.transport.name;
        socket.disconnect();
        resolve({ ack, events, transport });
      }
    });
    socket.on("connect", async () => {
      ack = await socket.timeout(10000).emitWithAck("chat:send", { team_id: Number(team), message: "/emoji" });
    });
  });
}

(async () => {
  const streamed = await stream();
  console.log(JSON.stringify({ ...streamed, refused: await refusal() }));
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
