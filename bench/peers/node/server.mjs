// Fastify with the body left as the bytes that came.

import Fastify from 'fastify';

export function server() {
  const app = Fastify();
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body, done) => done(null, body));
  return app;
}

export async function listen(app) {
  await app.listen({ host: '127.0.0.1', port: Number(process.env.PEER_PORT), backlog: 1024 });
}
