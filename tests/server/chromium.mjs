// A headless Chromium, driven through its debugging pipe: no package is needed.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Chromium {
  constructor(program) {
    this.folder = mkdtempSync(join(tmpdir(), 'tern-page-'));
    // Containers seldom allow its sandbox; it sees only what this test serves.
    this.process = spawn(program, ['--headless=new', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu',
      '--disable-dev-shm-usage', '--hide-scrollbars', `--user-data-dir=${this.folder}`, 'about:blank'],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((resolve) => this.process.on('exit', resolve));
    this.next = 1;
    this.waiting = new Map();
    this.listeners = [];
    let rest = '';
    this.process.stdio[4].setEncoding('utf8');
    this.process.stdio[4].on('data', (text) => {
      const messages = (rest + text).split('\0');
      rest = messages.pop();
      for (const message of messages) this.#take(JSON.parse(message));
    });
  }
  #take(message) {
    const waiting = this.waiting.get(message.id);
    if (!waiting) return this.listeners.forEach((listen) => listen(message));
    this.waiting.delete(message.id);
    if (message.error) waiting.reject(new Error(message.error.message));
    else waiting.resolve(message.result);
  }
  send(method, params = {}) {
    const id = this.next++;
    this.process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: this.session })}\0`);
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }
  // Opens the tab that all that follows is about.
  async open(url) {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    this.session = (await this.send('Target.attachToTarget', { targetId, flatten: true })).sessionId;
    this.problems = [];  // what the console and the network say
    this.requests = [];
    this.listeners = [({ method, params }) => {
      if (method === 'Runtime.exceptionThrown') this.problems.push(params.exceptionDetails.exception?.description);
      if (method === 'Log.entryAdded') this.problems.push(`${params.entry.text} ${params.entry.url ?? ''}`);
      if (method === 'Network.requestWillBeSent') this.requests.push(params.request.url);
    }];
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await this.send(`${domain}.enable`);
    await this.go(url);
  }
  async go(url) {
    await this.send('Page.navigate', { url });
    await this.until('document.readyState === "complete"');
  }
  // The value of an expression in the page.
  async value(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate',
      { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  }
  async until(expression) {
    for (let tries = 0; tries < 400; ++tries, await sleep(50)) {
      if (await this.value(expression)) return;
    }
    throw new Error(`did not come true: ${expression}`);
  }
  type(text) {
    return this.send('Input.insertText', { text });
  }
  async press(key, modifiers = 0) {
    const codes = { Enter: 13, Escape: 27, ArrowUp: 38, Tab: 9 };
    const params = { key, code: key, windowsVirtualKeyCode: codes[key], modifiers };
    const text = key === 'Enter' ? '\r' : undefined;
    await this.send('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', text, ...params });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...params });
  }
  show(width, height, scheme) {
    return Promise.all([
      this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 2, mobile: width < 600 }),
      this.send('Emulation.setTouchEmulationEnabled', { enabled: width < 600 }),
      this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] }),
    ]);
  }
  async screenshot() {
    return Buffer.from((await this.send('Page.captureScreenshot', { format: 'png' })).data, 'base64');
  }
  // What the page fetches is this from now on, whatever it asks; without arguments: the server's.
  fake(status, type, body) {
    const answer = `new Response(${JSON.stringify(body)}, { status: ${status}, headers: { 'content-type': '${type}' } })`;
    return this.value(`window.usualFetch ??= window.fetch; window.fetch = ${status ? `async () => ${answer}` : 'usualFetch'}; 0`);
  }
  async close() {
    this.process.kill();
    await this.ended;
    // Its helpers may write a little longer, and rmSync's own retries do not list a folder again.
    for (let tries = 1; ; ++tries, await sleep(50)) {
      try {
        return rmSync(this.folder, { recursive: true, force: true });
      } catch (error) {
        if (error.code !== 'ENOTEMPTY' || tries === 100) throw error;
      }
    }
  }
}
