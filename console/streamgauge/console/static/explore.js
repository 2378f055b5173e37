// Any metric or event that has arrived: a list, and a chart of the one that is chosen.

import { Card, element } from "./chart.js";

const PROBE = "lag_probe";
const byId = (id) => document.getElementById(id);

export class Explorer {
  constructor(changed) {
    this.changed = changed;
    this.chosen = "";
    this.entries = [];
    this.card = new Card();
    byId("chosen").append(this.card.root);
    for (const name of ["value", "group", "tier"]) byId(`wish-${name}`).addEventListener("change", changed);
  }

  get wish() {
    return { name: this.chosen, value: byId("wish-value").value, group: byId("wish-group").value, tier: byId("wish-tier").value };
  }

  list(catalog, state) {
    this.entries = catalog.entries;
    byId("arrived").textContent = this.entries.length ? `${this.entries.length} metrics and events` : "nothing so far";
    byId("explorer").hidden = !this.entries.length;
    // the shop of a demo sends by itself
    byId("emit").hidden = state.mode === "demo" || this.entries.some((one) => one.name !== PROBE);
    byId("emit-where").textContent = state.addresses?.broker
      ? `Run it in the directory of streamgauge ${state.mode ?? "dev"}, or anywhere with STREAMGAUGE_BROKERS=${state.addresses.broker}`
      : "Set STREAMGAUGE_BROKERS to the address of your Kafka.";
    if (!this.entries.length) return;
    const known = [...byId("entries").children].map((item) => item.dataset.name);
    if (known.join() !== this.entries.map((one) => one.name).join()) byId("entries").replaceChildren(...this.entries.map((one) => this.item(one)));
    if (!this.entries.some((one) => one.name === this.chosen)) this.choose(this.entries[0].name);
  }

  item(one) {
    const words = [...new Set([one.type, one.unit.replace(/[{}]/g, "")])].filter(Boolean).join(", ");
    const button = element("button", { type: "button", "aria-pressed": String(one.name === this.chosen), onclick: () => this.choose(one.name) }, one.name, element("span", { class: "how" }, words));
    const item = element("li", {}, button);
    item.dataset.name = one.name;
    return item;
  }

  choose(name) {
    this.chosen = name;
    const one = this.entries.find((entry) => entry.name === name);
    for (const item of byId("entries").children) item.firstChild.setAttribute("aria-pressed", String(item.dataset.name === name));
    options("wish-value", one.values);
    options("wish-group", one.groups);
    options("wish-tier", ["", ...one.tiers], "automatic");
    this.changed();
  }

  show(answer, around) {
    if (answer.charts.length) this.card.show(answer.charts[0], around);
  }
}

function options(id, values, empty = "") {
  const select = byId(id);
  const before = select.value;
  select.replaceChildren(...values.map((value) => element("option", { value }, value || empty)));
  if (values.includes(before)) select.value = before;
}
