// The last minutes as plots over one time axis; a cursor shows the values of all of them at that moment.
import { find, make, setText } from "./cells.js";
import { NONE, ms, percent, rate, time } from "./format.js";

const SPAN_S = 600;
const KEPT = 300;
const HEIGHT = 172;

const EXACT = "Exact percentiles of the streams that ended in the 10 s before";
const ESTIMATED = "Estimated from counts per bucket, of the gaps between tokens in the 10 s before";

const PLOTS = [
  {
    title: "Time to first token",
    note: "exact",
    title_text: EXACT,
    show: ms,
    least: 10,
    series: [
      ["p50", "ttft50", "--c0", 2],
      ["p95", "ttft95", "--c1", 1.5],
      ["p99", "ttft99", "--c3", 1.5, [4, 3]],
    ],
  },
  {
    title: "Time between tokens",
    note: "estimated from buckets",
    title_text: ESTIMATED,
    show: ms,
    least: 10,
    series: [
      ["p50", "itl50", "--c0", 2],
      ["p95", "itl95", "--c1", 1.5],
      ["p99", "itl99", "--c3", 1.5, [4, 3]],
    ],
  },
  {
    title: "Hit rate",
    note: "cached of all prompt tokens",
    title_text: "Of requests whose answers tell their usage: what the workers say that they found, and what was predicted",
    show: percent,
    top: 1,
    series: [
      ["actual", "hit", "--c2", 2],
      ["predicted", "predicted", "--c0", 1.5, [4, 3]],
    ],
  },
  {
    title: "Requests / s and queue",
    note: "by outcome; right: queued",
    title_text: "Requests that ended in the 10 s before, per second; how many waited in the router at that moment",
    show: rate,
    least: 1,
    series: [
      ["ok", "ok", "--c2", 2],
      ["client error", "client_error", "--c4", 1.5],
      ["upstream error", "upstream_error", "--c1", 1.5],
      ["router error", "router_error", "--c3", 1.5],
      ["cancelled", "cancelled", "--c5", 1.5, [2, 3]],
      ["queued", "queue", "--c0", 1.5, [6, 3], "right"],
    ],
  },
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Plots {
  constructor() {
    this.columns = {};
    this.plots = PLOTS.map((spec) => this.build(spec));
    document.addEventListener("themechange", () => {
      for (const { plot } of this.plots) plot.redraw(false, true);
    });
    const resized = new ResizeObserver(() => this.resize());
    resized.observe(find("plots"));
  }

  build(spec) {
    const figure = make("figure", "plot");
    const caption = make("figcaption");
    const note = make("small", "", spec.note);
    note.title = spec.title_text;
    caption.append(make("b", "", spec.title), " ", note);
    const legend = make("ul", spec.series.length > 3 ? "legend long" : "legend");
    const values = spec.series.map(([name, , tone]) => {
      const item = make("li");
      const mark = make("i");
      mark.style.background = `var(${tone})`;
      const value = make("b", "", NONE);
      item.append(mark, make("span", "", name), value);
      legend.append(item);
      return value;
    });
    const box = make("div", "canvas");
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `Plot: ${spec.title}, ${spec.note}`);
    const empty = make("p", "empty", "No data yet");
    box.append(empty);
    figure.append(caption, legend, box);
    find("plots").append(figure);
    const built = { spec, box, values, empty };
    built.plot = new uPlot(options(spec, (index) => this.point(index)), [[], ...spec.series.map(() => [])], box);
    return built;
  }

  resize() {
    for (const { plot, box } of this.plots) {
      const width = box.clientWidth;
      if (width && plot.width !== width) plot.setSize({ width, height: HEIGHT });
    }
  }

  take({ full, ...columns }) {
    for (const [name, values] of Object.entries(columns)) {
      const kept = full ? values : [...(this.columns[name] ?? []), ...values];
      this.columns[name] = kept.slice(-KEPT);
    }
    const times = this.columns.t;
    for (const { spec, plot, empty } of this.plots) {
      const data = spec.series.map(([, name]) => this.columns[name]);
      const some = data.some((values) => values.some((value) => value));
      empty.hidden = some;
      plot.setData([times, ...data]);
    }
    if (this.cursor == null) this.legend(times.length - 1);
  }

  // The latest value of a column.
  latest(name) {
    return this.columns[name]?.at(-1) ?? null;
  }

  point(index) {
    this.cursor = index;
    this.legend(index ?? (this.columns.t?.length ?? 0) - 1);
  }

  legend(index) {
    const at = this.columns.t?.[index];
    const when = this.cursor == null || at === undefined ? "" : ` at ${time(new Date(at * 1000))}`;
    setText(find("history-title"), `Last 10 minutes${when}`);
    for (const { spec, values } of this.plots) {
      spec.series.forEach(([, name, , , , side], place) => {
        const value = this.columns[name]?.[index] ?? null;
        setText(values[place], side ? (value == null ? NONE : String(value)) : spec.show(value));
      });
    }
  }
}

function options(spec, onPoint) {
  const axis = (more) => ({
    stroke: () => colour("--muted"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: () => colour("--grid"), width: 1 },
    ticks: { show: false },
    ...more,
  });
  const right = spec.series.some(([, , , , , side]) => side);
  const range = (least) => (_plot, _low, high) => [0, spec.top ?? Math.max(least, (high ?? 0) * 1.1)];
  const now = () => Date.now() / 1000;
  return {
    width: 300,
    height: HEIGHT,
    padding: [8, right ? 0 : 8, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: "time", setSeries: false },
      drag: { x: false, y: false },
      points: { size: 6 },
    },
    scales: {
      x: {
        time: true,
        range: (plot) => {
          const last = plot.data[0].at(-1) ?? now();
          return [last - SPAN_S, last];
        },
      },
      y: { range: range(spec.least) },
      right: { range: range(5) },
    },
    axes: [
      axis({ size: 22, gap: 4, space: 70, values: (_plot, ticks) => ticks.map((at) => minutes(at)) }),
      axis({ size: 52, gap: 4, space: 34, values: (_plot, ticks) => ticks.map((value) => spec.show(value)) }),
      ...(right
        ? [axis({ side: 1, scale: "right", size: 36, gap: 4, space: 34, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] })]
        : []),
    ],
    series: [
      {},
      ...spec.series.map(([label, , tone, width, dash, side]) => ({
        label,
        scale: side ?? "y",
        stroke: () => colour(tone),
        width,
        dash,
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)] },
  };
}

const minutes = (at) => time(new Date(at * 1000)).slice(0, 5);
