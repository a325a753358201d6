const body = document.querySelector("#videos tbody"), rows = [...body.rows], filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const text = filter.value.toLowerCase();
  rows.forEach(row => { row.hidden = !row.textContent.toLowerCase().includes(text); });
  document.getElementById("shown").textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
});
document.querySelectorAll("#videos th button").forEach((button, column) => {
  let turn = -1;
  button.addEventListener("click", () => {
    turn = -turn;
    const value = row => row.cells[column].textContent;
    const order = (a, b) => {
      const x = parseFloat(value(a)), y = parseFloat(value(b));
      return turn * (isNaN(x) || isNaN(y) ? value(a).localeCompare(value(b)) : x - y);
    };
    rows.sort(order).forEach(row => body.append(row));
    document.querySelectorAll("#videos th").forEach(head => head.removeAttribute("aria-sort"));
    button.parentElement.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
  });
});
