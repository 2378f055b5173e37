// The page: asks every two seconds, draws what it gets, says what is missing.

import { Card, element } from "./chart.js";
import { Explorer } from "./explore.js";
import { showMode, showPath } from "./path.js";
import { showInbox, showRules } from "./privacy.js";

const EVERY_MS = 2000;
const THEMES = ["system", "dark", "light"];
const byId = (id) => document.getElementById(id);
const cards = new Map();
const regions = new Set();
let state = {};
let waiting = null;
let round = 0;

async function ask(path, params = {}) {
  const answer = await fetch(`${path}?${new URLSearchParams(params)}`, { signal: AbortSignal.timeout(15000) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? `answered ${answer.status}`);
  return body;
}

function look() {
  return { span: byId("span").value, region: byId("region").value };
}

function around(now) {
  const incident = state.incident && state.elapsed_s !== undefined ? state.incident : null;
  const start = now - (state.elapsed_s ?? 0);
  return { now, span: Number(byId("span").value), incident: incident && [start + incident.from_s, start + incident.to_s] };
}

function trouble(text) {
  const place = byId("trouble");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

function drawBoard(board, now) {
  const arrived = board.charts.some((chart) => chart.rows?.length);
  byId("board").hidden = !arrived && state.mode !== "demo" && !cards.size;
  if (byId("board").hidden) return;
  for (const chart of board.charts) {
    if (!cards.has(chart.id)) {
      cards.set(chart.id, new Card("board"));
      byId("grid").append(cards.get(chart.id).root);
    }
    cards.get(chart.id).show({ ...chart, rows: chart.rows ?? [] }, now);
    if (chart.id === "requests") for (const row of chart.rows ?? []) regions.add(row[1]);
  }
  offerRegions();
}

function offerRegions() {
  const select = byId("region");
  const known = new Set([...select.options].map((option) => option.value));
  for (const region of [...regions].sort()) if (!known.has(region)) select.append(element("option", { value: region }, region));
}

async function refresh() {
  clearTimeout(waiting);
  round += 1;
  const mine = round;
  try {
    const [now, board, catalog, inbox] = await Promise.all([ask("/api/state"), ask("/api/board", look()), ask("/api/catalog"), ask("/api/inbox")]);
    if (mine !== round) return;
    state = now;
    showMode(state);
    showPath(state);
    showRules(state);
    showInbox(inbox);
    trouble(board.store ? `No numbers from the store: ${board.store}. What is shown is what it said last. Trying again.` : "");
    if (!board.store || !cards.size) drawBoard(board, around(board.now));
    if (!catalog.store) explorer.list(catalog, state);
    await refreshChosen(board.now, mine);
  } catch (error) {
    if (mine === round) trouble(`This page's server does not answer (${error.message}). Trying again.`);
  }
  if (mine === round) waiting = setTimeout(refresh, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

async function refreshChosen(now, mine) {
  if (!explorer.chosen) return;
  const wish = explorer.wish;
  const answer = await ask("/api/chart", { ...wish, span: byId("span").value });
  if (mine === round && wish.name === explorer.chosen) explorer.show(answer, around(now));
}

function dress(theme) {
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
  for (const card of [...cards.values(), explorer.card]) if (card.u) card.redraw();
}

function remembered(name) {
  try {
    return localStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // a browser that keeps nothing: the choice lasts as long as the page
  }
}

const explorer = new Explorer(() => { if (round) refresh(); });
const asked = new URLSearchParams(location.search);
if ([...byId("span").options].some((option) => option.value === asked.get("span"))) byId("span").value = asked.get("span");
if (asked.get("region")) {
  regions.add(asked.get("region"));
  offerRegions();
  byId("region").value = asked.get("region");
}
for (const name of ["span", "region"]) {
  byId(name).addEventListener("change", () => {
    history.replaceState(null, "", `?${new URLSearchParams(look())}`);
    refresh();
  });
}
byId("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % THEMES.length];
  remember("theme", next);
  dress(next);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dress(document.documentElement.dataset.theme ?? "system"));
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
dress(THEMES.includes(remembered("theme")) ? remembered("theme") : "system");
refresh();
