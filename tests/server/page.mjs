// The chat page in a headless Chromium, against `tern serve` with the model that ships:
//
//   node page.mjs path/to/tern [folder for screenshots]
//
// Exit status 77 where there is no Chromium: skipped. $CHROMIUM names another program.
import assert from 'node:assert/strict';
import { accessSync, constants, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Chromium } from './chromium.mjs';
import { startServer } from './start_server.mjs';

function findChromium() {
  const folders = (process.env.PATH ?? '').split(':');
  const names = ['chromium', 'chromium-browser', 'google-chrome'].flatMap((name) => folders.map((folder) => join(folder, name)));
  for (const name of [process.env.CHROMIUM, ...names]) {
    try {
      if (name) accessSync(name, constants.X_OK);
      if (name) return name;
    } catch {
      // not here
    }
  }
  console.log('skipped: page: no chromium here');
  process.exit(77);
}

const [program, pictures] = process.argv.slice(2);
const chromium = findChromium();

async function picture(browser, name) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  writeFileSync(join(pictures, `${name}.png`), await browser.screenshot());
}

const set = (id, value) => `document.getElementById('${id}').value = '${value}'`;
const text = (selector) => `(document.querySelector('${selector}')?.textContent ?? '')`;
const focused = 'document.activeElement.id';
const idle = 'document.getElementById("stop").hidden && !document.getElementById("input").disabled';
const stream = (...chunks) => chunks.map((chunk) => `data: ${typeof chunk === 'string' ? chunk : JSON.stringify(chunk)}\n\n`).join('');
const piece = (content, tokens) => ({ choices: [{ delta: { content }, steps: [{ tokens, drafted: 4 }] }] });

async function send(browser, message) {
  await browser.type(message);
  await browser.press('Enter');
}

const tests = {
  async writesByKeyboard(browser) {
    assert.equal(await browser.value(focused), 'input');
    await browser.value(`${set('max-tokens', 120)}; ${set('temperature', 0.5)}; ${set('seed', 3)}`);
    await browser.type('One day, a little girl');
    await browser.press('Enter', 8);  // Shift
    assert.equal(await browser.value('document.getElementById("input").value'), 'One day, a little girl\n');
    await browser.value(set('input', ''));
    await send(browser, 'One day, a little girl');
    await browser.until(`${idle} && ${text('.assistant .note')} !== ''`);
    assert.match(await browser.value(text('.assistant .note')), /^120 tokens · [\d.]+ tokens\/s · .*drafting: .*limit of 120/);
    const runs = await browser.value('[...document.querySelectorAll(".assistant .text span")].map((run) => run.className)');
    assert.ok(runs.includes('run-1') && runs.length < 120, runs.join());
    assert.equal(await browser.value(focused), 'input');
    assert.equal(await browser.value('document.getElementById("log").getAttribute("aria-busy")'), 'false');
  },

  async writesTheSameAgain(browser) {
    const before = await browser.value(text('.assistant .text'));
    await browser.value('document.querySelector(".assistant .actions button").click()');
    await browser.until(`${idle} && ${text('.assistant .note')} !== ''`);
    assert.equal(await browser.value(text('.assistant .text')), before);
    await send(browser, ' Then the dog');
    await browser.until(`${idle} && document.querySelectorAll('.assistant .note').length === 2`);
    await picture(browser, 'desktop-light');
    await browser.show(1100, 800, 'dark');
    await picture(browser, 'desktop-dark');
  },

  async fitsAPhone(browser) {
    for (const scheme of ['light', 'dark']) {
      await browser.show(360, 740, scheme);
      await browser.value('document.getElementById("scroll").scrollTop = 1e6');
      assert.ok(await browser.value('document.documentElement.scrollWidth <= 360'));
      const outside = '[...document.querySelectorAll("button, textarea")].filter((e) => e.getBoundingClientRect().right > 360).length';
      assert.equal(await browser.value(outside), 0);
      await picture(browser, `phone-${scheme}`);
      await browser.value('document.getElementById("open-settings").click()');
      assert.ok(await browser.value('document.getElementById("settings").getBoundingClientRect().right <= 360'));
      await picture(browser, `phone-settings-${scheme}`);
      await browser.press('Escape');
      assert.equal(await browser.value('document.getElementById("settings").open'), false);
    }
    await browser.show(1100, 800, 'light');
  },

  async escapeStops(browser, url) {
    await browser.value(`begin(); ${set('max-tokens', 1000)}; ${set('seed', '')}; ${set('temperature', 1)}`);
    // An answer that takes long although the model is small.
    await browser.value('window.usualBody = requestBody; requestBody = () => ({ ...usualBody(), ignore_eos: true, n: 64 }); 0');
    await send(browser, 'Once');
    await browser.until(`${text('.assistant .text')} !== ''`);
    await browser.press('Escape');
    await browser.until(idle);
    await browser.value('requestBody = usualBody; 0');
    assert.match(await browser.value(text('.assistant .note')), /stopped$/);
    for (let tries = 0; (await (await fetch(`${url}/health`)).json()).running > 0; ++tries) {
      assert.ok(tries < 100, 'the request still runs');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await browser.press('ArrowUp');  // takes the last turn back for editing
    assert.equal(await browser.value('document.getElementById("input").value'), 'Once');
    assert.equal(await browser.value('state.turns.length'), 0);
    await browser.value(set('input', ''));
  },

  async textIsNeverMarkup(browser) {
    const evil = '<script>window.evil = 1</script><img src=x onerror="window.evil = 1"><b>bold</b>';
    await browser.fake(200, 'text/event-stream',
      stream(piece(evil, 3), piece(' end', 1), { choices: [{ delta: {}, finish_reason: 'stop' }] }, '[DONE]'));
    await send(browser, evil);
    await browser.until(`${idle} && ${text('.assistant .note')} !== ''`);
    await browser.fake();
    assert.equal(await browser.value(text('.assistant .text')), `${evil} end`);
    assert.equal(await browser.value(text('.user .text')), evil);
    assert.equal(await browser.value('document.querySelectorAll("#log img, #log script, #log b").length'), 0);
    assert.equal(await browser.value('window.evil'), undefined);
    assert.equal(await browser.value(text('.assistant .run-3')), evil);
    assert.match(await browser.value(text('.assistant .note')), /4 tokens/);
  },

  async failuresAreSaid(browser) {
    const says = async (status, body, type, words) => {
      await browser.value('begin()');
      await browser.fake(status, type, body);
      await send(browser, 'x');
      await browser.until(`${idle} && !document.getElementById('error').hidden`);
      await browser.fake();
      assert.match(await browser.value(text('#error p')), words);
    };
    const json = (code, message) => JSON.stringify({ error: { message, code } });
    await says(429, json('queue_full', 'full'), 'application/json', /server is busy/);
    await says(400, json('context_length_exceeded', 'the context is 512 tokens'), 'application/json', /longer than .*512/);
    await says(400, json('invalid_value', 'temperature is 3'), 'application/json', /^Temperature is 3\.$/);
    await says(502, '<html>bad gateway</html>', 'text/html', /status 502/);
    await says(200, stream(piece('a', 1), { error: { message: 'the request failed' } }), 'text/event-stream', /^The request failed/);
    await says(200, stream(piece('a', 1)), 'text/event-stream', /broke off/);
    await picture(browser, 'error-light');
    await browser.value('document.querySelector("#error button").click()');
    await browser.until(`${idle} && document.getElementById('error').hidden`);
    assert.equal(await browser.value('state.turns.length'), 2);
  },

  async keepsNothingUnlessAsked(browser, url) {
    assert.equal(await browser.value('localStorage.length'), 0);
    await browser.go(`${url}/`);
    await browser.until(idle);
    assert.equal(await browser.value('state.turns.length'), 0);
    await browser.value(`document.getElementById('keep').checked = true; ${set('max-tokens', 8)}`);
    await send(browser, 'The end');
    await browser.until(`${idle} && ${text('.assistant .note')} !== ''`);
    const before = await browser.value(text('#log'));
    await browser.go(`${url}/?again`);
    await browser.until(idle);
    assert.equal(await browser.value(text('#log')), before);
    await browser.value('document.getElementById("keep").checked = false; save()');
    assert.equal(await browser.value('localStorage.length'), 0);
  },

  async asksForNothingOutside(browser, url) {
    assert.deepEqual(browser.requests.filter((name) => !name.startsWith(url) && !name.startsWith('data:')), []);
    // Failures that the test itself made are listed too.
    assert.deepEqual(browser.problems.filter((problem) => !problem.startsWith('Failed to load resource')), []);
  },
};

async function keysAreAskedFor(browser, url) {
  await browser.open(`${url}/`);
  await browser.show(360, 740, 'light');
  await browser.until(`${focused} === 'key'`);
  await browser.type('wrong');
  await browser.press('Enter');
  await browser.until('!document.getElementById("error").hidden');
  await picture(browser, 'phone-key');
  await browser.value(set('key', ''));
  await send(browser, 'secret-key-of-a-test');
  await browser.until(idle);
  assert.equal(await browser.value('document.getElementById("key-panel").hidden'), true);
  await browser.value(set('max-tokens', 8));
  await send(browser, 'x');
  await browser.until(`${idle} && ${text('.assistant .note')} !== ''`);
}

async function continuesWhereThereIsNoTemplate(browser, url) {
  await browser.open(`${url}/`);
  await browser.show(360, 740, 'light');
  await browser.until(idle);
  assert.match(await browser.value(text('#hint')), /no chat template/);
  assert.equal(await browser.value(text('#send')), 'Continue');
  await browser.value(`${set('max-tokens', 20)}; ${set('seed', 1)}; ${set('temperature', 0)}`);
  await send(browser, 'Once upon a time');
  await browser.until(`${idle} && ${text('.assistant .note')} !== ''`);
  await browser.press('Enter');  // further
  await browser.until(`${idle} && document.querySelectorAll('.assistant .note:not([hidden])').length === 2`);
  await picture(browser, 'phone-completion');
  const whole = await browser.value('state.turns.map((turn) => turn.content).join("")');
  const answer = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    body: JSON.stringify({ prompt: 'Once upon a time', max_tokens: 40, temperature: 0, seed: 1, echo: true }),
  });
  assert.equal(whole, (await answer.json()).choices[0].text);
}

let failed = 0;
async function check(name, run) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`FAILED ${name}: ${error.stack.slice(0, 2000)}`);
    ++failed;
  }
}

async function withServer(options, run) {
  const { server, started } = await startServer(program, options);
  const ended = new Promise((resolve) => server.on('exit', resolve));
  await run(started.url);
  server.kill('SIGTERM');
  await check('stop', async () => assert.equal(await ended, 0));
}

const browser = new Chromium(chromium);
await withServer([], async (url) => {
  await browser.open(`${url}/`);
  await browser.show(1100, 800, 'light');
  await browser.until(idle);
  for (const [name, run] of Object.entries(tests)) await check(name, () => run(browser, url));
});
const plain = join(browser.folder, 'plain');
cpSync(fileURLToPath(new URL('../../tools/model', import.meta.url)), plain,
  { recursive: true, filter: (path) => basename(path) !== 'tokenizer_config.json' });
await withServer(['--model', plain], (url) => check('continuesWhereThereIsNoTemplate',
  () => continuesWhereThereIsNoTemplate(browser, url)));
process.env.TERN_API_KEYS = 'secret-key-of-a-test';
await withServer([], (url) => check('keysAreAskedFor', () => keysAreAskedFor(browser, url)));
await browser.close();
process.exit(failed === 0 ? 0 : 1);
