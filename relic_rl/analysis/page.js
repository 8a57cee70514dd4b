// A click on a column's head sorts its table by that column; another click turns the order round.
for (const head of document.querySelectorAll("th[data-kind]")) {
  head.firstElementChild.addEventListener("click", () => {
    const heads = [...head.parentElement.children];
    const column = heads.indexOf(head);
    const isText = head.dataset.kind === "text";
    const before = head.getAttribute("aria-sort");
    const ascending = before ? before === "descending" : isText;
    const body = head.closest("table").tBodies[0];
    const key = (row) => row.cells[column].dataset.key;
    const number = (row) => (isNaN(key(row)) ? -Number.MAX_VALUE : Number(key(row)));
    const rows = [...body.rows].sort((a, b) => {
      const order = isText ? key(a).localeCompare(key(b)) : number(a) - number(b);
      return ascending ? order : -order;
    });
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...rows);
  });
}
