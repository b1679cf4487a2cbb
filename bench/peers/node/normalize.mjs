// The bridge's normal form: a port of bridge/superoffice/normalize.py for SuperOffice's own tables.
// Extra tables (y_...) and names that become equal are left out: no event here has them.

import { readFileSync } from 'node:fs';

import { dateTime, integer } from './payload.mjs';

const ACRONYM = /([A-Z]+)([A-Z][a-z])/g;
const WORD = /([a-z0-9])([A-Z])/g;
const UPPER = /[A-Z]/g;
const NO_DATE = /^(?:0001|1760)-01-01(?:T00:00:00(?:\.0+)?)?$/;
const SHORTEST = '2026-03-02T10:15:27+01:00'.length;

const spellings = new Map();

function spell(name) {
  const words = name.replace(ACRONYM, '$1_$2').replace(WORD, '$1_$2');
  return words.replace(UPPER, (letter) => letter.toLowerCase());
}

function snakeCase(name) {
  let snake = spellings.get(name);
  if (snake === undefined) {
    snake = spell(name);
    if (spellings.size < 4096 && name.length <= 64) spellings.set(name, snake);
  }
  return snake;
}

const flag = (value) => (value === 0 || value === 1 ? value === 1 : value);
const numeric = (value) => (typeof value === 'string' ? (integer(value) ?? value) : value);

function date(value) {
  if (typeof value !== 'string') return value;
  if (NO_DATE.test(value)) return null;
  if (value.length < SHORTEST || value.endsWith('Z')) return value;
  const read = dateTime(value);
  return read === null ? value : `${new Date(read[0]).toISOString().slice(0, 19)}${read[1]}Z`;
}

const CONVERT = { flag, numeric, date };

// { entity: { column: kind } }, written from the bridge's own catalogue.
const catalogue = JSON.parse(readFileSync(process.env.PEER_CATALOGUE));
const conversions = new Map(
  Object.entries(catalogue).map(([entity, columns]) => [
    entity,
    Object.entries(columns)
      .filter(([, kind]) => kind in CONVERT)
      .map(([column, kind]) => [spell(column), CONVERT[kind]]),
  ]),
);

function fields(columns, entity) {
  const found = {};
  for (const name in columns) found[snakeCase(name)] = columns[name];
  for (const [name, convert] of conversions.get(entity.toLowerCase()) ?? []) {
    if (name in found) found[name] = convert(found[name]);
  }
  return found;
}

export function normalize(payload) {
  return {
    event: payload.event,
    entity: payload.entity,
    action: payload.action,
    primary_key: payload.primaryKey,
    context_identifier: payload.contextIdentifier,
    changed_by_associate_id: payload.changedByAssociateId,
    webhook_name: payload.webhookName,
    changes: payload.changes.map(snakeCase),
    field_values: fields(payload.fieldValues, payload.entity),
    values: fields(payload.values, payload.entity),
    properties: payload.properties,
  };
}

const UNUSED = {
  Entity: 'entity_unused',
  PrimaryKey: 'primary_key_unused',
  ContextIdentifier: 'context_identifier_unused',
  ChangedByAssociateId: 'changed_by_associate_id_unused',
  WebhookName: 'webhook_name_unused',
  Changes: 'changes_unused',
  Values: 'values_unused',
  FieldValues: 'field_values_unused',
};

// What was odd about a delivery, to be counted.
export function oddities(payload, headers) {
  const found = [];
  for (const name in payload.properties) if (name in UNUSED) found.push(UNUSED[name]);
  const { 'x-superoffice-event': event, 'x-superoffice-eventid': id } = headers;
  if (payload.eventId === null) found.push('no_event_id');
  else if (id !== undefined && id !== payload.eventId) found.push('header_event_id_differs');
  if (payload.timestamp === null) found.push('no_timestamp');
  if (event !== undefined && event !== payload.event) found.push('header_event_differs');
  return found;
}
