// The router's events. A browser opens six connections to a host over HTTP/1.1, and a stream holds one of them for good:
// so all tabs share one stream, which this file, run as a shared worker, keeps. It lives as long as any of them does.
const PAUSES_S = [0.5, 1, 2, 5];
const SILENCE_S = 12;
const HIDDEN_S = 300;
const HIDDEN_ALONE_S = 10;
const LATE_MS = 8000;
const POINTS_KEPT = 300;
const REQUESTS_KEPT = 200;
const WORKER = "prefix-router console 1"; // another number when what is told between pages and worker changes
const AWAY = new Set([502, 503, 504]);

const KEY = "prefix-router admin key";
let key = null;
try {
  key = sessionStorage.getItem(KEY);
} catch {
  // Storage may be forbidden: the key then lasts as long as the page. A worker has none: pages tell it their keys.
}

export function setKey(value) {
  key = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // As above.
  }
}

// fetch() with the key, if there is one.
export const ask = (path, options = {}) => askWith(key, path, options);

function askWith(key, url, options) {
  const headers = { ...options.headers };
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  return fetch(url, { ...options, headers, cache: "no-store", credentials: "same-origin" });
}

// What an answer that is an error says.
export async function complaint(answer) {
  const said = await message(answer);
  if (said !== null) return said;
  if (AWAY.has(answer.status)) return `The router does not answer: a proxy before it said ${answer.status}.`;
  return `The router answered ${answer.status}.`;
}

// The router's own words; null: there are none, so it may not be the router that answered.
async function message(answer) {
  try {
    const { error } = await answer.json();
    return typeof error.message === "string" ? error.message : null;
  } catch {
    return null;
  }
}

// Says by `show(text)` that an answer is awaited, and in time why it may be late, until the function it returns is called.
export function waiting(show) {
  show("Asking the router…");
  const late = () => show("No answer yet. Still waiting: the router is busy or away, or other tabs hold all connections that this browser opens to it.");
  const timer = setTimeout(late, LATE_MS);
  return () => clearTimeout(timer);
}

// `on`: {event name: function(data)}, and `state(name, text)`: connecting, live, lost, stopping, refused, locked.
export class Stream {
  constructor(on) {
    this.on = on;
    this.wanted = false;
    this.alone = typeof SharedWorker === "undefined";
    document.addEventListener("visibilitychange", () => this.look());
    addEventListener("pagehide", () => this.leave());
    addEventListener("pageshow", ({ persisted }) => {
      if (persisted && this.wanted) this.start();
    });
  }

  start() {
    this.leave();
    this.wanted = true;
    this.asleep = false;
    const url = new URL("console/stream", document.baseURI).href;
    if (this.alone) {
      this.source = new Source(url, key, (name, data) => this.tell(name, data));
      this.source.connect();
    } else {
      this.port ??= this.reach();
      this.port.postMessage({ url, key });
    }
  }

  // A connection to the worker that all tabs share. Where it does not run, a page has a stream of its own.
  reach() {
    const worker = new SharedWorker(import.meta.url, { type: "module", name: WORKER });
    worker.addEventListener("error", () => {
      this.alone = true;
      if (this.wanted && !this.asleep) this.start();
    });
    worker.port.addEventListener("message", ({ data: [name, data] }) => this.tell(name, data));
    worker.port.start();
    return worker.port;
  }

  leave() {
    this.source?.close();
    this.source = undefined;
    this.port?.postMessage(null);
  }

  tell(name, data) {
    if (!this.wanted || this.asleep) return;
    if (name !== "state") {
      this.on[name]?.(data);
      return;
    }
    if (data[0] === "locked") this.wanted = false;
    this.on.state(...data);
  }

  // A page that nobody looks at for long gives its place back.
  look() {
    clearTimeout(this.hiding);
    if (document.hidden) {
      this.hiding = setTimeout(() => {
        this.asleep = true;
        this.leave();
      }, (this.alone ? HIDDEN_ALONE_S : HIDDEN_S) * 1000);
    } else if (this.asleep) {
      this.asleep = false;
      if (this.wanted) this.start();
    }
  }
}

// One connection, read with fetch() since EventSource cannot send a key. Reconnects until it is closed or locked.
// `tell(name, data)`: the router's events, and "state" with [name, text].
class Source {
  constructor(url, key, tell) {
    this.url = url;
    this.key = key;
    this.tell = tell;
    this.failures = 0;
    this.stopping = false;
    this.closed = false;
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.abort?.abort();
  }

  async connect() {
    const abort = new AbortController();
    this.abort = abort;
    try {
      this.heard(abort);
      const answer = await askWith(this.key, this.url, {
        headers: { Accept: "text/event-stream" },
        signal: abort.signal,
      });
      if (answer.status === 401) {
        if (this.closed) return;
        this.close();
        this.tell("state", ["locked", this.key === null ? "" : "That is not this router's admin key."]);
        return;
      }
      if (!answer.ok) throw await refusal(answer);
      await this.read(answer.body.getReader(), abort);
      this.again("");
    } catch (error) {
      this.again(error instanceof Refusal ? error.message : "");
    }
  }

  async read(reader, abort) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.closed) return;
      this.heard(abort);
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) this.event(block);
    }
  }

  event(block) {
    const [first, second = ""] = block.split("\n");
    const name = first.slice("event: ".length);
    if (name === "hello") {
      this.failures = 0;
      this.stopping = false;
      this.tell("state", ["live", ""]);
    } else if (name === "bye") {
      this.stopping = true;
    }
    this.tell(name, JSON.parse(second.slice("data: ".length)));
  }

  heard(abort) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => abort.abort(), SILENCE_S * 1000);
  }

  again(refused) {
    clearTimeout(this.silence);
    if (this.closed) return;
    const pause = PAUSES_S[Math.min(this.failures, PAUSES_S.length - 1)];
    this.failures += 1;
    if (refused) this.tell("state", ["refused", refused]);
    else this.tell("state", [this.stopping ? "stopping" : "lost", ""]);
    this.timer = setTimeout(() => this.connect(), pause * 1000 * (0.8 + 0.4 * Math.random()));
  }
}

class Refusal extends Error {}

// A proxy that does not reach the router is no refusal by the router: it is away.
async function refusal(answer) {
  const said = await message(answer);
  if (said === null && AWAY.has(answer.status)) return new Error("away");
  return new Refusal(said ?? `The router answered ${answer.status}.`);
}

// -- in the shared worker --------------------------------------------------------------------------

// What pages share: a stream for each key, so that none sees what it has not the key for.
class Hub {
  constructor() {
    this.shared = new Map();
    addEventListener("connect", ({ ports: [port] }) => {
      port.addEventListener("message", ({ data: wish }) => {
        this.leave(port);
        if (wish) this.join(port, wish);
      });
      port.addEventListener("close", () => this.leave(port)); // its page crashed, in browsers that tell
      port.start();
    });
  }

  join(port, { url, key }) {
    const name = JSON.stringify([url, key]);
    let shared = this.shared.get(name);
    if (!shared) {
      shared = { ports: new Set(), memory: new Memory() };
      shared.source = new Source(url, key, (...event) => this.tell(name, shared, event));
      this.shared.set(name, shared);
      shared.source.connect();
    }
    shared.ports.add(port);
    for (const event of shared.memory.everything()) port.postMessage(event);
  }

  leave(port) {
    for (const [name, { ports, source }] of this.shared) {
      if (!ports.delete(port) || ports.size) continue;
      source.close();
      this.shared.delete(name);
    }
  }

  tell(name, { ports, memory, source }, event) {
    memory.keep(...event);
    for (const port of ports) port.postMessage(event);
    if (source.closed) this.shared.delete(name);
  }
}

// What has been told so far, for a page that joins later.
class Memory {
  constructor() {
    this.state = ["connecting", ""];
    this.workers = new Map();
  }

  keep(name, data) {
    if (name === "state") this.state = data;
    else if (name === "hello") this.hello = { ...data, now: data.now - Date.now() / 1000 };
    else if (name === "fleet") this.keepFleet(data);
    else if (name === "points") this.points = joined(this.points, data);
    else if (name === "requests") this.requests = [...(data.full ? [] : this.requests), ...data.rows].slice(-REQUESTS_KEPT);
  }

  keepFleet({ full, rows, removed, ...totals }) {
    if (full) this.workers.clear();
    for (const id of removed) this.workers.delete(id);
    for (const [id, changes] of rows) this.workers.set(id, { ...this.workers.get(id), ...changes });
    this.fleet = { ...this.fleet, ...totals };
  }

  // As the router tells it to whom it has told nothing yet.
  everything() {
    const events = [["state", this.state]];
    if (this.hello) events.push(["hello", { ...this.hello, now: this.hello.now + Date.now() / 1000 }]);
    if (this.fleet) events.push(["fleet", { ...this.fleet, full: true, rows: [...this.workers], removed: [] }]);
    if (this.points) events.push(["points", { ...this.points, full: true }]);
    if (this.requests) events.push(["requests", { full: true, rows: this.requests, skipped: 0 }]);
    return events;
  }
}

function joined(points, { full, ...news }) {
  const known = full ? {} : points;
  return Object.fromEntries(Object.entries(news).map(([name, values]) => [name, [...(known[name] ?? []), ...values].slice(-POINTS_KEPT)]));
}

if (typeof SharedWorkerGlobalScope !== "undefined") new Hub();
