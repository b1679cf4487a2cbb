// One confirm channel, and a publish that is over when RabbitMQ has confirmed it.

import amqp from 'amqplib';

export const { PEER_EXCHANGE: exchange } = process.env;

export async function connect() {
  const connection = await amqp.connect(process.env.PEER_BROKER, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange(exchange, 'topic', { durable: true });
  return channel;
}

export function publish(channel, key, body, properties) {
  return new Promise((resolve, reject) => {
    const options = { ...properties, persistent: true, mandatory: true };
    channel.publish(exchange, key, body, options, (error) => (error ? reject(error) : resolve()));
  });
}
