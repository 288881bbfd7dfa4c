// The AI SDK (packages "ai" and "@ai-sdk/openai-compatible") against `tern serve` with the model that ships:
//
//   node ai_sdk_client.mjs path/to/tern
import assert from 'node:assert/strict';
import { loadPackage, runClient, untilIdle } from './client_run.mjs';

const { createOpenAICompatible } = loadPackage('@ai-sdk/openai-compatible');
const { APICallError, generateText, streamText } = loadPackage('ai');

const messages = [{ role: 'user', content: 'Once upon a time' }];

const tests = {
  async chat(provider, model) {
    const answer = await generateText({ model: provider(model), messages, maxOutputTokens: 20, seed: 1 });
    assert.ok(answer.text.length > 0);
    assert.equal(answer.finishReason, 'length');
    assert.equal(answer.usage.outputTokens, 20);
    assert.equal(answer.response.modelId, model);
  },

  async streamAddsUp(provider, model) {
    const request = { model: provider(model), messages, maxOutputTokens: 40, temperature: 0.8, topP: 0.9, seed: 2 };
    const whole = await generateText(request);
    const stream = streamText(request);
    let text = '';
    for await (const part of stream.textStream) text += part;
    assert.equal(text, whole.text);
    assert.equal(await stream.finishReason, whole.finishReason);
    assert.deepEqual((await stream.usage).outputTokens, whole.usage.outputTokens);
  },

  async completions(provider, model) {
    const request = {
      model: provider.completionModel(model), prompt: 'One day', maxOutputTokens: 60, seed: 4, stopSequences: ['.', '!'],
    };
    const whole = await generateText(request);
    assert.ok(!/[.!]/.test(whole.text), whole.text);
    let text = '';
    for await (const part of streamText(request).textStream) text += part;
    assert.equal(text, whole.text);
  },

  async errors(provider, model) {
    const error = await generateText({ model: provider(model), messages, temperature: 3000, maxRetries: 0 }).then(
      () => assert.fail('expected an error'), (reason) => reason);
    assert.ok(APICallError.isInstance(error), String(error));
    assert.equal(error.statusCode, 400);
    assert.match(error.message, /temperature/);
    assert.equal(error.data.error.param, 'temperature');
  },

  async abortCancels(provider, model, url) {
    const stop = new AbortController();
    const stream = streamText({ model: provider(model), messages, abortSignal: stop.signal });
    for await (const part of stream.textStream) {
      assert.ok(part.length > 0);
      stop.abort();
    }
    await untilIdle(url);
  },
};

await runClient(tests, (url) => createOpenAICompatible({
  name: 'tern', baseURL: `${url}/v1`, apiKey: 'none', includeUsage: true,
}));
