// The workers: a table, or a grid where there are many. Only cells whose value changed are touched.
import { arrange, find, make, makeBar, makeHeadings, setBar, setClass, setText, setTitle } from "./cells.js";
import { NONE, count, percent, plural, rate, short } from "./format.js";
import { KNOWN_BY_TITLE, knownBy } from "./words.js";

const GRID_FROM = 64;

const engine = (row) => (row.running == null ? NONE : `${row.running} / ${row.waiting}`);
const models = (row) => (row.models.length > 1 ? `${row.models[0]} +${row.models.length - 1}` : (row.models[0] ?? NONE));
const nameOf = (id, row) => row.name || id;
const ORDER = ["down", "ejected", "paused", "asleep", "probation", "draining", "fallback", "up"];
const bad = (row) => ORDER.length - 1 - Math.max(0, ORDER.indexOf(row.state));

// `value` sorts; `text` or `bar` shows; `uses`: what of a row it depends on.
const COLUMNS = [
  { name: "Worker", class: "id", uses: ["name"], value: (row, id) => nameOf(id, row) },
  { name: "State", class: "state", uses: ["state", "why", "circuit"], value: bad, text: (row) => row.state, tip: (row) => row.why },
  { name: "Models", class: "models", uses: ["models"], value: models, text: models, tip: (row) => row.models.join("\n") },
  { name: "In flight", class: "n", uses: ["inflight"], value: (row) => row.inflight, text: (row) => count(row.inflight), title: "Requests sent there and not ended, by all routers that share a Redis" },
  { name: "Pending", class: "n", uses: ["pending"], value: (row) => row.pending, text: (row) => short(row.pending), title: "Prompt tokens sent there that are neither cached nor computed yet" },
  { name: "Run / wait", class: "n", uses: ["running", "waiting"], value: (row) => row.waiting * 1000 + row.running, text: engine, title: "Requests that run and wait in the engine, by its own metrics" },
  { name: "KV use", class: "b", uses: ["kv"], value: (row) => row.kv, bar: (row) => [row.kv, percent(row.kv)], title: "Share of its KV cache that running requests hold, by its own metrics" },
  { name: "Hit rate", class: "b hit", uses: ["hit", "predicted"], value: (row) => row.hit, bar: (row) => [row.hit, percent(row.hit)], tip: (row) => (row.predicted == null ? "" : `${percent(row.predicted)} was predicted`), title: "Prompt tokens found in its cache, last 5 minutes" },
  { name: "Blocks", class: "n opt", uses: ["blocks", "lower"], value: (row) => row.blocks, text: (row) => short(row.blocks), tip: (row) => (row.lower ? `${count(row.blocks)}, ${count(row.lower)} of them in lower tiers` : count(row.blocks)), title: "Blocks known to be there" },
  { name: "Known by", class: "opt by", uses: ["known_by"], value: (row) => row.known_by, text: (row) => knownBy(row.known_by), tip: (row) => KNOWN_BY_TITLE[row.known_by] ?? "" },
  { name: "Speed", class: "n opt", uses: ["speed"], value: (row) => row.speed, text: (row) => (row.speed == null ? NONE : `${row.speed.toFixed(2)}×`), title: "Of the fleet's median" },
  { name: "Req / s", class: "n", uses: ["rate"], value: (row) => row.rate, text: (row) => rate(row.rate), title: "Requests that ended there, last 10 s" },
];

export class FleetView {
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.workers = new Map();
    this.sort = { column: 0, down: false };
    this.view = "auto";
    this.filter = "";
    this.headings = makeHeadings(find("fleet-table").tHead.rows[0], COLUMNS, (index) => this.sortBy(index));
    this.body = find("fleet-table").tBodies[0];
    this.grid = find("fleet-grid");
    this.markSort();
    find("fleet-filter").addEventListener("input", (event) => {
      this.filter = event.target.value.trim().toLowerCase();
      this.lay();
    });
    for (const input of document.querySelectorAll('input[name="view"]')) {
      input.addEventListener("change", () => {
        this.view = input.value;
        this.lay();
      });
    }
    for (const parent of [this.body, this.grid]) {
      parent.addEventListener("click", (event) => this.opened(event));
      parent.addEventListener("keydown", (event) => this.moved(event));
    }
  }

  take({ full, rows, removed }) {
    if (full) {
      const known = new Set(rows.map(([id]) => id));
      removed = [...this.workers.keys()].filter((id) => !known.has(id));
    }
    for (const id of removed) this.workers.delete(id);
    let moved = full || removed.length > 0;
    const { uses } = COLUMNS[this.sort.column];
    for (const [id, changes] of rows) {
      let worker = this.workers.get(id);
      if (worker === undefined) {
        worker = { id, row: {} };
        this.workers.set(id, worker);
        moved = true;
      }
      Object.assign(worker.row, changes);
      moved ||= "state" in changes || uses.some((name) => name in changes) || (this.filter !== "" && ["state", "models", "name"].some((name) => name in changes));
      if (worker.line) this.fillLine(worker, changes);
      if (worker.cell) this.fillCell(worker);
    }
    if (moved) this.lay();
  }

  sortBy(column) {
    const numbers = COLUMNS[column].class.startsWith("n") || COLUMNS[column].class.startsWith("b");
    this.sort = { column, down: this.sort.column === column ? !this.sort.down : numbers };
    this.markSort();
    this.lay();
  }

  markSort() {
    this.headings.forEach((cell, index) => {
      const sorted = index === this.sort.column;
      cell.setAttribute("aria-sort", sorted ? (this.sort.down ? "descending" : "ascending") : "none");
    });
  }

  // Puts the workers that match where they belong.
  lay() {
    const shown = [...this.workers.values()].filter((worker) => this.matches(worker));
    const { column, down } = this.sort;
    const value = ({ row, id }) => COLUMNS[column].value(row, id);
    const sign = down ? -1 : 1;
    const asGrid = this.view === "grid" || (this.view === "auto" && this.workers.size > GRID_FROM);
    shown.sort(
      (a, b) =>
        (asGrid && (a.row.state === "up") - (b.row.state === "up")) || // what is wrong comes first
        sign * compare(value(a), value(b)) ||
        compare(nameOf(a.id, a.row), nameOf(b.id, b.row)),
    );
    find("fleet-key").hidden = !asGrid;
    find("fleet-table").hidden = asGrid || !this.workers.size;
    this.grid.hidden = !asGrid || !this.workers.size;
    if (asGrid) {
      arrange(this.grid, shown.map((worker) => this.cell(worker)));
      this.drop("line", this.body);
    } else {
      arrange(this.body, shown.map((worker) => this.line(worker)));
      this.drop("cell", this.grid);
    }
    this.tell(shown.length);
  }

  drop(kind, parent) {
    if (!parent.firstChild) return;
    parent.replaceChildren();
    for (const worker of this.workers.values()) worker[kind] = undefined;
  }

  tell(shown) {
    const all = this.workers.size;
    const empty = find("fleet-empty");
    empty.hidden = shown > 0;
    setText(find("fleet-count"), this.filter ? `${count(shown)} of ${plural(all, "worker")}` : plural(all, "worker"));
    if (!all) setText(empty, "No workers. Name some with --worker URL, or with workers in the configuration file.");
    else if (!shown) setText(empty, "No worker matches the filter.");
  }

  matches({ id, row }) {
    if (!this.filter) return true;
    const text = [id, row.name, row.state, row.role, row.source, ...row.models].join(" ").toLowerCase();
    return this.filter.split(/\s+/).every((word) => text.includes(word));
  }

  // -- the table ---------------------------------------------------------------------------------

  line(worker) {
    if (worker.line) return worker.line;
    const line = make("tr");
    worker.line = line;
    worker.cells = COLUMNS.map((column, index) => {
      const cell = make(index ? "td" : "th", column.class);
      line.append(cell);
      return cell;
    });
    const [first, state] = worker.cells;
    first.scope = "row";
    const button = make("button");
    button.type = "button";
    button.dataset.worker = worker.id;
    first.append(button);
    state.append(make("i", "dot"), make("span"));
    COLUMNS.forEach((column, index) => {
      if (column.bar) worker.cells[index].append(makeBar());
    });
    this.fillLine(worker, worker.row);
    return line;
  }

  fillLine({ id, row, cells, line }, changes) {
    COLUMNS.forEach((column, index) => {
      if (!column.uses.some((name) => name in changes)) return;
      const cell = cells[index];
      if (index === 0) {
        setText(cell.firstChild, nameOf(id, row));
        setTitle(cell, row.name ? `${id}\n${row.source ?? ""}`.trim() : id);
      } else if (index === 1) {
        setText(cell.lastChild, row.state);
        setClass(line, `is-${row.state}`);
      } else if (column.bar) {
        setBar(cell.firstChild, ...column.bar(row));
      } else {
        setText(cell, column.text(row));
      }
      if (column.tip) setTitle(cell, column.tip(row));
    });
  }

  // -- the grid ----------------------------------------------------------------------------------

  cell(worker) {
    if (worker.cell) return worker.cell;
    const item = make("li");
    const button = make("button");
    button.type = "button";
    button.dataset.worker = worker.id;
    const box = make("b");
    const parts = { name: make("bdi"), dot: make("i", "dot"), load: make("span"), kv: makeBar(), hit: makeBar() };
    parts.hit.classList.add("hit");
    parts.name.dir = "ltr";
    box.append(parts.name);
    button.append(parts.dot, box, parts.load, parts.kv, parts.hit);
    item.append(button);
    worker.cell = item;
    worker.parts = parts;
    this.fillCell(worker);
    return item;
  }

  fillCell({ id, row, cell, parts }) {
    setClass(cell, `is-${row.state}`);
    setText(parts.name, nameOf(id, row));
    setText(parts.load, row.state === "up" ? count(row.inflight) : row.state);
    setBar(parts.kv, row.kv, "");
    setBar(parts.hit, row.hit, "");
    const lines = [id, row.why || row.state, `${count(row.inflight)} in flight, ${short(row.pending)} pending tokens`, `KV use ${percent(row.kv)}, hit rate ${percent(row.hit)}`];
    setTitle(cell.firstChild, lines.join("\n"));
  }

  // -- choosing one ------------------------------------------------------------------------------

  opened(event) {
    const row = event.target.closest("tr, li");
    const button = row?.querySelector("[data-worker]");
    if (!button || String(getSelection())) return;
    button.focus();
    this.onOpen(button.dataset.worker);
  }

  moved(event) {
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    const step = steps[event.key];
    if (!step || !event.target.dataset.worker) return;
    const buttons = [...event.currentTarget.querySelectorAll("[data-worker]")];
    const next = buttons[buttons.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}

function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null) || 0;
  if (typeof a === "string") return a.localeCompare(b, undefined, { numeric: true });
  return a - b;
}
