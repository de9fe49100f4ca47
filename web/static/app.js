// Countersign's own script: copying, countdowns and keys. Everything works without it.
(() => {
  const each = (selector, fn, root = document) => root.querySelectorAll(selector).forEach(fn);

  // Copy buttons
  each("[data-copy]", (button) => {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
      button.lastChild.textContent = " Copied";
    });
  });

  // Time left: the server decides, this only shows it. Announced by nobody, updated each second near the end.
  const tick = () => each("[data-until]", (b) => {
    const s = Math.max(0, Math.round((new Date(b.dataset.until) - Date.now()) / 1000));
    b.textContent = `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")} left`;
    const bar = b.parentElement.querySelector("progress");
    if (bar) bar.value = s;
  });
  if (document.querySelector("[data-until]")) { tick(); setInterval(tick, 1000); }

  // Keys on the queue: J and K move, A and D only go to a button, Enter on it decides.
  const hint = document.querySelector("[data-keys]");
  if (!hint || localStorage.getItem("countersign-keys") === "off") return;
  hint.hidden = false;
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select")) return;
    const links = [...document.querySelectorAll("#queue ol a")];
    const at = links.indexOf(document.activeElement);
    const target = {
      j: links[Math.min(at + 1, links.length - 1)], k: links[Math.max(at - 1, 0)],
      a: document.querySelector("[data-key=a]"), d: document.querySelector("[data-key=d]"),
    }[e.key];
    if (target) { e.preventDefault(); target.focus(); }
  });
})();
