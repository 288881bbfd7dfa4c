
// --- The conversation.

const state = {
  chat: true,      // false: the model has no chat template, and texts are continued
  ready: false,
  key: '',
  turns: [],       // {role, content, runs: [[text, tokens of its pass], ..], note}
  views: [],       // of the turns
  leftOut: 0,      // turns at the beginning that are not sent any more
  abort: null,     // of the answer that is being written
};

const kSettings = ['temperature', 'max-tokens', 'seed', 'speculation', 'system'];
const kStore = 'tern';

function save() {
  if (!$('keep').checked) return localStorage.removeItem(kStore);
  const settings = Object.fromEntries(kSettings.map((id) => [id, $(id).value]));
  const { turns, leftOut } = state;
  try {
    localStorage.setItem(kStore, JSON.stringify({ settings, colours: $('colours').checked, turns, leftOut }));
  } catch {
    $('status').textContent = 'This browser has no room for the conversation: it is not kept.';
  }
}

function restore() {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(kStore));
  } catch {
    // damaged, or forbidden here: begin anew
  }
  if (!kept) return;
  $('keep').checked = true;
  for (const id of kSettings) $(id).value = kept.settings[id] ?? $(id).value;
  $('colours').checked = kept.colours;
  state.turns = kept.turns;
  state.leftOut = kept.leftOut;
}

function requestBody() {
  const sent = state.turns.slice(state.leftOut);
  const body = {
    stream: true,
    stream_options: { include_usage: true },
    return_token_ids: true,
    temperature: $('temperature').valueAsNumber,
    max_tokens: $('max-tokens').valueAsNumber,
    speculation: { mode: $('speculation').value },
  };
  for (const field of ['temperature', 'max_tokens']) if (Number.isNaN(body[field])) delete body[field];
  if ($('seed').value !== '') body.seed = $('seed').valueAsNumber;
  if (!state.chat) return { ...body, prompt: sent.map((turn) => turn.content).join('') };
  const messages = sent.map(({ role, content }) => ({ role, content }));
  const system = $('system').value.trim();
  if (system) messages.unshift({ role: 'system', content: system });
  return { ...body, messages };
}

function addTurn(turn) {
  const names = state.chat ? { user: 'You', assistant: 'Model' } : { user: 'Your text', assistant: 'Continued' };
  const view = new TurnView(turn, names[turn.role]);
  state.turns.push(turn);
  state.views.push(view);
  $('log').append(view.element);
  return view;
}

function removeTurnsFrom(index) {
  for (const view of state.views.splice(index)) view.element.remove();
  state.turns.splice(index);
  state.leftOut = Math.min(state.leftOut, index);
}

const lastIndex = (role) => state.turns.map((turn) => turn.role).lastIndexOf(role);

// Buttons and fields as they should be now.
function refresh() {
  const writing = state.abort !== null;
  $('send').hidden = writing;
  $('stop').hidden = !writing;
  $('send').disabled = $('input').disabled = !state.ready;
  $('new').disabled = state.turns.length === 0;
  $('log').setAttribute('aria-busy', String(writing));
  document.body.classList.toggle('coloured', $('colours').checked);
  $('legend').hidden = !$('colours').checked || state.turns.length === 0;
  state.views.forEach((view, i) => {
    view.setActions();
    view.element.classList.toggle('left-out', i < state.leftOut);
  });
  if (writing || !state.ready) return;
  const user = lastIndex('user');
  if (user >= 0) state.views[user].setActions(button('Edit', editLast));
  const last = state.turns.length - 1;
  if (last > user) state.views[last].setActions(button('Write again', regenerate));
}

function showCounts(counts) {
  $('speed').textContent = numberWords(counts.tokens, counts.speed(), counts.acceptance());
}

function takeChunk(chunk, turn, view, counts) {
  const choice = chunk.choices[0];
  if (chunk.timings) turn.timings = chunk.timings;
  if (!choice) return;
  const steps = choice.steps || [];
  counts.add(steps, performance.now());
  const text = state.chat ? choice.delta.content || '' : choice.text;
  if (text) {
    // A piece of several passes (a character of many tokens) counts as the longest.
    const run = [text, Math.max(1, ...steps.map((step) => step.tokens))];
    turn.content += text;
    turn.runs.push(run);
    view.addRun(run);
  }
  if (choice.finish_reason) turn.finish = choice.finish_reason;
  showCounts(counts);
}

async function write() {
  hideError();
  const body = requestBody();
  const turn = { role: 'assistant', content: '', runs: [] };
  const view = addTurn(turn);
  const counts = new Counts();
  state.abort = new AbortController();
  view.setWriting(true);
  $('speed').textContent = '';
  $('status').textContent = 'The model is writing.';
  refresh();
  $('scroll').scrollTop = $('scroll').scrollHeight;
  let failure = null;
  try {
    const path = state.chat ? '/v1/chat/completions' : '/v1/completions';
    await streamAnswer(path, state.key, body, state.abort.signal, (chunk) => takeChunk(chunk, turn, view, counts));
    turn.note = summaryWords(counts.tokens, turn.timings, turn.finish, body.max_tokens);
  } catch (error) {
    failure = error;
    turn.note = numberWords(counts.tokens, counts.speed(), counts.acceptance());
    turn.note += error.name === 'AbortError' ? ' · stopped' : ' · broke off';
  }
  delete turn.timings;
  state.abort = null;
  view.setWriting(false);
  keepingTheEnd(() => view.setNote(turn.note));
  $('speed').textContent = '';
  const empty = failure !== null && turn.content === '';
  if (empty) removeTurnsFrom(state.turns.length - 1);
  $('status').textContent = `The answer has ended: ${turn.note}.`;
  save();
  keepingTheEnd(refresh);
  if (failure !== null && failure.name !== 'AbortError') explain(failure, empty ? write : regenerate);
}

// `again` repeats what failed.
function explain(failure, again) {
  if (failure.status === 401) return askForKey(state.key !== '' ? failure.message : '');
  if (failure.code === 'context_length_exceeded' && state.turns.length - state.leftOut > 2) {
    return showError(failure.message, button('Leave out the oldest turns', leaveOutOldest), button('New conversation', begin));
  }
  showError(failure.message, button('Try again', again));
}

function send() {
  const input = $('input');
  const text = input.value;
  if (!state.ready || state.abort !== null) return;
  // A text without a chat may simply be continued further.
  if (text.trim() === '' && (state.chat || state.turns.length === 0)) return;
  if (text !== '') addTurn({ role: 'user', content: text });
  input.value = '';
  fitInput();
  write();
}

function regenerate() {
  const last = state.turns.length - 1;
  if (state.abort !== null || last < 0) return;
  if (state.turns[last].role === 'assistant') removeTurnsFrom(last);
  write();
  $('input').focus();
}

function editLast() {
  const user = lastIndex('user');
  if (state.abort !== null || user < 0) return;
  const { content } = state.turns[user];
  removeTurnsFrom(user);
  hideError();
  save();
  refresh();
  $('input').value = content;
  fitInput();
  $('input').focus();
}

// A quarter of them at least, in pairs of a question and its answer.
function leaveOutOldest() {
  const pairs = Math.ceil((state.turns.length - state.leftOut) / 8);
  state.leftOut = Math.min(state.leftOut + 2 * pairs, state.turns.length - 1);
  write();
}

function begin() {
  state.abort?.abort();
  removeTurnsFrom(0);
  state.leftOut = 0;
  hideError();
  $('speed').textContent = '';
  save();
  refresh();
  $('input').focus();
}

// --- The server.

function askForKey(message) {
  state.ready = false;
  refresh();
  hideError();
  if (message) showError(message);
  $('key-panel').hidden = false;
  $('key').focus();
}

function showModel(props) {
  const context = props.default_generation_settings.n_ctx;
  $('model').textContent = `${props.model_alias} · context ${context} tokens`;
  document.title = `${props.model_alias} · tern`;
  state.chat = props.chat_problem === null;
  $('system-field').hidden = !state.chat;
  $('input').placeholder = state.chat ? 'Write a message' : 'Begin a text';
  $('hint').textContent = state.chat
    ? ''
    : 'This model has no chat template that works here: it continues your text as it stands. Sending nothing continues it further.';
  $('send').textContent = state.chat ? 'Send' : 'Continue';
}

async function connect() {
  hideError();
  let props;
  try {
    props = await (await ask('/props', state.key)).json();
  } catch (failure) {
    if (failure.status === 503) {
      $('model').textContent = 'the model is being loaded …';
      return setTimeout(connect, 1000);
    }
    $('model').textContent = failure.status === 401 ? 'waiting for a key' : 'not connected';
    return explain(failure, connect);
  }
  $('key-panel').hidden = true;
  showModel(props);
  state.ready = true;
  for (const turn of state.turns.splice(0)) addTurn(turn);
  refresh();
  $('scroll').scrollTop = $('scroll').scrollHeight;
  $('input').focus();
}

function useKey(event) {
  event.preventDefault();
  state.key = $('key').value.trim();
  if (state.key) connect();
}

// --- Keys and buttons.

$('input').addEventListener('keydown', (event) => {
  if (event.isComposing) return;  // Enter chooses a character of an input method
  if (event.key === 'Enter' && !event.shiftKey) {
    event.preventDefault();
    send();
  } else if (event.key === 'ArrowUp' && $('input').value === '') {
    event.preventDefault();
    editLast();
  }
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !$('settings').open) state.abort?.abort();
});
$('input').addEventListener('input', fitInput);
$('send').addEventListener('click', () => {
  send();
  $('input').focus();
});
$('stop').addEventListener('click', () => {
  state.abort?.abort();
  $('input').focus();
});
$('new').addEventListener('click', begin);
$('key-panel').addEventListener('submit', useKey);
$('open-settings').addEventListener('click', () => $('settings').showModal());
$('close-settings').addEventListener('click', () => $('settings').close());
$('settings').addEventListener('close', () => {
  save();
  refresh();
});

restore();
refresh();
connect();
