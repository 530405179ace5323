(async () => {
  const list = document.getElementById("restaurants");
  const note = document.getElementById("note");
  const el = (name, cls, text) => { const e = document.createElement(name); if (cls) e.className = cls; e.textContent = text; return e; };
  const refresh = async () => {
    try {
      const answer = await fetch("/v1/restaurants?limit=100");
      if (!answer.ok) throw new Error(answer.status);
      const { restaurants } = await answer.json();
      list.replaceChildren(...restaurants.map((r) => {
        const card = el("li", "card", "");
        const title = el("h3", "", ""), link = el("a", "", r.name);
        link.href = "/v1/restaurants/" + encodeURIComponent(r.id) + "/menu";
        title.append(link);
        card.append(title, el("span", "tag", r.cuisine + " · "), el("span", r.open ? "tag open" : "tag", r.open ? "open" : "closed"),
          el("p", "", r.description || ""));
        return card;
      }));
      note.textContent = restaurants.length + " restaurants, as of " + new Date().toLocaleTimeString() + ".";
    } catch (err) {
      note.textContent = "The menu service does not answer right now. This page keeps trying.";
    }
  };
  await refresh();
  setInterval(() => { if (!document.hidden) refresh(); }, 30000);
})();
