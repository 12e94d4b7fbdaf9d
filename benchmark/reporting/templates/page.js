"use strict";
/* Tables are whole without this. A click on a heading sorts the rows of each block, a second one the
   other way round; what is typed above a longer table leaves the rows that hold it. */
const LONG = 6, UNITS = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };

function value(row, column) {
  const text = row.cells[column].textContent.trim().replace("−", "-");
  const number = /^[<>[(*\s]*([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?:\s*([kMGT])\b)?/.exec(text);
  return number ? Number(number[1]) * (UNITS[number[2]] || 1) : text;
}

function compare(a, b) {
  const numbers = [a, b].map((one) => typeof one === "number");
  if (numbers[0] && numbers[1]) return a - b;
  return numbers[0] ? -1 : numbers[1] ? 1 : a.localeCompare(b);
}

function sort(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const blocks = [[null, []]];
  for (const row of table.tBodies[0].rows) {
    if (row.cells[0].scope === "rowgroup") blocks.push([row, []]);
    else blocks[blocks.length - 1][1].push(row);
  }
  for (const [title, rows] of blocks) {
    rows.sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
    table.tBodies[0].append(...(title ? [title] : []), ...rows);
  }
}

function filter(table, text) {
  const wanted = text.toLowerCase();
  let title = null, named = false;
  for (const row of table.tBodies[0].rows) {
    const there = row.textContent.toLowerCase().includes(wanted);
    if (row.cells[0].scope === "rowgroup") {
      title = row;
      named = there;
      row.hidden = !there;
    } else {
      row.hidden = !there && !named;
      if (title && !row.hidden) title.hidden = false;
    }
  }
}

for (const table of document.querySelectorAll(".scroll:not(.shaded) > table")) {
  const headings = [...table.tHead.rows[0].cells];
  if (table.tBodies[0].rows.length < 2) continue;
  headings.forEach((heading, column) => {
    heading.classList.add("sortable");
    heading.tabIndex = 0;
    heading.addEventListener("click", () => sort(table, column));
    heading.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sort(table, column);
    });
  });
  if (table.tBodies[0].rows.length <= LONG) continue;
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "only rows with …";
  field.setAttribute("aria-label", field.placeholder);
  field.addEventListener("input", () => filter(table, field.value));
  table.parentElement.before(field);
}
