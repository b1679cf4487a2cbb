// Prints the message of every body on standard input as a line of JSON: each body is a line of it,
// in base64. `bench` compares them with the bridge's own.

import { createInterface } from 'node:readline';

import { identify, message } from './message.mjs';
import { parse } from './payload.mjs';

for await (const line of createInterface({ input: process.stdin })) {
  const body = Buffer.from(line, 'base64');
  const payload = parse(body);
  const { id } = identify(payload, body);
  const made = message(payload, id, new Date(Number(process.env.PEER_RECEIVED_MS)));
  console.log(JSON.stringify({ ...made, body: made.body.toString() }));
}
