// The image and the composition: nothing here builds them, so what they name is looked up.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const HERE = import.meta.dirname;
const ROOT = join(HERE, '../..');
const PROGRAM = process.env.METRIQLAB_PROGRAM;

// Settings that the composition leaves alone, each for a reason.
const EXEMPT = {
  METRIQLAB_BIND: 'the image sets it: a container listens on all of its addresses, on the port that is published',
  METRIQLAB_METRICS_BIND: "the worker's alone, which is given an address",
  TIKTOK_RATE_WINDOW: 'TikTok has one window; only a sandbox that is tried out has another',
};
const EXEMPT_IN_SANDBOX = {
  METRIQLAB_SANDBOX_APP: 'a web app is the default, as the API here is one',
  METRIQLAB_SANDBOX_CONTROL: 'for callers on loopback alone, and so for nobody outside the container',
  METRIQLAB_SANDBOX_CREATORS: 'a trial has demo creators enough',
  METRIQLAB_SANDBOX_LATENCY: 'a trial is quick',
  METRIQLAB_SANDBOX_SEED: 'a trial has any creators',
  TIKTOK_RATE_WINDOW: "TikTok's own is the default",
  OTEL_EXPORTER_OTLP_ENDPOINT: 'the stand-in is no part of a trace',
  METRIQLAB_LOG_FORMAT: 'its log is for people',
  RUST_LOG: 'its log is for people',
};

const read = (path) => readFileSync(join(ROOT, path), 'utf8');

/** A YAML file's content, by the parser that schemathesis brings. */
function yaml(path) {
  const script = 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout, default=str)';
  const { status, stdout, stderr } = spawnSync(join(HERE, '.venv/bin/python'), ['-c', script], { input: read(path), encoding: 'utf8' });
  assert.equal(status, 0, `${path}: ${stderr}`);
  return JSON.parse(stdout);
}

/** The environment variables that a command's help lists. */
function settings(command) {
  const { status, stdout } = spawnSync(PROGRAM, [command, '--help'], { encoding: 'utf8', env: {} });
  assert.equal(status, 0, `there is no command ${command}`);
  const found = [...stdout.replace(/\s+/g, ' ').matchAll(/\[env: ([A-Z_]+)/g)].map(([, name]) => name);
  assert.ok(found.includes('RUST_LOG'), stdout);
  return [...new Set(found)];
}

const compose = yaml('docker-compose.yml');

test('the composition has its services, each of the program with a command that there is', () => {
  for (const name of ['api', 'worker', 'migrate', 'sandbox', 'postgres', 'redis']) assert.ok(compose.services[name], name);
  const ours = Object.values(compose.services).filter(({ image }) => image === 'metriqlab');
  assert.deepEqual(ours.map(({ command }) => command).sort(), ['api', 'migrate', 'sandbox', 'worker']);
  for (const { command, build } of ours) {
    assert.ok(settings(command).length > 0);
    assert.equal(build, '.');
  }
  for (const service of Object.values(compose.services)) {
    for (const other of Object.keys(service.depends_on ?? {})) {
      assert.ok(compose.services[other], other);
      const { condition } = service.depends_on[other];
      if (condition === 'service_healthy') assert.ok(compose.services[other].healthcheck.test, `${other} can be healthy`);
    }
    for (const volume of service.volumes ?? []) {
      const [place] = volume.split(':');
      assert.ok(place.startsWith('./') ? existsSync(join(ROOT, place)) : place in compose.volumes, volume);
    }
  }
});

test('every setting of the program can be set in the composition, by its own name, or has a reason not to be', () => {
  const known = new Set(['api', 'worker', 'migrate', 'sandbox'].flatMap(settings));
  for (const [service, exempt] of [['api', EXEMPT], ['worker', EXEMPT], ['migrate', EXEMPT], ['sandbox', EXEMPT_IN_SANDBOX]]) {
    const given = compose.services[service].environment;
    const missing = settings(service).filter((name) => !(name in given) && !(name in exempt));
    assert.deepEqual(missing, [], `${service} can't be told these; see docker-compose.yml, or the reasons in this test`);
    for (const [name, value] of Object.entries(given)) {
      assert.ok(known.has(name), `${service}: the program knows no ${name}`);
      const [, of] = String(value).match(/^\$\{(\w+)/) ?? [];
      assert.ok(of === undefined || of === name, `${service}: ${name} is set by ${of}`);
    }
  }
  // The list of reasons keeps no setting that is gone, or that is set after all.
  for (const name of [...Object.keys(EXEMPT), ...Object.keys(EXEMPT_IN_SANDBOX)]) assert.ok(known.has(name), name);
  for (const name of Object.keys(EXEMPT)) assert.ok(!(name in compose.services.api.environment), name);
  for (const name of Object.keys(EXEMPT_IN_SANDBOX)) assert.ok(!(name in compose.services.sandbox.environment), name);
  assert.ok('METRIQLAB_METRICS_BIND' in compose.services.worker.environment);
});

/** The Dockerfile's instructions, continued lines joined: name and the rest. */
function instructions() {
  const lines = read('Dockerfile').replace(/^#.*\n/gm, '').replace(/ *\\\n\s*/g, ' ').split('\n').filter(Boolean);
  return lines.map((line) => [line.split(' ')[0], line.slice(line.indexOf(' ') + 1)]);
}

test('the image is built of what is here, and starts the program that was built', () => {
  const all = instructions();
  const of = (name) => all.filter(([found]) => found === name).map(([, rest]) => rest);
  // The whole repository is the source; what is held back is no part of a build.
  const [source, built] = of('COPY');
  assert.equal(source, '. .');
  const held = read('.dockerignore').split('\n').filter(Boolean);
  const { stdout } = spawnSync('git', ['ls-files'], { cwd: ROOT, encoding: 'utf8' });
  const files = stdout.split('\n').filter(Boolean);
  assert.ok(files.includes('Cargo.lock'), 'cargo build --locked needs it');
  assert.deepEqual(files.filter((file) => held.some((name) => file === name || file.startsWith(`${name}/`))), []);
  // What is compiled is what is copied on, and what is started.
  const [, binary, target] = of('RUN')[0].match(/cargo build --locked --release --bin (\w+) && cp target\/release\/\1 (\S+)$/);
  assert.match(read('Cargo.toml'), new RegExp(`^name = "${binary}"$`, 'm'));
  assert.ok(existsSync(join(ROOT, 'src/main.rs')));
  const [, stage, from, place] = built.match(/^--from=(\w+) (\S+) \/usr\/local\/bin\/(\S+)$/);
  assert.ok(of('FROM').some((line) => line.endsWith(` AS ${stage}`)), stage);
  assert.deepEqual([from, place, JSON.parse(of('ENTRYPOINT')[0])], [target, binary, [binary]]);
  // No root, a port that is the one listened on, and a health check that the program knows.
  assert.match(of('FROM').at(-1), /:nonroot$/);
  const [, port] = of('ENV')[0].match(/^METRIQLAB_BIND=0\.0\.0\.0:(\d+)$/);
  assert.deepEqual([of('EXPOSE'), compose.services.api.ports], [[port], [`127.0.0.1:${port}:${port}`]]);
  assert.ok(settings(JSON.parse(of('CMD')[0])[0]).length > 0);
  const checks = [JSON.parse(of('HEALTHCHECK')[0].match(/CMD (\[.*\])$/)[1]), compose.services.worker.healthcheck.test.slice(1)];
  for (const [program, command, url] of checks) {
    assert.deepEqual([program, command], [binary, 'healthcheck']);
    assert.equal(spawnSync(PROGRAM, [command, '--help']).status, 0);
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/healthz$/);
  }
  assert.equal(new URL(checks[0][2]).port, port);
  assert.ok(compose.services.worker.environment.METRIQLAB_METRICS_BIND.endsWith(`:${new URL(checks[1][2]).port}`));
});
