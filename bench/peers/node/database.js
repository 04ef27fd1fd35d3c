// The rows behind a connection, a join and a send.
'use strict';

const Sqlite = require('better-sqlite3');

class Database {
  constructor(path) {
    this.db = new Sqlite(path);
    this.db.pragma('journal_mode = WAL');
    this.db.pragma('synchronous = NORMAL');
    this.selectUser = this.db.prepare('SELECT id, user_name FROM users WHERE user_name = ? AND is_active = 1');
    this.selectTask = this.db.prepare('SELECT t.id, t.user_id AS owner, m.user_id AS member FROM tasks t'
      + ' LEFT JOIN members m ON m.task_id = t.id AND m.user_id = ? WHERE t.id = ?');
    const number = this.db.prepare('UPDATE tasks SET revision = revision + 1, last_message_id = last_message_id + 1'
      + ' WHERE id = ? RETURNING revision, last_message_id');
    const insert = this.db.prepare('INSERT INTO subtasks (task_id, user_id, message_id, revision, role, status, prompt,'
      + " created_at) VALUES (?, ?, ?, ?, 'USER', 'COMPLETED', ?, CURRENT_TIMESTAMP)");
    this.add = this.db.transaction((userId, taskId, text) => {
      const task = number.get(taskId);
      const { lastInsertRowid } = insert.run(taskId, userId, task.last_message_id, task.revision, text);
      return { id: Number(lastInsertRowid), messageId: task.last_message_id, revision: task.revision };
    });
  }

  user(name) {
    return this.selectUser.get(name);
  }

  maySee(userId, taskId) {
    const row = this.selectTask.get(userId, taskId);
    return row !== undefined && (row.owner === userId || row.member === userId);
  }

  addMessage(userId, taskId, text) {
    return this.add.immediate(userId, taskId, text);
  }
}

module.exports = { Database };
