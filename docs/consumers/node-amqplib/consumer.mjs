// An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1.
import { on } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import amqp from "amqplib";
import Database from "libsql"; // from Node 22.13 on node:sqlite will do, with BEGIN and COMMIT

const SCHEMA = "urn:superoffice-bridge:contact:1";
const QUEUE = "consumer.erasure";
const DEAD = "consumer.erasure.dead";

const stopping = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => stopping.abort());

const database = new Database(process.env.DATABASE, { timeout: 5000 });
database.exec("CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY)");
database.exec("CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER, deleted_at TEXT)");
const remember = database.prepare("INSERT INTO handled_event VALUES (?) ON CONFLICT DO NOTHING");
const task = database.prepare("INSERT INTO erasure_task VALUES (?, ?)");

// Applies an event, once: its id and its effect are one transaction.
const handle = database.transaction((event) => {
  if (remember.run(event.id).changes === 0) return "seen before";
  task.run(event.data.primary_key, event.time);
  return "handled";
});

// Returns the event, null if the message holds none that this consumer understands.
function parse({ content, properties }) {
  try {
    const event = JSON.parse(content);
    const isOurs = event.dataschema === SCHEMA && event.id && event.id === properties.messageId;
    return isOurs && Number.isSafeInteger(event.data.primary_key) ? event : null;
  } catch {
    return null; // not JSON, or no object
  }
}

// Handles a message and acknowledges it, in this order; what fails is delivered again.
async function settle(channel, message) {
  const { messageId } = message.properties;
  const event = parse(message);
  if (!event) {
    console.error(`${messageId} is not readable: to the dead letters`);
    return channel.reject(message, false);
  }
  try {
    console.log(messageId, handle(event));
  } catch (error) {
    console.error(`${messageId} failed: once more:`, error);
    await sleep(1000);
    return channel.reject(message, true); // not nack: RabbitMQ 4.3 does not count those
  }
  channel.ack(message);
}

// Declares the queue and its dead letters, and binds it; the exchange is the bridge's.
async function declare(channel) {
  const keep = { "x-queue-type": "quorum", "x-delivery-limit": 1e9 }; // looking must not delete
  await channel.assertExchange(DEAD, "fanout", { durable: true });
  await channel.assertQueue(DEAD, { durable: true, arguments: keep });
  await channel.bindQueue(DEAD, DEAD, "");
  const limited = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 5,
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish", // at-least-once needs it
    "x-single-active-consumer": true, // keeps the order of a record
  };
  await channel.assertQueue(QUEUE, { durable: true, arguments: limited });
  await channel.bindQueue(QUEUE, "superoffice", "contact.deleted");
}

// Consumes until told to stop, or until the connection or the channel is lost.
async function consume() {
  const connection = await amqp.connect(process.env.AMQP_URL, { timeout: 10_000 });
  connection.on("error", (error) => console.error(error.message)); // its channel is closed then
  const channel = await connection.createChannel();
  try {
    const messages = on(channel, "message", { signal: stopping.signal, close: ["close"] });
    await channel.prefetch(10);
    await declare(channel);
    await channel.consume(QUEUE, (message) => channel.emit("message", message));
    for await (const [message] of messages) {
      await settle(channel, message);
      if (stopping.signal.aborted) return; // those behind it go back to the queue
    }
  } finally {
    await channel.close().catch(() => {}); // connection.close() alone would overtake an ack
    await connection.close().catch(() => {});
  }
}

while (!stopping.signal.aborted) {
  try {
    await consume();
  } catch (error) {
    if (stopping.signal.aborted) break;
    console.error(`no broker: ${error.message}`);
    await sleep(1000);
  }
}
