// Where a prompt would go, and why.
import { arrange, find, make, makeBar, setBar, setText } from "./cells.js";
import { count, ms, percent, plural } from "./format.js";
import { ask, complaint, waiting } from "./stream.js";
import { excluded, lacks, reason } from "./words.js";

export class Explain {
  constructor() {
    const form = find("explain-form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    find("explain-text").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
  }

  models(names) {
    const select = find("explain-model");
    const known = new Map([...select.options].map((option) => [option.value, option]));
    arrange(
      select,
      names.map((name) => known.get(name) ?? new Option(name, name)),
    );
  }

  async run() {
    const text = find("explain-text").value;
    const answer = find("explain-answer");
    const asked = (this.asked = Symbol("asked"));
    if (!text.trim()) {
      answer.replaceChildren(make("p", "empty", "Paste a prompt first."));
      return;
    }
    const answered = waiting((words) => this.asked === asked && answer.replaceChildren(make("p", "empty", words)));
    try {
      const response = await ask("explain", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: body(text, find("explain-model").value, find("explain-kind").value),
      });
      if (this.asked !== asked) return;
      if (response.ok) answer.replaceChildren(...shown(await response.json()));
      else answer.replaceChildren(make("p", "wrong", await complaint(response)));
    } catch {
      if (this.asked === asked) answer.replaceChildren(make("p", "wrong", "The router does not answer."));
    } finally {
      answered();
    }
  }
}

// What is pasted may be a request as it is; one without a model is for the one that is selected.
function body(text, model, kind) {
  try {
    const pasted = JSON.parse(text);
    if (pasted && typeof pasted === "object" && !Array.isArray(pasted))
      return "model" in pasted || !model ? text : JSON.stringify({ model, ...pasted });
  } catch {
    // Not JSON: a prompt.
  }
  const asked = model ? { model } : {};
  if (kind === "completion") return JSON.stringify({ ...asked, prompt: text });
  return JSON.stringify({ ...asked, messages: [{ role: "user", content: text }] });
}

function shown(explanation) {
  const { prompt, workers, policy, endpoint, model } = explanation;
  const about = `Policy ${policy}, model ${model ?? "any"}, ${endpoint}: ${plural(prompt.tokens, "prompt token")} in ${plural(prompt.blocks, "block")} of ${prompt.by}.`;
  const parts = [make("p", "sentence", sentence(explanation)), make("p", "note", about), table(workers, prompt.tokens)];
  if (explanation.excluded.length) {
    const left = explanation.excluded.map((each) => `${each.id} (${excluded(each.why)})`).join(", ");
    parts.push(make("p", "note", `Left out: ${left}.`));
  }
  return parts;
}

function sentence({ outcome, worker, equal, waits, queue_depth: depth, reason: why, workers, prompt }) {
  if (outcome === "turned_away") return `It would be turned away with 503: ${plural(depth, "request")} wait already.`;
  const name = worker ?? `one of ${equal.slice(0, 4).join(", ")}${equal.length > 4 ? ` and ${equal.length - 4} more` : ""}, drawn by lot`;
  if (outcome === "waits") return `It would wait, as things are for ${name}: ${lacks(waits)}.`;
  const [best, ...others] = workers;
  const next = others.find((each) => !each.chosen);
  const against = next ? ` (${ms(next.predicted_ttft_ms)} on ${next.id})` : "";
  return `It would go to ${name}, ${reason(why)}: ${count(best.cached_tokens)} of ${count(prompt.tokens)} prompt tokens are cached there, and the first token is expected after ${ms(best.predicted_ttft_ms)}${against}.`;
}

const COLUMNS = ["Worker", "Cached", "In flight", "Pending", "KV use", "Expected first token", "Cost", "Room"];
const SHOWN = 40;

function table(workers, tokens) {
  const scroll = make("div", "scroll");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "By worker");
  const built = make("table", "prospects");
  const head = built.createTHead().insertRow();
  for (const name of COLUMNS) {
    const cell = make("th", "", name);
    cell.scope = "col";
    head.append(cell);
  }
  const longest = Math.max(...workers.map((each) => each.predicted_ttft_ms), 1);
  const rows = built.createTBody();
  for (const worker of workers.slice(0, SHOWN)) rows.append(line(worker, tokens, longest));
  scroll.append(built);
  if (workers.length > SHOWN) scroll.append(make("p", "note", `and ${count(workers.length - SHOWN)} more that cost as much or more`));
  return scroll;
}

function line(worker, tokens, longest) {
  const row = make("tr", worker.chosen ? "chosen" : "");
  const first = make("th", "id", `${worker.chosen ? "→ " : ""}${worker.id}${worker.up ? "" : " (down)"}`);
  first.scope = "row";
  const cached = makeBar();
  cached.classList.add("hit");
  setBar(cached, tokens ? worker.cached_tokens / tokens : 0, count(worker.cached_tokens));
  if (worker.loaded_tokens) cached.title = `${count(worker.loaded_tokens)} of them from ${worker.tier}`;
  row.append(first, cell("", cached), cell("n", count(worker.inflight)), cell("n", count(worker.pending_prefill_tokens)));
  row.append(cell("n", percent(worker.kv_cache_usage)), cell("", stack(worker, longest)), cell("n", ms(worker.cost_ms)));
  row.append(cell("room", worker.room === null ? "–" : worker.room ? "yes" : lacks(worker.lacks)));
  return row;
}

function cell(className, content) {
  const built = make("td", className);
  if (content instanceof Node) built.append(content);
  else setText(built, content);
  if (className === "room") built.title = content;
  return built;
}

// The expected time to first token, as what it consists of.
function stack(worker, longest) {
  const built = make("span", "bar stack");
  const parts = [
    ["waiting", worker.waiting_ms],
    ["prefill", worker.prefill_ms],
    ["step", worker.step_ms],
  ];
  for (const [name, value] of parts) {
    const part = make("i", name);
    part.style.width = `${(100 * Math.max(0, value)) / longest}%`;
    built.append(part);
  }
  built.append(make("span", "", ms(worker.predicted_ttft_ms)));
  built.title = parts.map(([name, value]) => `${name} ${ms(value)}`).join("\n");
  return built;
}
