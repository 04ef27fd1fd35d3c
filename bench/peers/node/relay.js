// Reads an OpenAI-compatible stream of chat completion chunks.
'use strict';

const http = require('node:http');

const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });

// Calls onDelta with the text of each delta; resolves when the stream has ended.
function relay(baseUrl, text, onDelta) {
  const body = JSON.stringify({ model: 'bench', stream: true, messages: [{ role: 'user', content: text }] });
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const request = http.request(`${baseUrl}/chat/completions`, { method: 'POST', headers, agent }, (response) => {
      let rest = '';
      response.setEncoding('utf8');
      response.on('data', (data) => {
        const lines = (rest + data).split('\n');
        rest = lines.pop();
        for (const line of lines) {
          if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
          const delta = JSON.parse(line.slice(6)).choices[0]?.delta.content;
          if (delta) onDelta(delta);
        }
      });
      response.on('end', resolve);
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

module.exports = { relay };
