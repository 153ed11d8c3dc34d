// The requests that ended last, newest first.
import { find, make, makeHeadings, setText } from "./cells.js";
import { NONE, count, ms, plural, time } from "./format.js";
import { decision, outcome } from "./words.js";

const KEPT = 200;
const EVERY_MS = 1000; // more often than this nobody reads it, and each time all rows move

const both = ({ predicted_cached_tokens: predicted, cached_tokens: actual }) =>
  predicted == null && actual == null ? NONE : `${count(predicted)} / ${count(actual)}`;

const COLUMNS = [
  { name: "Time", class: "time" },
  { name: "Model", class: "model", text: (request) => request.model ?? NONE },
  { name: "Endpoint", class: "endpoint", text: (request) => request.endpoint },
  { name: "Worker", class: "worker", text: (request) => request.worker ?? NONE },
  { name: "Why there", class: "why", text: decision },
  { name: "Prompt", class: "n opt", text: (request) => count(request.prompt_tokens), title: "Tokens, as the worker says" },
  { name: "Cached", class: "n pair opt", text: both, title: "Prompt tokens: predicted / found by the worker" },
  { name: "Queue", class: "n opt", text: (request) => (request.queue_ms ? ms(request.queue_ms) : "0"), title: "Waited in the router" },
  { name: "TTFT", class: "n", text: (request) => ms(request.ttft_ms) },
  { name: "Took", class: "n opt", text: (request) => ms(request.duration_ms) },
  { name: "Status", class: "status", text: (request) => `${request.status} ${request.outcome === "ok" ? "" : outcome(request.outcome)}`.trim() },
];

export class FeedView {
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.requests = []; // newest first
    this.paused = false;
    this.held = [];
    this.coming = [];
    this.unseen = 0;
    this.filter = "";
    this.outcome = "";
    makeHeadings(find("feed-table").tHead.rows[0], COLUMNS);
    this.body = find("feed-table").tBodies[0];
    find("feed-filter").addEventListener("input", (event) => {
      this.filter = event.target.value.trim().toLowerCase();
      this.lay();
    });
    find("feed-outcome").addEventListener("change", (event) => {
      this.outcome = event.target.value;
      this.lay();
    });
    find("feed-pause").addEventListener("click", () => this.pause(!this.paused));
    this.body.addEventListener("click", (event) => {
      const line = event.target.closest("tr");
      if (line && !String(getSelection())) this.onOpen(line.request);
    });
  }

  hello({ request_columns: columns }) {
    this.columns = columns;
  }

  take({ full, rows, skipped }) {
    const news = rows.map((row) => Object.fromEntries(this.columns.map((name, index) => [name, row[index]]))).reverse();
    if (full) {
      this.held = [];
      this.coming = [];
      this.unseen = 0;
      if (this.paused) this.held = news;
      else {
        this.requests = news;
        this.lay();
      }
    } else if (this.paused) {
      this.held = [...news, ...this.held].slice(0, KEPT);
      this.unseen += news.length + skipped;
    } else {
      this.coming = [...news, ...this.coming].slice(0, KEPT);
      this.skipped = (this.skipped ?? 0) + skipped;
      this.timer ??= setTimeout(() => this.flush(), EVERY_MS);
      return;
    }
    this.tell(0);
  }

  flush() {
    this.timer = undefined;
    const news = this.coming;
    this.coming = [];
    if (this.paused) this.held = [...news, ...this.held].slice(0, KEPT);
    else this.add(news);
    this.tell(this.skipped);
    this.skipped = 0;
  }

  add(news) {
    this.requests = [...news, ...this.requests];
    for (const old of this.requests.splice(KEPT)) old.line?.remove();
    const lines = document.createDocumentFragment();
    for (const request of news) if (this.matches(request)) lines.append(this.line(request));
    this.body.prepend(lines);
    this.look();
  }

  pause(paused) {
    this.paused = paused;
    const button = find("feed-pause");
    button.setAttribute("aria-pressed", String(paused));
    if (!paused) {
      const held = this.held;
      this.held = [];
      this.unseen = 0;
      this.add(held.filter((request) => !this.requests.some((known) => known.request_id === request.request_id && known.ts === request.ts)));
    }
    this.tell(0);
  }

  tell(skipped) {
    let note = "";
    if (this.paused) note = this.unseen ? `paused, ${plural(this.unseen, "new request")}` : "paused";
    else if (skipped) note = `${count(skipped)} more a moment ago than are shown`;
    setText(find("feed-note"), note);
  }

  lay() {
    const lines = document.createDocumentFragment();
    for (const request of this.requests) if (this.matches(request)) lines.append(this.line(request));
    this.body.replaceChildren(lines);
    this.look();
  }

  look() {
    const empty = find("feed-empty");
    empty.hidden = this.body.firstChild !== null;
    setText(empty, this.requests.length ? "No request matches the filter." : "No requests yet. Each appears here when it has ended.");
  }

  matches(request) {
    if (this.outcome === "failed") {
      if (request.outcome === "ok" || request.outcome === "cancelled") return false;
    } else if (this.outcome && request.outcome !== this.outcome) return false;
    if (!this.filter) return true;
    const { model, worker, endpoint, request_id: id, tenant, status } = request;
    const text = [model, worker, endpoint, id, tenant, status, decision(request), outcome(request.outcome)].join(" ").toLowerCase();
    return this.filter.split(/\s+/).every((word) => text.includes(word));
  }

  line(request) {
    if (request.line) return request.line;
    const line = make("tr", `was-${request.outcome}`);
    line.request = request;
    for (const column of COLUMNS) {
      const cell = make("td", column.class);
      if (column.text) {
        cell.textContent = column.text(request);
        if (!column.class.startsWith("n")) cell.title = cell.textContent;
      } else {
        const button = make("button", "", time(new Date(request.ts)));
        button.type = "button";
        cell.append(button);
      }
      line.append(cell);
    }
    if (request.error) line.lastChild.title = request.error;
    request.line = line;
    return line;
  }
}
