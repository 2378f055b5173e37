// One card with one chart. Rows come from the store; nothing is smoothed, filled in or made up.
/* global uPlot */

import { amount, tick } from "./format.js";
import { showSql } from "./sql.js";

const COLOURS = 8;
const MOST_SERIES = 12;
const HEIGHT = 190;
const names = new Map();

// a series has one colour on the whole page; quantiles have their own
function colourOf(name) {
  if (!names.has(name)) names.set(name, names.size % COLOURS);
  return css(`--line-${names.get(name)}`);
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// rows (t, series, y) or (t, y, y, …) as uPlot's columns
export function columns(chart) {
  if (chart.names.length) {
    return { labels: chart.names, data: [0, ...chart.names.map((_, at) => at + 1)].map((at) => chart.rows.map((row) => row[at])), left: 0 };
  }
  const sums = new Map();
  for (const [, series, y] of chart.rows) sums.set(series, (sums.get(series) ?? 0) + Math.abs(y ?? 0));
  const largest = [...sums.keys()].sort((a, b) => sums.get(b) - sums.get(a));
  const labels = largest.slice(0, MOST_SERIES).sort();
  const times = [...new Set(chart.rows.map((row) => row[0]))].sort((a, b) => a - b);
  const at = new Map(times.map((time, place) => [time, place]));
  const data = [times, ...labels.map(() => new Array(times.length).fill(null))];
  const place = new Map(labels.map((label, index) => [label, index + 1]));
  for (const [time, series, y] of chart.rows) if (place.has(series)) data[place.get(series)][at.get(time)] = y;
  return { labels, data, left: largest.length - labels.length };
}

export class Card {
  constructor(sync = "") {
    this.sync = sync;
    this.hidden = new Set();
    this.title = element("h3");
    this.says = element("p", { class: "says" });
    this.button = element("button", { type: "button", class: "sql", onclick: () => showSql(this.chart) }, "SQL");
    this.legend = element("ul", { class: "legend" });
    this.note = element("p", { class: "note" });
    this.plot = element("div", { class: "plot" });
    const head = element("div", { class: "head" }, element("div", {}, this.title, this.says), this.button);
    this.root = element("article", { class: "card" }, head, this.legend, this.plot, this.note);
    this.sizes = new ResizeObserver(() => this.u?.setSize({ width: this.width(), height: HEIGHT }));
    this.sizes.observe(this.plot);
  }

  width() {
    return Math.max(200, this.plot.clientWidth);
  }

  close() {
    this.sizes.disconnect();
    this.u?.destroy();
    this.root.remove();
  }

  show(chart, around) {
    this.chart = chart;
    this.around = around;
    this.root.dataset.chart = chart.id;
    this.title.textContent = chart.title;
    this.says.textContent = chart.says;
    this.button.setAttribute("aria-label", `SQL of ${chart.title}`);
    if (chart.error) {
      this.tell(chart.error, true);
      return;
    }
    const { labels, data, left } = columns(chart);
    const more = left > 0 ? `the ${labels.length} largest; ${left} more are not drawn` : "";
    this.tell(data[0].length ? more : `waiting for ${chart.awaits || "the first window"}`, false);
    this.data = data;
    if (!this.u || this.labels.join("\n") !== labels.join("\n")) this.build(labels);
    else this.u.setData(data);
    this.values(null);
  }

  tell(text, bad) {
    this.note.textContent = text;
    this.note.classList.toggle("bad", bad);
  }

  build(labels) {
    this.u?.destroy();
    this.labels = labels;
    this.legend.replaceChildren(...labels.map((label, at) => this.entry(label, at)));
    const axis = { stroke: () => css("--muted"), grid: { stroke: () => css("--rule"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    this.u = new uPlot(
      {
        width: this.width(),
        height: HEIGHT,
        padding: [10, 6, 0, 0],
        legend: { show: false },
        cursor: { sync: this.sync ? { key: this.sync, setSeries: false } : undefined, points: { size: 7 }, drag: { x: false, y: false } },
        tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), "Etc/UTC"),
        scales: { x: { range: () => this.xRange() }, y: { range: (_, low, high) => this.yRange(low, high) } },
        axes: [
          { ...axis, size: 30, values: (_, all, __, ___, step) => all.map((at) => timeTick(at, step)) },
          { ...axis, size: 62, values: (_, all) => all.map((value) => tick(value, this.chart.unit)) },
        ],
        series: [{}, ...labels.map((label) => ({ label, stroke: () => colourOf(label), width: 2, show: !this.hidden.has(label), points: { size: 5, fill: () => colourOf(label) } }))],
        hooks: { drawAxes: [(u) => this.mark(u)], setCursor: [(u) => this.values(u.cursor.idx)] },
      },
      this.data,
      this.plot,
    );
  }

  entry(label, at) {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colourOf(label);
    const value = element("output", {}, "–");
    const button = element("button", { type: "button", "aria-pressed": String(!this.hidden.has(label)) }, swatch, label || "(none)", " ", value);
    button.addEventListener("click", () => {
      const show = this.hidden.has(label);
      if (show) this.hidden.delete(label);
      else this.hidden.add(label);
      button.setAttribute("aria-pressed", String(show));
      this.u.setSeries(at + 1, { show });
    });
    return element("li", {}, button);
  }

  // values under the cursor, else the latest ones
  values(index) {
    const outputs = this.legend.querySelectorAll("output");
    outputs.forEach((output, at) => {
      const column = this.data[at + 1] ?? [];
      const value = index === null || index === undefined ? column.findLast((one) => one !== null) : column[index];
      output.textContent = amount(value ?? null, this.chart.unit);
      output.classList.toggle("bad", this.chart.limit !== null && value > this.chart.limit);
    });
  }

  xRange() {
    const first = this.data[0][0] ?? this.around.now;
    return [Math.max(this.around.now - this.around.span, Math.min(first, this.around.now - 60)), this.around.now];
  }

  yRange(low, high) {
    const top = Math.max(high ?? 0, this.chart.limit ? this.chart.limit * 1.3 : 0);
    return [Math.min(0, low ?? 0), top > 0 ? top * 1.08 : 1];
  }

  // the line of the limit, and when the incident was on
  mark(u) {
    const { ctx } = u;
    const { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    if (this.around.incident && this.chart.limit !== null) {
      const [from, to] = this.around.incident.map((at) => u.valToPos(at, "x", true));
      ctx.fillStyle = css("--shade");
      ctx.fillRect(from, top, to - from, height);
    }
    if (this.chart.limit !== null) {
      const y = u.valToPos(this.chart.limit, "y", true);
      ctx.strokeStyle = ctx.fillStyle = css("--bad");
      ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(left, y);
      ctx.lineTo(left + width, y);
      ctx.stroke();
      ctx.textAlign = "left";
      ctx.textBaseline = "bottom";
      ctx.font = `${11 * devicePixelRatio}px system-ui`;
      ctx.fillText(tick(this.chart.limit, this.chart.unit), left + 6 * devicePixelRatio, y - 2 * devicePixelRatio);
    }
    ctx.restore();
  }

  redraw() {
    this.legend.querySelectorAll(".swatch").forEach((swatch, at) => { swatch.style.background = colourOf(this.labels[at]); });
    this.u?.redraw(false, true);
  }
}

function timeTick(at, step) {
  const text = new Date(at * 1e3).toISOString();
  if (step < 60) return text.slice(11, 19);
  return step < 86400 ? text.slice(11, 16) : text.slice(5, 10);
}
