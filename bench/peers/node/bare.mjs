// Fastify and amqplib's confirm channel: the body goes on as it came, then 200.

import { connect, publish } from './broker.mjs';
import { listen, server } from './server.mjs';

const channel = await connect();
const app = server();

app.post('/webhook', async (request) => {
  const { 'x-superoffice-event': event, 'x-superoffice-eventid': id } = request.headers;
  await publish(channel, event, request.body, { contentType: 'application/json', messageId: id });
  return { status: 'published' };
});

await listen(app);
