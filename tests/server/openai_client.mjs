// The official openai client against `tern serve` with the model that ships:
//
//   node openai_client.mjs path/to/tern
import assert from 'node:assert/strict';
import { loadPackage, runClient, untilIdle } from './client_run.mjs';

const { APIUserAbortError, OpenAI, BadRequestError, NotFoundError } = loadPackage('openai');

const messages = [{ role: 'user', content: 'Once upon a time' }];

const tests = {
  async models(client, model) {
    const list = [];
    for await (const entry of client.models.list()) list.push(entry);
    assert.equal(list.length, 1);
    assert.deepEqual(await client.models.retrieve(model), list[0]);
    assert.equal(list[0].object, 'model');
    await assert.rejects(client.models.retrieve('nothing'), NotFoundError);
  },

  async chat(client, model) {
    const answer = await client.chat.completions.create({ model, messages, max_tokens: 20, seed: 1 });
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.choices[0].message.role, 'assistant');
    assert.equal(answer.choices[0].message.refusal, null);
    assert.equal(answer.usage.completion_tokens, 20);
    assert.ok(answer._request_id);
  },

  async rawStreamAddsUp(client, model) {
    const request = { model, messages, max_tokens: 40, seed: 2, n: 2 };
    const whole = await client.chat.completions.create(request);
    const stream = await client.chat.completions.create({
      ...request, stream: true, stream_options: { include_usage: true },
    });
    const texts = ['', ''];
    let usage = null;
    for await (const chunk of stream) {
      for (const choice of chunk.choices) texts[choice.index] += choice.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    assert.deepEqual(texts, whole.choices.map((choice) => choice.message.content));
    assert.deepEqual(usage, whole.usage);
  },

  async streamHelper(client, model) {
    const request = {
      model, messages, max_tokens: 30, seed: 3, logprobs: true, top_logprobs: 2,
    };
    const whole = await client.chat.completions.create(request);
    const stream = client.chat.completions.stream({
      ...request, stream_options: { include_usage: true },
    });
    let text = '';
    stream.on('content', (delta) => { text += delta; });
    const final = await stream.finalChatCompletion();
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(final.choices[0].message.content, text);
    assert.equal(final.choices[0].finish_reason, whole.choices[0].finish_reason);
    assert.deepEqual(final.choices[0].logprobs.content, whole.choices[0].logprobs.content);
    assert.deepEqual(final.usage, whole.usage);
  },

  async streamHelperEvents(client, model) {
    const stream = client.chat.completions.stream({ model, messages, max_tokens: 25, seed: 6, n: 2 });
    const seen = { chunk: 0, 'content.done': 0, finalContent: 0, end: 0 };
    for (const name of Object.keys(seen)) stream.on(name, () => { ++seen[name]; });
    const final = await stream.finalChatCompletion();
    const whole = await client.chat.completions.create({ model, messages, max_tokens: 25, seed: 6, n: 2 });
    assert.deepEqual(final.choices.map((choice) => choice.message.content),
      whole.choices.map((choice) => choice.message.content));
    assert.ok(seen.chunk > 2 && seen['content.done'] === 2 && seen.finalContent === 1 && seen.end === 1,
      JSON.stringify(seen));
  },

  async streamHelperAbort(client, model, url) {
    const stream = client.chat.completions.stream({ model, messages, n: 64, ignore_eos: true });
    stream.once('content', () => stream.abort());
    await assert.rejects(stream.done(), APIUserAbortError);
    await untilIdle(url);
  },

  async streamHelperError(client, model) {
    const stream = client.chat.completions.stream({ model, messages, temperature: 3000 });
    const error = await stream.done().then(() => assert.fail('expected an error'), (reason) => reason);
    assert.deepEqual([error.status, error.param, error.code], [400, 'temperature', 'invalid_value']);
  },

  async completions(client, model) {
    const request = {
      model, prompt: ['One day', 'The dog'], max_tokens: 20, seed: 4, logprobs: 2,
      stop: ['.', '!'],
    };
    const whole = await client.completions.create(request);
    assert.equal(whole.object, 'text_completion');
    assert.equal(whole.choices.length, 2);
    const texts = ['', ''];
    for await (const chunk of await client.completions.create({ ...request, stream: true })) {
      texts[chunk.choices[0].index] += chunk.choices[0].text;
    }
    assert.deepEqual(texts, whole.choices.map((choice) => choice.text));
    const { tokens, token_logprobs: logprobs } = whole.choices[0].logprobs;
    assert.equal(tokens.join(''), whole.choices[0].text);
    assert.equal(logprobs.length, tokens.length);
  },

  async errors(client, model) {
    const fails = async (fields, status, param, code) => {
      const error = await client.chat.completions.create({ model, messages, ...fields }).then(
        () => assert.fail('expected an error'), (reason) => reason);
      assert.ok(error instanceof BadRequestError, String(error));
      assert.deepEqual([error.status, error.param, error.code], [status, param, code]);
      assert.equal(error.type, 'invalid_request_error');
      assert.ok(error.requestID);
    };
    await fails({ temperature: 3000 }, 400, 'temperature', 'invalid_value');
    await fails({ tools: [{ type: 'function' }], stream: true }, 400, 'tools[0].function', 'invalid_value');
    const long = [{ role: 'user', content: 'word '.repeat(5000) }];
    await fails({ messages: long }, 400, 'messages', 'context_length_exceeded');
  },

  async breakingOutCancels(client, model, baseURL) {
    const stream = await client.chat.completions.create({
      model, messages, n: 64, stream: true, ignore_eos: true,
    });
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.content) break;
    }
    await untilIdle(baseURL);
  },

  async together(client, model) {
    const ask = (seed) => client.chat.completions.create({ model, messages, max_tokens: 20, seed });
    const alone = [];
    for (const seed of [1, 2, 3, 4]) alone.push((await ask(seed)).choices[0].message.content);
    const together = await Promise.all([1, 2, 3, 4].map(ask));
    assert.deepEqual(together.map((answer) => answer.choices[0].message.content), alone);
  },
};

await runClient(tests, (url) => new OpenAI({ apiKey: 'none', baseURL: `${url}/v1`, maxRetries: 0 }));
