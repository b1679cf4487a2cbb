// An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1.
import { setTimeout as sleep } from "node:timers/promises";
import amqp from "amqplib";
import Database from "libsql"; // from Node 22.13 on node:sqlite will do, with BEGIN and COMMIT

const EXCHANGE = "superoffice", BINDING = "contact.deleted";
const SCHEMA = "urn:superoffice-bridge:contact:1";
const QUEUE = "consumer.erasure", DEAD = "consumer.erasure.dead";
const PREFETCH = 10, DELIVERY_LIMIT = 5, RETRY_MS = 1000;

const database = new Database(process.env.DATABASE, { timeout: 5000 });
database.exec(`
  CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY);
  CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER NOT NULL, deleted_at TEXT NOT NULL);
`);
const remember = database.prepare("INSERT INTO handled_event VALUES (?) ON CONFLICT DO NOTHING");
const task = database.prepare("INSERT INTO erasure_task VALUES (?, ?)");

// Applies an event, once: its id and its effect are one transaction.
const handle = database.transaction((event) => {
  const isNew = remember.run(event.id).changes === 1;
  if (isNew) task.run(event.data.primary_key, event.time);
  return isNew;
});

function parse(message) {
  try {
    const event = JSON.parse(message.content);
    const isOurs = event.dataschema === SCHEMA && event.id && event.id === message.properties.messageId;
    if (isOurs && Number.isSafeInteger(event.data.primary_key)) return event;
  } catch {} // not JSON, or no object
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
    console.log(`${messageId} ${handle(event) ? "handled" : "seen before"}`);
  } catch (error) {
    console.error(`${messageId} failed: once more:`, error);
    await sleep(RETRY_MS);
    return channel.reject(message, true); // not nack: RabbitMQ 4.3 does not count those
  }
  channel.ack(message);
}

// Declares the queue and its dead letters, and binds it; the exchange is the bridge's.
async function declare(channel) {
  await channel.assertExchange(DEAD, "fanout", { durable: true });
  const keep = { "x-queue-type": "quorum", "x-delivery-limit": 1e9 }; // looking must not delete
  await channel.assertQueue(DEAD, { durable: true, arguments: keep });
  await channel.bindQueue(DEAD, DEAD, "");
  await channel.assertQueue(QUEUE, { durable: true, arguments: {
    "x-queue-type": "quorum",
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish", // at-least-once needs it
  } });
  await channel.bindQueue(QUEUE, EXCHANGE, BINDING);
}

let stopping = false;
let stop = () => {};
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => { stopping = true; stop(); });

// Consumes until told to stop, or until the connection or the channel is lost.
async function consume(connection) {
  let open = true, work = Promise.resolve();
  const ended = new Promise((resolve) => { stop = resolve; connection.on("close", resolve); });
  connection.on("error", (error) => console.error(error.message));
  const channel = await connection.createChannel();
  channel.on("error", (error) => { console.error(error.message); stop(); });
  channel.on("close", () => { open = false; stop(); });
  await channel.prefetch(PREFETCH);
  await declare(channel);
  // One after another, in order; those behind the one in hand go back to the queue at the end.
  await channel.consume(QUEUE, (message) => {
    if (!message) return stop(); // the queue was deleted
    work = work.then(() => open && !stopping && settle(channel, message)).catch(stop);
  });
  if (!stopping) await ended;
  await work;
  if (open) await channel.close(); // connection.close() alone would overtake the last acknowledgement
}

while (!stopping) {
  let connection;
  try {
    connection = await amqp.connect(process.env.AMQP_URL, { timeout: 10_000 });
    await consume(connection);
  } catch (error) {
    console.error(`no broker: ${error.message}`);
    await sleep(RETRY_MS);
  } finally {
    await connection?.close().catch(() => {}); // it may be gone
  }
}
database.close();
