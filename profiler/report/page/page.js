"use strict";
// Sorts and filters the table of all layers. The page is complete without it.
(() => {
  const table = document.getElementById("all-layers");
  const body = table.tBodies[0];
  const headers = Array.from(table.tHead.rows[0].cells);
  const find = document.getElementById("find");
  const choices = Array.from(document.querySelectorAll("#tools select"));
  const count = document.getElementById("count");

  const network = Array.from(body.rows);
  const texts = new Map(network.map((row) => [row, Array.from(row.cells, textOf).join(" ").toLowerCase()]));
  const collator = new Intl.Collator("en", { numeric: true }); // conv2 before conv10
  let order = network.slice();

  function textOf(cell) {
    return cell.textContent.trim();
  }

  // A number, a text, or null of an empty cell.
  function valueOf(row, column) {
    const cell = row.cells[column];
    if (cell.classList.contains("none")) return null;
    return "value" in cell.dataset ? Number(cell.dataset.value) : textOf(cell);
  }

  function compare(a, b) {
    if (typeof a === "string" || typeof b === "string") return collator.compare(a, b);
    return a < b ? -1 : a > b ? 1 : 0;
  }

  // Empty cells are last in both directions; rows that are alike stay as they are.
  function sorted(rows, column, sign) {
    const keyed = rows.map((row) => ({ row, value: valueOf(row, column) }));
    keyed.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
      return sign * compare(a.value, b.value);
    });
    return keyed.map((entry) => entry.row);
  }

  function show(rows, column, direction) {
    order = rows;
    body.append(...order);
    headers.forEach((header, index) => header.setAttribute("aria-sort", index === column ? direction : "none"));
  }

  // Ascending, descending, the network's order.
  function turn(column) {
    const now = headers[column].getAttribute("aria-sort");
    if (now === "descending") show(network, null, "none");
    else if (now === "ascending") show(sorted(order, column, -1), column, "descending");
    else show(sorted(order, column, 1), column, "ascending");
  }

  // Columns keep their widths while rows come and go.
  function holdWidths(hold) {
    const widths = headers.map((header) => header.getBoundingClientRect().width);
    headers.forEach((header, index) => {
      header.style.minWidth = hold ? `${widths[index]}px` : "";
    });
  }

  function filter() {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = choices.filter((choice) => choice.value !== "");
    const all = wanted.length === 0 && chosen.length === 0;
    if (all) holdWidths(false);
    else if (!network.some((row) => row.hidden)) holdWidths(true);
    let shown = 0;
    for (const row of network) {
      const fits = chosen.every((choice) => choice.value === `=${textOf(row.cells[choice.dataset.column])}`);
      row.hidden = !(fits && wanted.every((word) => texts.get(row).includes(word)));
      shown += row.hidden ? 0 : 1;
    }
    const rows = network.length === 1 ? "row" : "rows";
    count.value = all ? `${network.length} ${rows}` : `${shown} of ${network.length} ${rows}`;
  }

  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => turn(column));
  });
  document.getElementById("network-order").addEventListener("click", () => show(network, null, "none"));
  find.addEventListener("input", filter);
  choices.forEach((choice) => choice.addEventListener("change", filter));
  document.getElementById("tools").hidden = false;
  filter(); // a browser that comes back to the page may have kept what was typed
})();
