"use strict";
/* Makes the tables sortable and lets them be saved; without it they are tables all the same. */
const value = (cell) => {
  const small = cell.querySelector("small");
  return (small ? cell.textContent.slice(0, -small.textContent.length) : cell.textContent).trim();
};
const number = (text) => {
  const found = /^\[?([+−-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)/.exec(text);
  return found ? Number(found[1].replaceAll(",", "").replace("−", "-")) : NaN;
};

function sort(table, head, column) {
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, text: value(row.cells[column]) }));
  const known = rows.filter((it) => it.text !== "");
  const numeric = column > 0 && known.every((it) => !Number.isNaN(number(it.text)));
  const before = head.getAttribute("aria-sort");
  const order = before === "descending" || (before === null && !numeric) ? "ascending" : "descending";
  const compare = (a, b) =>
    numeric ? number(a.text) - number(b.text) : a.text.localeCompare(b.text, "en", { numeric: true });
  known.sort((a, b) => (order === "ascending" ? compare(a, b) : compare(b, a)));
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  table.tBodies[0].append(...known.map((it) => it.row), ...rows.filter((it) => it.text === "").map((it) => it.row));
}

function save(table, name) {
  const rows = [...table.rows].map((row) => [...row.cells]);
  const intervals = rows[0].map((_, column) => rows.some((cells) => cells[column].querySelector("small")));
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const fields = (cell, column, first) => [
    value(cell),
    ...(intervals[column] ? [first ? `${value(cell)} interval` : (cell.querySelector("small")?.textContent ?? "")] : []),
  ];
  const lines = rows.map((cells, row) => cells.flatMap((cell, at) => fields(cell, at, row === 0)).map(quoted).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
  link.download = `${name}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function button(text, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", action);
  return made;
}

for (const table of document.querySelectorAll("table.grid")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.replaceChildren(button(head.textContent, () => sort(table, head, column)));
  });
  const part = table.closest("section, article");
  let files = part.querySelector(".files");
  if (!files) {
    files = document.createElement("p");
    files.className = "files";
    table.parentNode.after(files);
  }
  files.append(button("save this table", () => save(table, part.id)));
}
