// The router's events, read with fetch() since EventSource cannot send a key. Reconnects for ever.
const PAUSES_S = [0.5, 1, 2, 5];
const SILENCE_S = 12;
const HIDDEN_S = 300;

const KEY = "prefix-router admin key";
let key = null;
try {
  key = sessionStorage.getItem(KEY);
} catch {
  // Storage may be forbidden: the key then lasts as long as the page.
}

export function setKey(value) {
  key = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // As above.
  }
}

export const hasKey = () => key !== null;

// fetch() with the key, if there is one.
export function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  return fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
}

// What an answer that is an error says.
export async function complaint(answer) {
  try {
    const { error } = await answer.json();
    return error.message;
  } catch {
    return `The router answered ${answer.status}.`;
  }
}

// `on`: {event name: function(data)}, and `state(name, text)`: connecting, live, lost, refused, locked.
export class Stream {
  constructor(on) {
    this.on = on;
    this.failures = 0;
    this.wanted = false;
    this.stopping = false;
    document.addEventListener("visibilitychange", () => this.look());
  }

  start() {
    this.wanted = true;
    clearTimeout(this.timer);
    this.connect();
  }

  // A page that nobody looks at for long gives its place back.
  look() {
    clearTimeout(this.hiding);
    if (document.hidden) {
      this.hiding = setTimeout(() => {
        this.asleep = true;
        this.abort?.abort();
      }, HIDDEN_S * 1000);
    } else if (this.asleep) {
      this.asleep = false;
      if (this.wanted) this.start();
    }
  }

  async connect() {
    const abort = new AbortController();
    this.abort?.abort();
    this.abort = abort;
    try {
      this.heard(abort);
      const answer = await ask("console/stream", {
        headers: { Accept: "text/event-stream" },
        signal: abort.signal,
      });
      if (answer.status === 401) {
        this.wanted = false;
        clearTimeout(this.silence);
        this.on.state("locked", hasKey() ? "That is not this router's admin key." : "");
        return;
      }
      if (!answer.ok) throw new Refusal(await complaint(answer));
      await this.read(answer.body.getReader(), abort);
      this.again("");
    } catch (error) {
      if (this.abort === abort) this.again(error instanceof Refusal ? error.message : "");
    }
  }

  async read(reader, abort) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.heard(abort);
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) this.tell(block);
    }
  }

  tell(block) {
    const [first, second = ""] = block.split("\n");
    const name = first.slice("event: ".length);
    if (name === "hello") {
      this.failures = 0;
      this.stopping = false;
      this.on.state("live", "");
    } else if (name === "bye") {
      this.stopping = true;
    }
    this.on[name]?.(JSON.parse(second.slice("data: ".length)));
  }

  heard(abort) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => abort.abort(), SILENCE_S * 1000);
  }

  again(refusal) {
    clearTimeout(this.silence);
    if (!this.wanted || this.asleep) return;
    const pause = PAUSES_S[Math.min(this.failures, PAUSES_S.length - 1)];
    this.failures += 1;
    if (refusal) this.on.state("refused", refusal);
    else this.on.state(this.stopping ? "stopping" : "lost", "");
    this.timer = setTimeout(() => this.connect(), pause * 1000 * (0.8 + 0.4 * Math.random()));
  }
}

class Refusal extends Error {}
