// Countersign's own script: copying, countdowns, keys, and what htmx should not do. Everything works without it.
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];

  // Copy buttons
  for (const button of all("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy).textContent.trim();
      const words = button.querySelector("[data-words]");
      try {
        await navigator.clipboard.writeText(text);
        words.textContent = "Copied";
      } catch {
        words.textContent = "Select it and copy";
      }
    });
  }

  // Time left, counted on from what the page said: the clock of this machine may be wrong, and the server decides. It
  // moves each 15 s, and each second in the last minute; it is read aloud at two minutes and at half a minute.
  const now = () => performance.now() / 1000;
  const tick = () => {
    for (const b of all("[data-left]")) {
      if (b.given !== b.dataset.left) { b.given = b.dataset.left; b.ends = now() + Number(b.given); b.was = undefined; }
      const s = Math.max(0, Math.round(b.ends - now())), what = b.dataset.say;
      if (b.was !== undefined && s > 60 && s % 15) continue;
      for (const mark of [120, 30]) if (what && b.was > mark && s <= mark) document.getElementById("say").textContent = `${mark} seconds left ${what}`;
      b.was = s;
      b.textContent = s < 3600 ? `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")} left`
        : `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min left`;
      if (what) b.parentElement.querySelector("progress").value = s;
    }
  };
  if (document.getElementById("queue")) { tick(); setInterval(tick, 1000); }

  // How many are ticked, in the words of the button that takes them
  for (const words of all("[data-ticked]")) {
    const say = () => {
      const n = all(`[name="${words.dataset.ticked}"]:checked`).length;
      words.textContent = n === 1 ? "1 server" : `${n} servers`;
    };
    document.addEventListener("change", say);
    say();
  }

  // A row that has the focus stays where it is: what would move it waits behind a link at the top of the list.
  const moves = (fragment) => {
    const focused = document.activeElement, link = document.querySelector("#queue [data-new]");
    const rows = (root) => [...root.querySelectorAll("ol a[id]")].map((a) => a.id);
    const was = rows(document), is = rows(fragment), at = was.indexOf(focused.id);
    if (!link || at < 0 || is.indexOf(focused.id) === at) return false;
    const fresh = is.filter((id) => !was.includes(id)).length;
    link.textContent = fresh ? `${fresh} new` : "The list has changed";
    link.hidden = false;
    return true;
  };

  // What is typed outlives a sign-in on the way: it stays in this tab, for this address.
  const kept = `typed:${location.pathname}`;
  for (const words of all("[data-keeps]")) words.hidden = false;
  for (const link of all("[data-keep]")) {
    link.addEventListener("click", () => {
      const typed = document.getElementById("reason").value;
      if (typed) sessionStorage.setItem(kept, typed);
    });
  }
  const reason = document.querySelector("form.decide #reason");
  if (reason && sessionStorage.getItem(kept)) {
    if (!reason.value) reason.value = sessionStorage.getItem(kept);
    sessionStorage.removeItem(kept);
  }

  // Live regions: say whether they are, and never let an answer that lacks the region empty it.
  const live = (is) => { for (const sign of all("[data-live]")) sign.hidden = !is; };
  document.addEventListener("htmx:sse:after:connection", () => live(true));
  document.addEventListener("htmx:sse:error", () => live(false));
  document.addEventListener("htmx:sse:close", () => live(false));
  document.addEventListener("htmx:before:swap", (e) => {
    const main = e.detail.tasks.find((task) => task.type === "main");
    if (main && !main.fragment.childElementCount) { e.preventDefault(); live(false); return; }
    if (main && moves(main.fragment)) e.detail.tasks.splice(e.detail.tasks.indexOf(main), 1);
  });

  // Keys on the queue: J and K move, A and D only go to a button, Enter on it decides. They can be switched off.
  const hint = document.querySelector("[data-keys]");
  if (!hint) return;
  const off = () => localStorage.getItem("countersign-keys") === "off";
  const say = () => {
    for (const words of all("[data-keys-on]")) words.hidden = off();
    hint.querySelector("[data-keys-switch]").textContent = off() ? "Switch keys on" : "Switch keys off";
    hint.hidden = false;
  };
  hint.querySelector("[data-keys-switch]").addEventListener("click", () => {
    localStorage.setItem("countersign-keys", off() ? "on" : "off");
    say();
  });
  say();
  document.addEventListener("keydown", (e) => {
    if (off() || e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select")) return;
    const links = all("#queue ol a");
    const at = links.indexOf(document.activeElement);
    const target = {
      j: links[Math.min(at + 1, links.length - 1)], k: links[Math.max(at - 1, 0)],
      a: document.querySelector("[data-key=a]"), d: document.querySelector("[data-key=d]"),
    }[e.key.toLowerCase()];
    if (target) { e.preventDefault(); target.focus(); }
  });
})();
