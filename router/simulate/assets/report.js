"use strict";

// Draws what the elements with `data-chart` name, from the page's data, in the colours of its style sheet.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
  const COLOURS = 6;
  const TALL = 240;
  const LOW = 170;

  // -- numbers -------------------------------------------------------------------------------

  const number = (value) => String(Number(value.toPrecision(3)));
  const percent = (value) => `${number(100 * value)} %`;
  const seconds = (value) => `${number(value)} s`;
  const duration = (value) => (value < 0.9995 ? `${number(1000 * value)} ms` : seconds(value));

  /** What a legend shows: nothing while no place is pointed at. */
  const pointed = (format) => (plot, value, line, place) => {
    if (place == null) return "";
    return value == null ? "–" : format(value);
  };
  const ticks = (format) => (plot, values) => values.map((v) => (v == null ? "" : format(v)));
  const mantissa = (value) => Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));

  // -- looks ---------------------------------------------------------------------------------

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (index) => css(`--c${index % COLOURS}`);
  const dash = (index) => DASHES[Math.floor(index / COLOURS) % DASHES.length];

  const axis = (label, format, options) => ({
    label,
    labelSize: 20,
    labelFont: FONT,
    font: FONT,
    stroke: css("--muted"),
    grid: { stroke: css("--grid"), width: 1 },
    ticks: { stroke: css("--line"), width: 1, size: 4 },
    values: ticks(format),
    ...options,
  });
  const xAxis = (label, format, options) => axis(label, format, { size: 28, gap: 4, ...options });

  /** Only the powers of ten, since lines between them would fill the chart; where they are few, 2 and 5 too. */
  const logarithmic = (kind, scale) => {
    const filter = (plot, values) => {
      const { min, max } = plot.scales[scale];
      const kept = max / min < 100 ? [1, 2, 5] : [1];
      return values.map((value) => (kept.includes(mantissa(value)) ? value : null));
    };
    kind.grid.filter = kind.ticks.filter = kind.filter = filter;
  };

  const policyLine = (index, format) => ({
    label: data.policies[index],
    stroke: colour(index),
    dash: dash(index),
    width: index === 0 ? 2.5 : 1.5,
    points: { show: false },
    value: pointed(format),
  });

  const legend = {
    markers: {
      width: (plot, index) => (dash(index - 1).length ? 2 : 0),
      dash: (plot, index) => (dash(index - 1).length > 0 ? "dashed" : "solid"),
      fill: (plot, index) => (dash(index - 1).length ? "transparent" : colour(index - 1)),
    },
  };

  const fromZero = (plot, low, high) => [0, high > 0 ? 1.05 * high : 1];
  const shareFromZero = (plot, low, high) => [0, Math.min(1, high > 0 ? 1.1 * high : 1)];
  const whole = [0, 1];

  /** A dashed line upright at `value` of the x scale, with a word beside it. */
  const mark = (value, word) => (plot) => {
    const { ctx, bbox } = plot;
    const x = plot.valToPos(value, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) return;
    const pixel = devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = css("--muted");
    ctx.lineWidth = pixel;
    ctx.setLineDash([3 * pixel, 3 * pixel]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.font = `${11 * pixel}px system-ui, sans-serif`;
    const right = x < bbox.left + 0.75 * bbox.width;
    ctx.textAlign = right ? "left" : "right";
    const place = [word, x + (right ? 4 : -4) * pixel, bbox.top + bbox.height - 6 * pixel];
    ctx.setLineDash([]);
    ctx.lineWidth = 4 * pixel;
    ctx.strokeStyle = css("--back");
    ctx.strokeText(...place);
    ctx.fillText(...place);
    ctx.restore();
  };

  // -- charts --------------------------------------------------------------------------------

  /** `x` and `y` say how the axes are called and their values are written. */
  const policyChart = (chart, x, y, options) => ({
    height: TALL,
    data: [chart.x, ...chart.lines],
    legend,
    series: [
      { label: x.name, value: pointed((value) => `${x.name} ${x.format(value)}`) },
      ...chart.lines.map((_, index) => policyLine(index, y.format)),
    ],
    axes: [xAxis(x.label, x.tick ?? x.format), axis(y.label, y.format, { size: 56 })],
    ...options,
  });

  const TIME = { name: "at", label: "seconds", format: seconds, tick: number };
  const together = (level) => ({ sync: { key: `level-${level}` } });

  const timeChart = (level, chart, y, range) =>
    policyChart(chart, TIME, y, {
      scales: { x: { time: false }, y: { range } },
      cursor: together(level),
    });

  const charts = {
    overview() {
      const { label, x, lines } = data.overview;
      const chart = policyChart(
        { x, lines },
        { name: label.split(",")[0], label, format: number },
        { label: "mean TTFT", format: duration },
        { scales: { x: { time: false }, y: { distr: 3 } } },
      );
      chart.axes[0].splits = () => x;
      logarithmic(chart.axes[1], "y");
      chart.series.slice(1).forEach((line) => (line.points = { show: true, size: 6, fill: css("--back") }));
      return chart;
    },
    ttft(level) {
      const chart = policyChart(
        data.levels[level].ttft,
        { name: "within", label: "TTFT", format: duration },
        { label: "share of requests", format: percent },
        {
          scales: { x: { time: false, distr: 3 }, y: { range: whole } },
          hooks: { draw: [mark(data.objective, "objective")] },
        },
      );
      logarithmic(chart.axes[0], "x");
      return chart;
    },
    waiting(level) {
      const y = { label: "requests", format: number };
      return timeChart(level, data.levels[level].waiting, y, fromZero);
    },
    hits(level) {
      const y = { label: "cached", format: percent };
      return timeChart(level, data.levels[level].hits, y, shareFromZero);
    },
    inflight(level, policy) {
      const panels = data.levels[level].inflight;
      const { x, lines } = panels[policy];
      const most = Math.max(...panels.flatMap((panel) => panel.lines.flat()));
      const average = x.map((_, i) => {
        const there = lines.map((line) => line[i]).filter((value) => value != null);
        return there.length ? there.reduce((sum, value) => sum + value, 0) / there.length : null;
      });
      const stroke = colour(policy);
      const thin = { stroke, width: 1, alpha: 0.5, points: { show: false } };
      return {
        height: LOW,
        data: [x, ...lines, average],
        legend: { show: false },
        scales: { x: { time: false }, y: { range: [0, 1.05 * most || 1] } },
        series: [{}, ...lines.map(() => thin), { ...thin, width: 2.5, alpha: 1 }],
        axes: [
          xAxis("seconds", number, { space: 45 }),
          axis("requests", number, { size: 44 }),
        ],
        cursor: { ...together(level), points: { show: false } },
      };
    },
  };

  // -- the page ------------------------------------------------------------------------------

  const plots = new Map();

  const draw = (element) => {
    const [kind, level, policy] = element.dataset.chart.split("-");
    const { data: columns, ...options } = charts[kind](Number(level), Number(policy));
    plots.get(element)?.destroy();
    options.width = element.clientWidth;
    plots.set(element, new uPlot(options, columns, element));
  };

  const fit = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const plot = plots.get(target);
      if (plot && plot.width !== target.clientWidth) {
        plot.setSize({ width: target.clientWidth, height: plot.height });
      }
    }
  });

  const elements = document.querySelectorAll("[data-chart]");
  const drawAll = () => elements.forEach(draw);
  drawAll();
  elements.forEach((element) => fit.observe(element));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
