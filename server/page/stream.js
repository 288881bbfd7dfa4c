
'use strict';

// --- What comes from the server. No function here touches the page.

// Objects of a server-sent stream, from text that arrives in any pieces.
class EventParser {
  constructor() {
    this.rest = '';
    this.done = false;  // the stream has ended as it should
  }
  take(text) {
    const blocks = (this.rest + text).split('\n\n');
    this.rest = blocks.pop();
    const objects = [];
    for (const block of blocks) {
      if (!block.startsWith('data: ')) continue;  // a comment that keeps the connection alive
      if (block === 'data: [DONE]') this.done = true;
      else objects.push(JSON.parse(block.slice(6)));
    }
    return objects;
  }
}

// What one answer cost, from its chunks as they come.
class Counts {
  constructor() {
    this.tokens = 0;
    this.verified = 0;  // tokens of passes that verified drafts
    this.verifySteps = 0;
    this.firstAt = 0;
    this.firstTokens = 0;
  }
  // `steps` of a chunk, which arrived at `now` (milliseconds).
  add(steps, now) {
    for (const step of steps) {
      this.tokens += step.tokens;
      if (step.drafted > 0) {
        this.verified += step.tokens;
        ++this.verifySteps;
      }
    }
    if (this.firstTokens === 0 && this.tokens > 0) {
      this.firstAt = now;
      this.firstTokens = this.tokens;
    }
    this.lastAt = now;
  }
  // Tokens behind the first chunk's, per second; 0 where it cannot be told.
  speed() {
    const seconds = (this.lastAt - this.firstAt) / 1000;
    return seconds > 0 ? (this.tokens - this.firstTokens) / seconds : 0;
  }
  // Tokens that a pass adds which verifies drafts.
  acceptance() {
    return this.verifySteps > 0 ? this.verified / this.verifySteps : 0;
  }
}

function numberWords(tokens, speed, acceptance) {
  const words = [`${tokens} ${tokens === 1 ? 'token' : 'tokens'}`];
  if (speed > 0) words.push(`${speed < 100 ? speed.toFixed(1) : Math.round(speed)} tokens/s`);
  if (acceptance > 0) words.push(`acceptance length ${acceptance.toFixed(2)}`);
  return words.join(' · ');
}

// The line below an answer that has ended.
function summaryWords(tokens, timings, finish, limit) {
  if (!timings) return numberWords(tokens, 0, 0);
  const accepted = timings.verify_steps > 0 ? timings.acceptance_length : 0;
  let words = numberWords(tokens, timings.decode_tokens_per_second, accepted);
  words += ` · drafting: ${timings.draft}`;
  if (timings.draft_reason) words += ` (${timings.draft_reason})`;
  if (finish !== 'length') return words;
  return words + (tokens >= limit ? ` · ended at the limit of ${limit} tokens` : ' · ended: the context is full');
}

// A failure as somebody who has never seen HTTP would say it.
class Failure extends Error {
  constructor(message, status = 0, code = '') {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function failureOf(status, body, retryAfter) {
  let error = {};
  try {
    error = JSON.parse(body).error || {};
  } catch {
    // not from tern: a proxy between may answer anything
  }
  const said = error.message || '';
  const sentence = said ? said[0].toUpperCase() + said.slice(1) + '.' : '';
  if (error.code === 'context_length_exceeded') {
    return new Failure('The conversation has become longer than what this model can read at once. ' + sentence, status, error.code);
  }
  if (status === 401) return new Failure('The server did not accept the key.', status, error.code);
  if (status === 429) {
    return new Failure(`The server is busy: too many requests wait. Try again in ${retryAfter || 'a few'} seconds.`, status, error.code);
  }
  if (status === 503) return new Failure('The model is still being loaded. Try again in a moment.', status, error.code);
  return new Failure(sentence || `The server answered with status ${status} and did not say why.`, status, error.code);
}

async function ask(path, key, body, signal) {
  const headers = {};
  if (key) headers.authorization = `Bearer ${key}`;
  if (body) headers['content-type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure('The server cannot be reached. Is it still running?');
  }
  if (response.ok) return response;
  throw failureOf(response.status, await response.text(), response.headers.get('retry-after'));
}

// Calls `onChunk` with each object of the stream that answers `body`.
async function streamAnswer(path, key, body, signal, onChunk) {
  const response = await ask(path, key, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser();
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      break;
    }
    if (part.done) break;
    for (const chunk of parser.take(part.value)) {
      if (chunk.error) throw failureOf(500, JSON.stringify(chunk), null);
      onChunk(chunk);
    }
  }
  if (!parser.done) throw new Failure('The answer broke off: the connection to the server was lost.');
}
