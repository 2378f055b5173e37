// The panel that shows where every point is.

import { clock, count, seconds } from "./format.js";
import { element } from "./chart.js";

const byId = (id) => document.getElementById(id);

export function showPath(state) {
  const books = state.accounts ?? {};
  for (const name of ["emitted", "rolled_up", "in_store"]) byId(name).textContent = count(books[name]);
  byId("emitted-how").textContent = books.emitted === null ? "senders are your services" : "counted by the producers";
  byId("lag").textContent = seconds(books.lag_p50_s);
  byId("lag-how").textContent = books.lag_p99_s === null || books.lag_p99_s === undefined ? "measured by a probe" : `median; 99th percentile ${seconds(books.lag_p99_s)}`;
  if (books.rolled_up !== undefined) byId("sides").replaceChildren(...sides(books), ...standing(state.checked));
  const verdict = byId("verdict");
  verdict.hidden = !books.final;
  verdict.textContent = books.balanced ? "every count agrees" : "counts differ";
  verdict.classList.toggle("bad", !books.balanced);
}

function sides(books) {
  const rules = Object.entries(books.scrubbed ?? {}).sort(([, a], [, b]) => b - a);
  const lines = [
    side("Scrubbed", rules.reduce((sum, [, values]) => sum + values, 0), byName(rules), false, true),
    side("Refused", books.refused, byName(Object.entries(books.refused_by_reason ?? {})), books.refused > 0),
    side("Dead letters", books.dead, "", books.dead > 0),
    side("Lost", books.lost, "", books.lost > 0),
    side("Doubled", books.doubled, "", books.doubled > 0),
  ];
  const dropped = Object.entries(books.dropped ?? {});
  if (dropped.length) lines.push(side("Dropped by producers", dropped.reduce((sum, [, points]) => sum + points, 0), byName(dropped), true));
  return lines;
}

// The standing check: ledger against every tier, by day, over all that the store holds.
function standing(found) {
  if (!found) return [];
  const wrong = ["lost", "doubled", "edited", "misplaced"].filter((name) => found[name]).map((name) => [name, found[name]]);
  const detail = found.exact ? `ledger against every tier at ${hour(found.at)} UTC` : `${byName(wrong)}; since ${hour(found.since)} UTC`;
  const verdict = element("output", { class: found.exact ? "" : "bad" }, found.exact ? "exact" : "not exact");
  return [element("div", { class: "wide", id: "checked" }, element("dt", {}, "Checked"), element("dd", {}, verdict, element("span", { class: "how" }, detail)))];
}

function hour(instant) {
  return instant.slice(11, 19);
}

function byName(pairs) {
  return pairs.map(([name, value]) => `${name.replaceAll("_", " ")} ${count(value)}`).join(", ");
}

function side(name, value, detail, bad, wide = false) {
  const number = element("output", { class: bad ? "bad" : "" }, count(value));
  return element("div", { class: wide ? "wide" : "" }, element("dt", {}, name), element("dd", {}, number, element("span", { class: "how" }, detail)));
}

export function showMode(state) {
  const over = state.run_s && state.elapsed_s >= state.run_s;
  const run = state.run_s ? ` of ${clock(state.run_s)}` : "";
  const time = state.elapsed_s === undefined ? "" : over ? ` is over after ${clock(state.run_s)}` : ` ${clock(state.elapsed_s)}${run}`;
  byId("mode").textContent = [`${state.mode ?? ""}${time}`, state.shop, incidentText(state)].filter(Boolean).join(" · ");
  byId("addresses").replaceChildren(
    ...Object.entries(state.addresses ?? {}).map(([name, text]) => element("span", {}, element("b", {}, name), ` ${text}`)),
  );
}

function incidentText(state) {
  const one = state.incident;
  if (!one || state.elapsed_s === undefined) return "";
  if (state.elapsed_s < one.from_s) return `an incident starts in ${one.region} at ${clock(one.from_s)}`;
  return state.elapsed_s < one.to_s ? `incident in ${one.region} since ${clock(one.from_s)}` : `incident in ${one.region} was over at ${clock(one.to_s)}`;
}
