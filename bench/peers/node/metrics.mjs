// What the bridge counts for every event, with prom-client.

import { Counter, Histogram, Registry } from 'prom-client';

const registry = new Registry();
const registers = [registry];
const counter = (name, ...labelNames) =>
  new Counter({ name: `superoffice_bridge_${name}_total`, help: name, labelNames, registers });

export const received = counter('received', 'endpoint');
export const rejected = counter('rejected', 'endpoint', 'reason');
export const accepted = counter('accepted', 'endpoint', 'status');
export const published = counter('published', 'endpoint');
export const oddity = counter('oddities', 'kind');
export const stageSeconds = new Histogram({
  name: 'superoffice_bridge_stage_seconds',
  help: 'Latency of requests answered 200',
  labelNames: ['stage'],
  buckets: [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
  registers,
});

export const render = () => registry.metrics();
