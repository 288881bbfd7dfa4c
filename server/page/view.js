
// --- Elements. Texts of users and models only ever become text nodes.

const $ = (id) => document.getElementById(id);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(label, onClick) {
  const made = element('button', '', label);
  made.type = 'button';
  made.addEventListener('click', onClick);
  return made;
}

// Scrolls along while the reader is at the end, and not where they have scrolled back.
function keepingTheEnd(change) {
  const scroll = $('scroll');
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
  change();
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
}

function runElement(run) {
  const [text, tokens] = run;
  const made = element('span', `run-${Math.min(Math.max(tokens, 1), 4)}`, text);
  if (tokens > 1) made.title = `${tokens} tokens of one pass`;
  return made;
}

// One turn of the conversation.
class TurnView {
  constructor(turn, who) {
    this.element = element('article', `turn ${turn.role}`);
    this.text = element('p', 'text');
    this.note = element('p', 'note', turn.note || '');
    this.actions = element('div', 'actions');
    this.note.hidden = !turn.note;
    this.element.append(element('h3', 'who', who), this.text, this.note, this.actions);
    if (turn.runs) this.text.append(...turn.runs.map(runElement));
    else this.text.textContent = turn.content;
    this.pending = [];
  }
  setWriting(on) {
    this.element.classList.toggle('writing', on);
    if (!on) this.flush();
  }
  // Many small pieces arrive between two frames: they are shown together.
  addRun(run) {
    this.pending.push(run);
    if (this.pending.length === 1) requestAnimationFrame(() => this.flush());
  }
  flush() {
    const runs = this.pending.splice(0);
    if (runs.length > 0) keepingTheEnd(() => this.text.append(...runs.map(runElement)));
  }
  setNote(note) {
    this.note.textContent = note;
    this.note.hidden = !note;
  }
  setActions(...buttons) {
    this.actions.replaceChildren(...buttons);
  }
}

function showError(message, ...buttons) {
  const box = $('error');
  const row = element('div', 'row');
  row.append(...buttons);
  keepingTheEnd(() => {
    box.replaceChildren(element('p', '', message), ...(buttons.length > 0 ? [row] : []));
    box.hidden = false;
  });
  box.scrollIntoView({ block: 'nearest' });
}

function hideError() {
  $('error').hidden = true;
  $('error').replaceChildren();
}

// The box for the user's text is as high as the text.
function fitInput() {
  const input = $('input');
  input.style.height = 'auto';
  input.style.height = `${input.scrollHeight + 2}px`;
}
