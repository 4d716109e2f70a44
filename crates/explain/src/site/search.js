"use strict";
(() => {
  const form = document.getElementById("search");
  const results = document.getElementById("results");
  const up = form.dataset.up;
  const index = window.postroadIndex || [];

  const folded = (text) => text.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
  const haystacks = index.map((entry) => folded([entry[0], entry[1], entry[2], entry[4]].join(" ")));
  const basics = new Set(index.map((entry) => entry[0]).filter((code) => /^\d{3}$/.test(code)));

  /** The page of a pair, the lower code first. */
  const pair = (a, b) => up + "compare/" + (a < b ? a + "-" + b : b + "-" + a) + ".html";

  /** Entries that speak of an enhanced code of three parts, rows for a range included. */
  const covers = (key, code) => {
    const [ourClass, ourSubject, ourDetail] = code.split(".");
    return key.split(" / ").some((one) => {
      const [keyClass, keySubject, keyDetail] = one.split(".");
      if (!keyDetail || (keyClass !== "X" && keyClass !== ourClass) || keySubject !== ourSubject) return false;
      const [low, high] = keyDetail.split("-").map(Number);
      return Number(ourDetail) >= low && Number(ourDetail) <= (high === undefined ? low : high);
    });
  };

  const find = (query) => {
    const found = [];
    const add = (text, href) => {
      if (!found.some((one) => one.href === href)) found.push({ text, href });
    };
    const known = (query.match(/\b\d{3}\b/g) || []).filter((code) => basics.has(code));
    if (known.length > 1 && known[0] !== known[1]) add(known[0] + " / " + known[1], pair(known[0], known[1]));
    const enhanced = query.match(/\b[245]\.\d{1,3}\.\d{1,3}\b/g) || [];
    for (const key of window.postroadPairs || []) {
      if (key.split("-").every((code) => enhanced.includes(code))) add(key.replace("-", " / "), up + "compare/" + key + ".html");
    }
    for (const code of enhanced) {
      for (const entry of index) if (covers(entry[0], code)) add(entry[0] + ": " + entry[1], up + entry[3]);
    }
    for (const entry of index) if (known.includes(entry[0])) add(entry[0] + ": " + entry[1], up + entry[3]);
    const words = folded(query).split(/\s+/).filter((word) => word.length > 1);
    // All words if any entry has them all; else the entries that have the most of them.
    const score = haystacks.map((text) => words.filter((word) => text.includes(word)).length);
    const best = Math.max(0, ...score);
    index.forEach((entry, at) => {
      if (best && score[at] === best && best * 2 > words.length) add(entry[0] + ": " + entry[1], up + entry[3]);
    });
    return found.slice(0, 40);
  };

  const show = (query) => {
    results.querySelectorAll("ul, p").forEach((old) => old.remove());
    results.hidden = !query;
    if (!query) return;
    const found = find(query);
    if (!found.length) {
      const none = document.createElement("p");
      none.textContent = form.dataset.none;
      results.append(none);
      return;
    }
    const list = document.createElement("ul");
    for (const one of found) {
      const link = document.createElement("a");
      link.href = one.href;
      link.textContent = one.text;
      const item = document.createElement("li");
      item.append(link);
      list.append(item);
    }
    results.append(list);
  };

  const input = form.elements.namedItem("q");
  input.addEventListener("input", () => show(input.value.trim()));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const first = find(input.value.trim())[0];
    if (first) location.href = first.href;
    else show(input.value.trim());
  });
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) {
    input.value = asked;
    show(asked.trim());
  }

  const chooser = document.getElementById("compare");
  if (chooser && chooser.tagName === "FORM") {
    chooser.addEventListener("submit", (event) => {
      event.preventDefault();
      const [a, b] = ["a", "b"].map((name) => chooser.elements.namedItem(name).value);
      location.href = a === b ? a + ".html" : pair(a, b);
    });
  }
})();
