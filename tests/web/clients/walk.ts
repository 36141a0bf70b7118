// The five-step walk with a client that openapi-typescript and openapi-fetch make of the document alone: connect, list, sync,
// read, disconnect. It compiles, or the document is wrong.
import createClient from 'openapi-fetch';
import type { paths } from './schema.js';

const { METRIQLAB_URL: baseUrl = '', METRIQLAB_API_KEY: key = '' } = process.env;
const client = createClient<paths>({ baseUrl, headers: { 'x-api-key': key } });

/** What was asked for; an error of the API, with its code, is thrown. */
function data<T>(answer: { data?: { data: T }; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data.data;
}

/** Allows everything on the sandbox's consent page, as a creator would, and comes back. */
async function consent(authUrl: string): Promise<void> {
  const page = await (await fetch(authUrl)).text();
  const creator = page.match(/name="creator" value="([^"]+)"/)?.[1] ?? '';
  const form = new URLSearchParams({ creator, action: 'allow' });
  for (const scope of page.matchAll(/name="scope" value="([^"]+)"/g)) form.append('scope', scope[1] ?? '');
  const back = await fetch(authUrl, { method: 'POST', body: form });
  if (!back.ok) throw new Error(await back.text());
}

const externalRef = 'typescript-walk';
const once = { headers: { 'Idempotency-Key': crypto.randomUUID() } };
const begun = data(await client.POST('/api/v1/connect/tiktok', { body: { externalRef }, ...once }));
const again = data(await client.POST('/api/v1/connect/tiktok', { body: { externalRef }, ...once }));
if (begun.state !== again.state) throw new Error('the same request was answered twice');
await consent(begun.authUrl);
const listed = data(await client.GET('/api/v1/creators', { params: { query: { externalRef, status: 'ACTIVE' } } }));
const id = listed[0]?.id ?? '';
const path = { id };
const synced = data(await client.POST('/api/v1/creators/{id}/sync', { params: { path, header: { Prefer: 'wait=60' } } }));
if (!synced.synced) throw new Error(`not synced in a minute: ${JSON.stringify(synced)}`);
const profile = data(await client.GET('/api/v1/creators/{id}/profile', { params: { path } }));
const query = { sort: 'views', order: 'desc', limit: 5 } as const;
const videos = data(await client.GET('/api/v1/creators/{id}/videos', { params: { path, query } }));
const gone = data(await client.DELETE('/api/v1/creators/{id}', { params: { path, header: { Prefer: 'wait=60' } } }));
const refused = await client.GET('/api/v1/creators/{id}', { params: { path } });
console.log(JSON.stringify({
  creators: listed.length,
  username: profile.username,
  externalRef: profile.externalRef,
  views: videos.items.map((video) => video.views),
  disconnected: gone.disconnected,
  afterwards: refused.error?.error.code,
}));
