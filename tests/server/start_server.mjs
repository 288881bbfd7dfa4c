// Starts `tern serve` on a free port, for the tests that are written for node.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

// {server: the process, started: {url, port, model}}
export async function startServer(program, options) {
  const server = spawn(program, ['serve', '--port', '0', '--json', ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: server.stdout })) {
    return { server, started: JSON.parse(line) };
  }
  throw new Error('the server did not start');
}
