for (const table of document.querySelectorAll("table.sortable")) {
  const head = table.tHead.rows[table.tHead.rows.length - 1];
  const column = (cell) => [...head.cells].indexOf(cell);
  const key = (row, index) => row.cells[index].dataset.sort ?? row.cells[index].textContent;
  for (const cell of head.cells) {
    const button = document.createElement("button");
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const sign = cell.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const index = column(cell);
      const body = table.tBodies[0];
      const compare = (a, b) => {
        const [x, y] = [key(a, index), key(b, index)];
        return cell.classList.contains("number")
          ? (x === "") - (y === "") || sign * (Number(x) - Number(y))
          : sign * x.localeCompare(y, undefined, { numeric: true });
      };
      body.append(...[...body.rows].sort(compare));
    });
  }
}
