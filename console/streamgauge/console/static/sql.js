// The dialog that shows the statement of a chart, exactly as the store was asked.

const byId = (id) => document.getElementById(id);

export function showSql(chart) {
  byId("sql-title").textContent = chart.title;
  byId("sql-text").textContent = chart.sql;
  const params = Object.entries(chart.params).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
  const took = chart.took_ms === undefined ? "" : `; ${chart.rows.length} rows in ${chart.took_ms} ms`;
  byId("sql-params").textContent = `bound: ${params.join(", ") || "nothing"}${took}`;
  byId("sql-note").textContent = "";
  byId("sql").showModal();
}

async function copy() {
  const text = byId("sql-text");
  try {
    await navigator.clipboard.writeText(text.textContent);
    byId("sql-note").textContent = "copied";
  } catch {
    // a page that is not on localhost may not write the clipboard: the person copies the selection
    getSelection().selectAllChildren(text);
    byId("sql-note").textContent = "selected; copy it with Ctrl-C";
  }
}

byId("sql-copy").addEventListener("click", copy);
byId("sql").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close();
});
