// The properties of a webhook: a port of bridge/superoffice/payload.py.

const DATE_TIME =
  /^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$/;
const DECIMAL = /^(?:0|-?[1-9][0-9]{0,18})$/;
const STATE_EVENT = /^(webhook)([0-9]+)\.([^.]+)$/i;
const DEEPEST = 250;

export class PayloadInvalid extends Error {}

export function parse(body) {
  const rest = object(body);
  const event = rest.Event;
  delete rest.Event;
  if (typeof event !== 'string' || !event.trim()) throw new PayloadInvalid('no_event');
  const [entity, action, number] = splitEvent(event);
  if (rest.Entity === entity || rest.Entity === null) delete rest.Entity;
  return {
    event,
    entity,
    action,
    eventId: take(rest, 'EventId', (value) => isString(value) && isId(value)),
    timestamp: take(rest, 'Timestamp', (value) => isString(value) && dateTime(value) !== null),
    primaryKey: primaryKey(rest, number),
    contextIdentifier: take(rest, 'ContextIdentifier', isString),
    changedByAssociateId: take(rest, 'ChangedByAssociateId', Number.isInteger),
    webhookName: take(rest, 'WebhookName', isString),
    changes: take(rest, 'Changes', (value) => Array.isArray(value) && value.every(isString)) ?? [],
    values: take(rest, 'Values', isObject) ?? {},
    fieldValues: take(rest, 'FieldValues', isObject) ?? {},
    properties: rest,
  };
}

// Whole seconds in milliseconds of the epoch, and the fraction as it was written.
export function dateTime(text) {
  const match = DATE_TIME.exec(text);
  if (match === null) return null;
  const seconds = Date.parse(match[1] + match[3]);
  return Number.isNaN(seconds) ? null : [seconds, match[2] ?? ''];
}

export function integer(text) {
  return DECIMAL.test(text) ? Number(text) : null;
}

function splitEvent(event) {
  const state = STATE_EVENT.exec(event);
  if (state !== null) return [state[1], state[3], integer(state[2])];
  const dot = event.lastIndexOf('.');
  return dot < 0 ? [event, '', null] : [event.slice(0, dot), event.slice(dot + 1), null];
}

function object(body) {
  let document;
  try {
    document = JSON.parse(body.toString());
  } catch {
    throw new PayloadInvalid('not_json');
  }
  if (!isObject(document)) throw new PayloadInvalid('not_object');
  if (brackets(body) > DEEPEST && depth(document) > DEEPEST) throw new PayloadInvalid('not_json');
  return document;
}

function brackets(body) {
  let found = 0;
  for (const bracket of ['[', '{']) {
    for (let at = body.indexOf(bracket); at >= 0; at = body.indexOf(bracket, at + 1)) found += 1;
  }
  return found;
}

function depth(document) {
  if (typeof document !== 'object' || document === null) return 0;
  return 1 + Math.max(0, ...Object.values(document).map(depth));
}

function take(rest, name, usable) {
  const value = rest[name];
  if (value === undefined) return null;
  if (value !== null && !usable(value)) return null;
  delete rest[name];
  return value;
}

function primaryKey(rest, number) {
  const value = rest.PrimaryKey ?? null;
  const own = key(value);
  const found = number === null ? own : number;
  if (value === null || (own !== null && own === found)) delete rest.PrimaryKey;
  return found;
}

function key(value) {
  if (isString(value) && value.trim()) return integer(value) ?? value;
  return Number.isInteger(value) ? value : null;
}

const isString = (value) => typeof value === 'string';
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isId = (text) => /^[!-~]*[1-9A-Za-z][!-~]*$/.test(text) && text.length <= 200;
