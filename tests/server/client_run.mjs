// What the tests of JavaScript clients share: their packages, a server with the model that ships, the run.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { basename } from 'node:path';
import { startServer } from './start_server.mjs';

// A package is looked for in $TERN_NODE_MODULES (a folder that holds node_modules), where
// tools/install-openai-client puts it, and in the folders above this file. Exit status 77 where it is not
// there: skipped.
export function loadPackage(name) {
  const places = [new URL('../../build/openai-client/x.js', import.meta.url), import.meta.url];
  if (process.env.TERN_NODE_MODULES) places.unshift(`${process.env.TERN_NODE_MODULES}/x.js`);
  for (const place of places) {
    try {
      return createRequire(place)(name);
    } catch (error) {
      if (error.code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  const test = basename(process.argv[1], '.mjs');
  console.log(`skipped: ${test}: the npm package "${name}" is not there; tools/install-openai-client installs it`);
  process.exit(77);
}

// Until the server does nothing any more, soon.
export async function untilIdle(url) {
  for (let tries = 0; ; ++tries) {
    const health = await (await fetch(new URL('/health', url))).json();
    if (health.running === 0) break;
    assert.ok(tries < 100, 'the request still runs');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// Runs `tests`, each with (client, model, url), against the program that the command line names, and exits.
// `makeClient` takes the server's URL.
export async function runClient(tests, makeClient) {
  const { server, started } = await startServer(process.argv[2], []);
  const client = makeClient(started.url);
  let failed = 0;
  try {
    for (const [name, run] of Object.entries(tests)) {
      try {
        await run(client, started.model, started.url);
        console.log(`ok ${name}`);
      } catch (error) {
        console.log(`FAILED ${name}: ${error.stack}`);
        ++failed;
      }
    }
  } finally {
    server.kill('SIGTERM');
  }
  const status = await new Promise((resolve) => server.on('exit', resolve));
  if (status !== 0) {
    console.log(`FAILED stop: exit status ${status}`);
    ++failed;
  }
  process.exit(failed === 0 ? 0 : 1);
}
