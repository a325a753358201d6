"use strict";
// Tables that say what their rows are: a field that sifts the rows, and columns that sort them, by mouse or keyboard.
document.querySelectorAll("table[data-rows]").forEach(table => {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], groups = [];
  let left = 0;
  for (const row of body.rows) {  // lines that share a cell stay together
    if (!left) groups.push([]);
    groups[groups.length - 1].push(row);
    left = Math.max(left, ...[...row.cells].map(cell => cell.rowSpan)) - 1;
  }
  if (groups.length < 2) return;

  const label = document.createElement("label"), input = document.createElement("input"), shown = document.createElement("span");
  label.append(`Show those ${table.dataset.rows} that hold `, input);
  input.type = "search";
  shown.setAttribute("role", "status");
  const tools = document.createElement("p");
  tools.className = "tools";
  tools.append(label, shown);
  table.parentElement.before(tools);
  const sift = () => {
    const text = input.value.toLowerCase();
    let kept = 0;
    for (const group of groups) {
      const holds = group.some(row => row.textContent.toLowerCase().includes(text));
      kept += holds;
      group.forEach(row => { row.hidden = !holds; });
    }
    shown.textContent = `${kept} of ${groups.length}`;
  };
  input.addEventListener("input", sift);
  sift();

  const text = (group, column) => {
    let end = 0;
    return [...group[0].cells].find(cell => (end += cell.colSpan) > column)?.textContent ?? "";
  };
  const number = found => parseFloat(found.replaceAll("−", "-").replace(/,(?=\d{3})/g, ""));
  const compare = (a, b, numeric, turn) => {
    if (!numeric) return turn * a.localeCompare(b, undefined, {numeric: true});
    const [x, y] = [number(a), number(b)];
    return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : turn * (x - y);  // what is no number comes last either way
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1, numeric = head.classList.contains("number");
      groups.sort((a, b) => compare(text(a, column), text(b, column), numeric, turn));
      groups.forEach(group => body.append(...group));
      heads.forEach(one => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
    });
  });
});
