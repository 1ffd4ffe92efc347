(() => {
  const now = Date.now() / 1000;
  for (const time of document.querySelectorAll("time[data-ends]")) {
    const days = Math.floor((Date.parse(time.dateTime) / 1000 - now) / 86400);
    const said = document.createElement("span");
    said.textContent = days < 0 ? " (expired)" : days === 1 ? " (1 day left)" : ` (${days} days left)`;
    if (days < Number(time.dataset.ends)) said.className = "warn";
    time.after(said);
  }
  for (const svg of document.querySelectorAll("svg[data-curve]")) {
    const { start, span, left, width, curve } = svg.dataset;
    const elapsed = now - Number(start);
    let share = 0;
    for (const point of curve.split(" ").filter(Boolean)) {
      const [after, permille] = point.split(":").map(Number);
      if (after <= elapsed) share = permille;
    }
    const part = Math.min(Math.max(elapsed / Number(span), 0), 1);
    const marker = svg.querySelector(".now");
    const label = marker.querySelector("text");
    label.textContent = `now: ${share / 10} %`;
    if (part > 0.7) {
      label.setAttribute("x", "-5");
      label.setAttribute("class", "end");
    }
    if (share > 850) label.setAttribute("y", "40");
    marker.setAttribute("transform", `translate(${Number(left) + Number(width) * part} 0)`);
    marker.style.display = "inline";
    for (const said of document.querySelectorAll(`[data-of="${svg.id}"]`)) said.textContent = `${share / 10} % of installs now`;
  }
})();
