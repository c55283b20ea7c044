"use strict";

// A figure is drawn when it comes near the window: a page holds many.
function draw(plot) {
  if (plot.dataset.drawn) return;
  plot.dataset.drawn = "yes";
  const figure = JSON.parse(plot.querySelector("script").textContent);
  Plotly.newPlot(plot, figure.data, figure.layout, {responsive: true, displayModeBar: false});
}
const near = new IntersectionObserver(
  entries => entries.filter(entry => entry.isIntersecting).forEach(entry => draw(entry.target)),
  {rootMargin: "400px"},
);
document.querySelectorAll(".plot").forEach(plot => near.observe(plot));

for (const select of document.querySelectorAll("select[data-shows]")) {
  const show = () => {
    for (const each of document.querySelectorAll(`[data-group="${select.dataset.shows}"]`)) each.hidden = each.id !== select.value;
  };
  select.addEventListener("change", show);
  show();
}

const value = cell => cell.dataset.value ?? cell.textContent.trim().replaceAll(",", "");
const isNumber = text => text !== "" && !Number.isNaN(Number(text));

function sort(table, header, column) {
  const rows = [...table.tBodies[0].rows];
  const numbers = rows.some(row => isNumber(value(row.cells[column])));
  const was = header.getAttribute("aria-sort");
  const rising = was ? was === "descending" : !numbers;
  const key = row => {
    const text = value(row.cells[column]);
    return numbers ? (isNumber(text) ? Number(text) : -Infinity) : text;
  };
  rows.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (rising ? 1 : -1));
  table.tBodies[0].append(...rows);
  for (const each of header.parentElement.cells) each.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, header, column));
    header.append(button);
  });
}

// Paper has no clicks; a link to a closed card or part opens it.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach(each => { each.open = true; });
  document.querySelectorAll(".plot").forEach(draw);
});
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", open);
open();
