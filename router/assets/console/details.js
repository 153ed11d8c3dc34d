// Everything that is known of one worker, or of one request, at the side.
import { find, make, setText } from "./cells.js";
import { NONE, count, ms } from "./format.js";
import { ask, complaint, waiting } from "./stream.js";
import { decision, outcome } from "./words.js";

const EVERY_MS = 2000;

export class Details {
  constructor() {
    this.dialog = find("details");
    find("details-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener("close", () => clearTimeout(this.timer));
  }

  worker(id) {
    this.open(id);
    this.refresh(id);
  }

  async refresh(id) {
    clearTimeout(this.timer);
    const list = this.list;
    const wanted = () => this.dialog.open && this.list === list;
    const answered = waiting((words) => wanted() && !this.answered && this.say(words));
    try {
      const answer = await ask(`console/workers/${encodeURIComponent(id)}`);
      const entries = answer.ok ? Object.entries(await answer.json()) : null;
      const wrong = entries ? "" : await complaint(answer);
      if (wanted()) entries ? this.fill(entries) : this.say(wrong);
    } catch {
      if (wanted()) this.say("The router does not answer.");
    } finally {
      answered();
    }
    this.answered ||= wanted();
    if (wanted()) this.timer = setTimeout(() => this.refresh(id), EVERY_MS);
  }

  request(request) {
    this.open(`Request ${request.request_id}`);
    const { ts, model, endpoint, worker, policy, tenant, status, attempts, resumed, error } = request;
    this.fill([
      ["ended", new Date(ts).toLocaleString()],
      ["status", `${status}, ${outcome(request.outcome)}`],
      ["error", error],
      ["model", model],
      ["endpoint", endpoint],
      ["tenant", tenant],
      ["worker", worker],
      ["policy", policy],
      ["why there", decision(request)],
      ["attempts", attempts],
      ["resumed", resumed],
      ["prompt tokens", count(request.prompt_tokens)],
      ["cached, predicted", count(request.predicted_cached_tokens)],
      ["cached, actual", count(request.cached_tokens)],
      ["answer tokens", count(request.completion_tokens)],
      ["queued", ms(request.queue_ms)],
      ["first token after", ms(request.ttft_ms)],
      ["took", ms(request.duration_ms)],
      ["trace", request.trace_id],
    ]);
  }

  open(title) {
    clearTimeout(this.timer);
    this.answered = false;
    this.values = new Map();
    this.list = make("dl");
    find("details-body").replaceChildren(this.list);
    setText(find("details-title"), title);
    if (!this.dialog.open) this.dialog.showModal();
  }

  say(text) {
    find("details-body").replaceChildren(make("p", "empty", text));
    this.list.replaceChildren();
    this.values.clear();
  }

  fill(entries) {
    if (!this.list.isConnected) find("details-body").replaceChildren(this.list);
    for (const [name, value] of entries) {
      let shown = this.values.get(name);
      if (!shown) {
        shown = make("dd");
        this.values.set(name, shown);
        this.list.append(make("dt", "", name.replaceAll("_", " ")), shown);
      }
      setText(shown, asText(value));
    }
  }
}

function asText(value) {
  if (value == null || value === "") return NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(4)));
  if (Array.isArray(value)) return value.length ? value.map(asText).join("\n") : NONE;
  if (typeof value === "object")
    return Object.entries(value)
      .map(([name, each]) => `${name.replaceAll("_", " ")}: ${asText(each)}`)
      .join("\n");
  return String(value);
}
