// Tables that sort, that can be searched, and that can be copied. Without this script they are plain tables.
"use strict";

const LONG = 8; // rows from which a table can be searched

function cells(row) {
  return Array.from(row.cells);
}

/** The value of a cell to sort by: a number where it says so, else its text; null for an empty cell. */
function key(row, column) {
  const cell = row.cells[column];
  const given = cell.dataset.value ?? cell.textContent.trim();
  if (given === "" || given === "-") return null;
  const number = Number(given);
  return Number.isNaN(number) ? given : number;
}

/** Ascending order; numbers before text. */
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a.localeCompare(b, undefined, { numeric: true });
}

/** Sort the rows of a table: "ascending", "descending", or "none", the order they came in. Empty cells stay at the end. */
function sort(body, original, column, order) {
  const rows = original.slice();
  const sign = order === "descending" ? -1 : 1;
  if (order !== "none") {
    rows.sort((x, y) => {
      const a = key(x, column);
      const b = key(y, column);
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * compare(a, b);
    });
  }
  body.append(...rows);
}

function makeSortable(table, body) {
  const original = Array.from(body.rows);
  const heads = cells(table.tHead.rows[table.tHead.rows.length - 1]);
  const next = { none: "ascending", ascending: "descending", descending: "none" };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const order = next[head.getAttribute("aria-sort")];
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", order);
      sort(body, original, column, order);
    });
  });
}

/** The rows that are shown, as comma-separated values; numbers in full. */
function csv(table) {
  const quote = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const rows = Array.from(table.rows).filter((row) => !row.hidden);
  const value = (cell) => cell.dataset.value ?? cell.textContent.trim();
  return rows.map((row) => cells(row).map((cell) => quote(value(cell))).join(",") + "\n").join("");
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // an old browser, or a page that was not opened securely
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

function addTools(table, body) {
  const tools = document.createElement("div");
  tools.className = "tools";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  if (body.rows.length >= LONG) {
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "filter rows";
    input.setAttribute("aria-label", "filter the rows of the table");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      const shown = Array.from(body.rows).filter((row) => !row.hidden).length;
      said.textContent = words.length ? `${shown} of ${body.rows.length} rows` : "";
    });
    tools.append(input);
  }
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy as CSV";
  button.addEventListener("click", async () => {
    await copy(csv(table));
    said.textContent = "copied";
  });
  tools.append(button, said);
  const box = table.closest(".wide") ?? table;
  if (body.rows.length >= LONG) box.before(tools);
  else box.after(tools);
}

for (const table of document.querySelectorAll("main table")) {
  const body = table.tBodies[0];
  makeSortable(table, body);
  addTools(table, body);
}
