// Fastify and amqplib's confirm channel with the work of the bridge.

import { createHmac, timingSafeEqual } from 'node:crypto';

import { connect, publish } from './broker.mjs';
import { Dedup } from './dedup.mjs';
import { identify, message } from './message.mjs';
import * as metrics from './metrics.mjs';
import { oddities } from './normalize.mjs';
import { PayloadInvalid, parse } from './payload.mjs';
import { listen, server } from './server.mjs';

const ENDPOINT = 'superoffice';
const { PEER_SECRET: secret, PEER_MAX_EVENTS: maxEvents } = process.env;

const channel = await connect();
const dedup = new Dedup(600, Number(maxEvents));
const app = server();

function isSigned(body, given) {
  const expected = Buffer.from(createHmac('sha256', secret).update(body).digest('base64'));
  const sent = Buffer.from(given ?? '');
  return sent.length === expected.length && timingSafeEqual(sent, expected);
}

async function deliver(payload, id, request) {
  for (const kind of oddities(payload, request.headers)) metrics.oddity.inc({ kind });
  const { key, body, properties } = message(payload, id, new Date());
  const started = performance.now();
  await publish(channel, key, body, properties);
  metrics.stageSeconds.observe({ stage: 'deliver' }, (performance.now() - started) / 1000);
  metrics.published.inc({ endpoint: ENDPOINT });
}

function refuse(reply, status, reason) {
  metrics.rejected.inc({ endpoint: ENDPOINT, reason });
  return reply.code(status).send({ status, title: reason });
}

app.post('/webhook', async (request, reply) => {
  const started = performance.now();
  metrics.received.inc({ endpoint: ENDPOINT });
  if (!isSigned(request.body, request.headers['x-superoffice-signature'])) {
    return refuse(reply, 401, 'signature');
  }
  let payload;
  try {
    payload = parse(request.body);
  } catch (error) {
    if (error instanceof PayloadInvalid) return refuse(reply, 400, error.message);
    throw error;
  }
  const { key, id } = identify(payload, request.body);
  const duplicate = await dedup.once(key, () => deliver(payload, id, request));
  const status = duplicate ? 'duplicate' : 'published';
  metrics.accepted.inc({ endpoint: ENDPOINT, status });
  metrics.stageSeconds.observe({ stage: 'total' }, (performance.now() - started) / 1000);
  return { status, id };
});

app.get('/metrics', () => metrics.render());

await listen(app);
