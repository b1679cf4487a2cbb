// The message that leaves: a port of bridge/core/message.py and of the default route.

import { createHash } from 'node:crypto';

import { normalize } from './normalize.mjs';

const ENDPOINT = 'superoffice';
const ILLEGAL = /[^a-z0-9_.-]/;
const MAX_BYTES = 255;
const FORBIDDEN = /[\p{Cc}\p{Noncharacter_Code_Point}]/gu;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
const MISTYPED = ['ContextIdentifier', 'WebhookName', 'Entity', 'PrimaryKey'];

// What tells one event from all others: a port of bridge/superoffice/identity.py. Returns { key, id }.
export function identify(payload, body) {
  const { contextIdentifier, webhookName, event, primaryKey, properties } = payload;
  const bodyId = () => `sha256-${createHash('sha256').update(body).digest('hex')}`;
  const isTold = primaryKey !== null && isUnique(payload.eventId ?? '');
  const own = isTold ? null : bodyId();
  const name = payload.eventId ?? own;
  const mistyped = MISTYPED.map((property) => properties[property] ?? null);
  const parts = [ENDPOINT, contextIdentifier, webhookName, event, name, primaryKey, own];
  const text = JSON.stringify([...parts, ...mistyped]);
  const key = createHash('sha256').update(text).digest('hex').slice(0, 32);
  return { key, id: `${name.slice(0, 167)}.${key}` };
}

// Returns { key, body, properties }, of which properties is what amqplib's publish takes.
export function message(payload, id, received) {
  const data = normalize(payload);
  const { entity } = data;
  const name = payload.event.includes('.') ? `${entity}.${data.action}` : payload.event;
  const type = shorten(`com.superoffice.${encode(name)}`);
  const envelope = {
    specversion: '1.0',
    id,
    source: `/superoffice/${encodeURIComponent(payload.contextIdentifier ?? 'unknown')}`,
    type,
    subject: subject(entity, data.primary_key),
    time: payload.timestamp ?? received.toISOString(),
    datacontenttype: 'application/json',
    dataschema: `urn:superoffice-bridge:${encode(entity)}:1`,
    eventid: payload.eventId ?? undefined,
    data,
  };
  return {
    key: shorten(encode(name)),
    body: Buffer.from(JSON.stringify(envelope)),
    properties: {
      contentType: 'application/cloudevents+json',
      headers: headers(payload),
      messageId: id,
      timestamp: Math.floor(received.getTime() / 1000),
      type,
      appId: 'superoffice-bridge',
    },
  };
}

function isUnique(eventId) {
  return UUID.test(eventId) && new Set(eventId.replaceAll('-', '')).size >= 5;
}

// Without a key there is none: JSON leaves out what is undefined.
function subject(entity, key) {
  return key === null ? undefined : `${encode(entity)}/${encodeURIComponent(key)}`;
}

function headers({ entity, action, contextIdentifier, primaryKey }) {
  const found = { entity: bounded(entity), action: bounded(action), endpoint: ENDPOINT };
  if (contextIdentifier !== null) found.context = bounded(contextIdentifier);
  if (typeof primaryKey === 'number') found.primary_key = { '!': 'int64', value: primaryKey };
  else if (primaryKey !== null) found.primary_key = bounded(primaryKey);
  return found;
}

function encode(name) {
  const lower = name.toLowerCase();
  if (!ILLEGAL.test(lower)) return lower;
  const bytes = Array.from(Buffer.from(lower), (byte) => {
    const letter = String.fromCharCode(byte);
    return ILLEGAL.test(letter) ? `%${byte.toString(16).padStart(2, '0')}` : letter;
  });
  return bytes.join('');
}

function shorten(key) {
  if (key.length <= MAX_BYTES) return key;
  const start = key.slice(0, 200).replace(/%.?$/, '');
  return `${start}~${createHash('sha256').update(key).digest('hex').slice(0, 16)}`;
}

function bounded(given) {
  const text = given.replace(FORBIDDEN, encodeURIComponent);
  if (text.length * 4 <= MAX_BYTES || Buffer.byteLength(text) <= MAX_BYTES) return text;
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 16);
  const start = Buffer.from(text).subarray(0, 200).toString().replace(/\ufffd$/, '');
  return `${start}~${digest}`;
}
