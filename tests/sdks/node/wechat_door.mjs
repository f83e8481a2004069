// A merchant's own server for notifications, and the simulator's control endpoint.
import http from 'node:http';

export async function openDoor() {
  const waiting = [];
  const got = [];
  const server = http.createServer((request, response) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      response.writeHead(204).end();
      const one = { headers: request.headers, body: Buffer.concat(pieces).toString() };
      waiting.length ? waiting.shift()(one) : got.push(one);
    });
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    url: `http://127.0.0.1:${server.address().port}/notified`,
    next: () => (got.length ? Promise.resolve(got.shift()) : new Promise((told) => waiting.push(told))),
    close: () => server.close(),
  };
}

export async function control(base, path, body) {
  const answer = await fetch(`${base}/simulator/${path}`, { method: 'POST', body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

export async function given() {
  const pieces = [];
  for await (const piece of process.stdin) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString());
}

export const pause = (ms) => new Promise((over) => setTimeout(over, ms));
