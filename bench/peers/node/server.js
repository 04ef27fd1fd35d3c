// The peer on Node: socket.io 4 with ws and bufferutil, better-sqlite3, jsonwebtoken, http. Settings as its
// performance guide says: no compression, the first request of each connection released.
'use strict';

const http = require('node:http');
const { parseArgs } = require('node:util');
const { Server } = require('socket.io');
const jwt = require('jsonwebtoken');
const { Database } = require('./database');
const { Publisher } = require('./publisher');
const { relay } = require('./relay');

const text = { type: 'string', default: '' };
const { values: options } = parseArgs({ options: { port: text, database: text, secret: text, model: text, redis: text } });

const database = new Database(options.database);
const server = http.createServer();
const io = new Server(server, { perMessageDeflate: false, httpCompression: false, serveClient: false });
io.engine.on('connection', (socket) => { socket.request = null; });
const chat = io.of('/chat');

function chunk(taskId, subtaskId, offset, content) {
  chat.to(`task:${taskId}`).emit('chat:chunk',
    { task_id: taskId, subtask_id: subtaskId, attempt: 1, content, offset });
}

const publisher = new Publisher(chunk);

chat.use((socket, next) => {
  jwt.verify(socket.handshake.auth.token ?? '', options.secret, { algorithms: ['HS256'] }, (error, claims) => {
    const user = error ? undefined : database.user(claims.sub);
    if (!user) return next(new Error('Invalid or expired token'));
    socket.data.user = user;
    next();
  });
});

async function answer(taskId, subtaskId, message) {
  let length = 0;
  await relay(options.model, message, (delta) => {
    chunk(taskId, subtaskId, length, delta);
    length += delta.length;
  });
  chat.to(`task:${taskId}`).emit('chat:done', { task_id: taskId, subtask_id: subtaskId, attempt: 1, offset: length });
}

function send(socket, data) {
  const user = socket.data.user;
  if (!database.maySee(user.id, data.task_id)) return { error: 'No access to this task', code: 'ACCESS_DENIED' };
  const added = database.addMessage(user.id, data.task_id, data.message);
  const ids = { task_id: data.task_id, subtask_id: added.id, message_id: added.messageId, revision: added.revision };
  socket.to(`task:${data.task_id}`).emit('chat:message',
    { ...ids, role: 'USER', content: data.message, sender: { user_id: user.id, user_name: user.user_name } });
  if (options.model) answer(data.task_id, added.id, data.message).catch((error) => console.error(error));
  return { ...ids, assistant_subtask_id: null };
}

chat.on('connection', (socket) => {
  socket.join(`user:${socket.data.user.id}`);
  socket.on('task:join', (data, ack) => {
    if (!database.maySee(socket.data.user.id, data.task_id)) {
      return ack({ error: 'No access to this task', code: 'ACCESS_DENIED' });
    }
    socket.join(`task:${data.task_id}`);
    ack({ streaming: publisher.snapshot(data.task_id), subtasks: [], has_more: false });
  });
  socket.on('bench:echo', (data, ack) => ack(data));
  socket.on('bench:start', (data, ack) => { publisher.run(data); ack({ success: true }); });
  socket.on('chat:send', (data, ack) => ack(send(socket, data)));
});

// With --redis: what is said to a room is said in all processes, as the adapter's documentation shows.
async function reachOthers() {
  const { createClient } = require('redis');
  const { createAdapter } = require('@socket.io/redis-adapter');
  const publisher = createClient({ url: options.redis });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(createAdapter(publisher, subscriber));
}

const listen = () => server.listen({ port: Number(options.port), host: '127.0.0.1', backlog: 4096 });
if (options.redis) reachOthers().then(listen); else listen();
