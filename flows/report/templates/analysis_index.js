"use strict";
(() => {
  const body = document.querySelector("#videos tbody"), filter = document.getElementById("filter"), kind = document.getElementById("kind");
  const heads = [...document.querySelectorAll("#videos th")];
  const rows = [...body.rows].map((row) => {
    const cells = Array.from(row.cells, (cell) => cell.textContent);
    return {row, cells, text: cells.join(" ").toLowerCase(), refused: row.classList.contains("refused")};
  });
  const sift = () => {
    const text = filter.value.toLowerCase();
    let count = 0;
    for (const one of rows) {
      const meant = kind.value === "refused" ? one.refused : !kind.value || one.cells[one.cells.length - 1];
      one.row.hidden = !(meant && one.text.includes(text));
      count += !one.row.hidden;
    }
    document.getElementById("shown").textContent = `${count} of ${rows.length}`;
  };
  filter.addEventListener("input", sift);
  kind.addEventListener("change", sift);
  const NUMBERS = new Set([1, 2, 4, 6, 7, 8]), words = new Intl.Collator(undefined, {numeric: true});
  heads.forEach((head, column) => {
    let turn = -1;
    head.firstElementChild.addEventListener("click", () => {
      turn = -turn;
      // What is empty comes last, whichever way is sorted.
      const order = (a, b) => {
        const x = a.cells[column], y = b.cells[column];
        if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
        return turn * (NUMBERS.has(column) ? x - y : words.compare(x, y));
      };
      body.append(...rows.sort(order).map((one) => one.row));
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
    });
  });
})();
