"use strict";
// Everything can be read without this; it adds sorting, and opens what is looked for or printed.

function key(cell) {
  const number = parseFloat(cell.dataset.value ?? cell.textContent.replace(/,/g, ""));
  return Number.isNaN(number) ? null : number;
}

function compare(a, b, turn) {
  const [x, y] = [key(a), key(b)];
  if (x !== null && y !== null) return turn * (x - y);
  if (x !== null || y !== null) return x === null ? 1 : -1; // what has no number comes last
  return turn * a.textContent.localeCompare(b.textContent);
}

function sort(table, column) {
  const head = table.tHead.rows[0].cells;
  const before = head[column].getAttribute("aria-sort");
  // numbers are most often asked for from the highest on, names and ids from the lowest
  const down = before ? before === "ascending" : column > 0;
  for (const cell of head) cell.removeAttribute("aria-sort");
  head[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compare(a.cells[column], b.cells[column], down ? -1 : 1));
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    button.addEventListener("click", () => sort(table, column));
    cell.append(button);
  });
}

function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", unfold);
if (location.hash) unfold();

addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) {
    part.open = true;
    part.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const part of document.querySelectorAll("details[data-printed]")) {
    part.open = false;
    delete part.dataset.printed;
  }
});
