// Streams made inside the server: token k of all rooms in turn, at even distances, each stamped with its time.
'use strict';

const { setImmediate: turn, setTimeout: sleep } = require('node:timers/promises');

const BATCH = 32; // emissions before others get a turn while behind
const now = () => process.hrtime.bigint();
const stamp = (time, padding) => `@${time.toString(16).padStart(16, '0')}${padding}`;

class Publisher {
  constructor(chunk) {
    this.chunk = chunk;
    this.nextSubtask = 1_000_001;
    this.kept = new Map();
  }

  // What a client that joins now needs: the text so far of a stream that is kept.
  snapshot(taskId) {
    const kept = this.kept.get(taskId);
    return kept ? { subtask_id: kept.subtask, attempt: 1, offset: kept.text.length, cached_content: kept.text } : null;
  }

  async run({ base, rooms, count, rate, size, preload = 0, keep = false }) {
    const subtasks = Array.from({ length: rooms }, () => this.nextSubtask++);
    const padding = '.'.repeat(size - 17);
    const offset = Math.floor(preload / size) * size;
    if (keep) {
      const first = stamp(now(), padding).repeat(preload / size);
      subtasks.forEach((subtask, i) => this.kept.set(base + i, { subtask, text: first }));
    }
    const interval = rate ? 1e9 / (rate * rooms) : 0;
    const start = now();
    for (let k = 0; k < count * rooms; k++) {
      const due = rate ? start + BigInt(Math.floor(k * interval)) : now();
      const ahead = Number(due - now()) / 1e6;
      if (ahead > 0) await sleep(Math.max(1, Math.ceil(ahead)));
      else if (!rate || k % BATCH === 0) await turn();
      const room = k % rooms;
      const content = stamp(due, padding);
      if (keep) this.kept.get(base + room).text += content;
      this.chunk(base + room, subtasks[room], offset + Math.floor(k / rooms) * size, content);
    }
  }
}

module.exports = { Publisher };
