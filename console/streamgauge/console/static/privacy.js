// What was taken out of values, by rule, and keys that are new: shapes only, there is no value to show.

import { count } from "./format.js";
import { element } from "./chart.js";
import { showSql } from "./sql.js";

const byId = (id) => document.getElementById(id);
let asked = { sql: "", params: {} };

export function showRules(state) {
  const rules = Object.entries(state.accounts?.scrubbed ?? {}).sort(([, a], [, b]) => b - a);
  const all = rules.reduce((sum, [, values]) => sum + values, 0);
  byId("rules").hidden = !rules.length;
  byId("rules").tBodies[0].replaceChildren(
    ...rules.map(([rule, values]) => row([rule.replaceAll("_", " "), number(count(values)), number(share(values, all))])),
  );
}

export function showInbox(answer) {
  asked = answer;
  const keys = answer.keys ?? [];
  byId("inbox").hidden = !keys.length;
  byId("inbox-none").hidden = keys.length > 0;
  byId("inbox-none").textContent = answer.store ? `New keys are not known: ${answer.store}.` : "No key is new.";
  byId("inbox").tBodies[0].replaceChildren(...keys.map(key));
}

function key(one) {
  const rule = element("td", { class: one.suspicious ? "bad" : "" }, one.rule.replaceAll("_", " ").replaceAll(":", ": ") || "passes");
  return row([one.family, element("td", {}, element("code", {}, one.key)), rule, element("td", {}, ...one.shapes.flatMap(shape)), one.first_seen.replace("T", " ").replace("Z", "")]);
}

function shape(text) {
  return [element("code", {}, text), " "];
}

function row(cells) {
  return element("tr", {}, ...cells.map((cell) => (typeof cell === "string" ? element("td", {}, cell) : cell)));
}

function number(text) {
  return element("td", { class: "number" }, text);
}

function share(values, all) {
  return `${Number(((100 * values) / all).toPrecision(2))} %`;
}

byId("inbox-sql").addEventListener("click", () => showSql({ title: "New keys", ...asked }));
