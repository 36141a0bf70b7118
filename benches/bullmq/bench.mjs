// BullMQ doing what shared/benches/queue/ asks of our queue, on the same Redis: the peer that our figures stand beside.
//
//   node bench.mjs REDIS_URL JOBS IDLE_JOBS CONCURRENCY CHUNK
//
// One process and one worker, as on our side. What BullMQ offers for speed is used: `addBulk`, jobs removed as they
// complete, no retries kept, payloads of one small object, and ioredis's auto pipelining, which puts the commands of one
// turn of the event loop into one write. Prints one JSON object: rates in jobs per second, times in milliseconds.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { Queue, QueueEvents, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const [url, jobs, idleJobs, concurrency, chunk] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const prefix = `bench-bullmq-${randomUUID()}`;
const connect = () => new Redis(url, { maxRetriesPerRequest: null, enableAutoPipelining: true });
const sweep = { removeOnComplete: true, removeOnFail: true };
const percentile = (samples, share) => samples.sort((a, b) => a - b)[Math.floor((samples.length - 1) * share)];

/** Everything added first, then worked off by one worker. */
async function throughput(name) {
  const queue = new Queue(name, { connection: connect(), prefix, defaultJobOptions: sweep });
  await queue.waitUntilReady();
  let start = performance.now();
  for (let added = 0; added < jobs; added += chunk) {
    const count = Math.min(chunk, jobs - added);
    await queue.addBulk(Array.from({ length: count }, () => ({ name: 'noop', data: {} })));
  }
  const enqueued = jobs / ((performance.now() - start) / 1000);

  const worker = new Worker(name, async () => {}, { connection: connect(), prefix, concurrency, autorun: false, ...sweep });
  await worker.waitUntilReady();
  let completed = 0;
  start = performance.now();
  await new Promise((resolve, reject) => {
    worker.on('completed', () => ++completed === jobs && resolve());
    worker.on('error', reject);
    worker.run().catch(reject);
  });
  const acknowledged = jobs / ((performance.now() - start) / 1000);
  await worker.close();
  await queue.obliterate({ force: true });
  await queue.close();
  return { enqueued, acknowledged };
}

/** Jobs one at a time, each awaited as a caller would. `waitUntilFinished` fails on a job that is gone already, so some stay. */
async function latency(name) {
  const keep = { removeOnComplete: { count: 1000 }, removeOnFail: true };
  const queue = new Queue(name, { connection: connect(), prefix, defaultJobOptions: keep });
  const events = new QueueEvents(name, { connection: connect(), prefix });
  const worker = new Worker(name, async () => {}, { connection: connect(), prefix, ...keep });
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady(), worker.waitUntilReady()]);
  const results = [];
  for (let round = 0; round < idleJobs + 100; round++) {
    const start = performance.now();
    const job = await queue.add('noop', {});
    await job.waitUntilFinished(events, 30_000);
    // The first ones load scripts and warm the compiler.
    if (round >= 100) results.push(performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await worker.close();
  await events.close();
  await queue.obliterate({ force: true });
  await queue.close();
  return { p50: percentile(results, 0.5), p99: percentile(results, 0.99), max: percentile(results, 1) };
}

const { version } = JSON.parse(readFileSync(new URL('./node_modules/bullmq/package.json', import.meta.url)));
const idle = idleJobs > 0 ? await latency('latency') : null;
const busy = jobs > 0 ? await throughput('throughput') : null;
console.log(JSON.stringify({ version, node: process.version, ...busy, ...idle }));
process.exit(0);
