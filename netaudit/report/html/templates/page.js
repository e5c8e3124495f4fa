"use strict";
for (const table of document.querySelectorAll("table.rows")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const size = (text) => {
    const big = /^10\^(-?\d+)$/.exec(text);
    if (big) return Number(big[1]);
    return text === "inf" ? Infinity : text === "" || text === "?" ? NaN : Math.log10(Number(text));
  };
  const keys = {
    text: (cell) => cell.textContent,
    number: (cell) => size(cell.textContent.trim()),
    shape: (cell) => cell.textContent.trim().split("x").reduce((whole, n) => whole * (Number(n) || 1), 1),
  };
  const sort = (head, index) => {
    const down = head.ariaSort === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = keys[head.dataset.kind];
    const rows = [...body.rows].map((row) => [key(row.cells[index]), row]);
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a < b ? -1 : a > b ? 1 : 0);
    rows.sort(([a], [b]) => (a !== a || b !== b ? (a !== a) - (b !== b) : down ? compare(b, a) : compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  };
  heads.forEach((head, index) => {
    const name = head.querySelector("span"), button = document.createElement("button");
    button.type = "button";
    button.textContent = name.textContent;
    button.title = "sort by " + name.textContent;
    button.addEventListener("click", () => sort(head, index));
    name.replaceWith(button);
  });
  const filter = document.createElement("input");
  filter.type = "search";
  filter.className = "filter";
  filter.placeholder = "Filter";
  filter.setAttribute("aria-label", "Filter rows");
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  table.closest(".scroll").before(filter);
}
for (const fix of document.querySelectorAll(".fix")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(fix.firstElementChild.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(fix.firstElementChild);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  fix.append(button);
}
{
  const open = () => document.querySelector(location.hash || "#none")?.querySelector("details.big")?.setAttribute("open", "");
  addEventListener("hashchange", open);
  addEventListener("click", (event) => event.target.closest("nav a") && setTimeout(open));
  open();
  const button = document.querySelector("#download");
  const text = async () => {
    const held = document.querySelector("#netaudit-report").textContent, whole = JSON.parse(held);
    if (typeof whole !== "string") return held;
    const bytes = Uint8Array.from(atob(whole), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  button.hidden = false;
  button.addEventListener("click", async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([await text()], { type: "application/json" }));
    link.download = "netaudit.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
