"use strict";
(() => {
  const graph = JSON.parse(document.getElementById("graph").textContent);
  const nodes = graph.nodes.map((row, number) => {
    const [family, producer] = graph.groups[row[0]];
    const parts = [family, producer, row[1] < 0 ? "" : graph.videos[row[1]], row[2]];
    return {number, path: row[9] || parts.filter((part) => part).join("/"), group: row[0], facts: row, children: []};
  });
  for (const node of nodes) for (const parent of node.facts[6]) nodes[parent].children.push(node.number);
  const byPath = new Map(nodes.map((node) => [node.path, node]));
  const element = (name, text) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const go = (node) => { location.hash = "at=" + encodeURIComponent(node.path); };

  const button = (node) => {
    const item = element("li"), made = element("button", node.path);
    made.type = "button";
    made.addEventListener("click", () => go(node));
    item.append(made);
    return item;
  };
  const FEW = 6;
  const fill = (list, numbers) => {
    list.replaceChildren();
    const groups = new Map();
    for (const number of numbers) {
      const group = nodes[number].group;
      groups.set(group, [...(groups.get(group) || []), number]);
    }
    for (const [group, members] of groups) {
      if (members.length <= FEW) {
        list.append(...members.map((number) => button(nodes[number])));
        continue;
      }
      const item = element("li"), folded = element("details"), inner = element("ul");
      folded.append(element("summary", `${members.length} × ${graph.groups[group].filter((part) => part).join("/")}`), inner);
      folded.addEventListener("toggle", () => {
        if (!inner.childElementCount) inner.append(...members.map((number) => button(nodes[number])));
      });
      item.append(folded);
      list.append(item);
    }
    if (!numbers.length) list.append(element("li", "nothing in this store"));
  };

  const show = (node, focus) => {
    const [, , , key, digest, made, , run, status] = node.facts, box = document.getElementById("focus");
    const facts = [["key", key], ["digest", digest], ["made", made], ["by run", run < 0 ? "" : graph.runs[run]],
      ["state", status], ...(graph.more[node.number] || [])];
    const list = element("dl");
    for (const [name, value] of facts) if (value) list.append(element("dt", name), element("dd", value));
    box.replaceChildren(element("h3", node.path), list);
    fill(document.getElementById("parents"), node.facts[6]);
    fill(document.getElementById("children"), node.children);
    if (focus) { box.scrollIntoView({block: "center"}); box.focus({preventScroll: true}); }
  };
  const follow = (focus) => {
    const wanted = location.hash.startsWith("#at=") ? byPath.get(decodeURIComponent(location.hash.slice(4))) : undefined;
    if (wanted) show(wanted, focus);
    return wanted;
  };
  addEventListener("hashchange", () => follow(true));
  if (!follow(false) && nodes.length) show(byPath.get(graph.start) || nodes[0], false);

  const search = document.getElementById("find-artifact"), found = document.getElementById("found-artifacts");
  search.addEventListener("input", () => {
    const chosen = byPath.get(search.value);
    if (chosen) { go(chosen); return; }
    const text = search.value.toLowerCase(), hits = [];
    for (const node of nodes) {
      if (text && node.path.toLowerCase().includes(text) && hits.push(node) === 50) break;
    }
    found.replaceChildren(...hits.map((node) => { const option = element("option"); option.value = node.path; return option; }));
  });
  search.addEventListener("keydown", (event) => {
    const text = search.value.toLowerCase();
    const hit = byPath.get(search.value) || nodes.find((node) => node.path.toLowerCase().includes(text));
    if (event.key === "Enter" && text && hit) go(hit);
  });

  const rows = [...document.querySelectorAll("#covered tbody tr")];
  const video = document.getElementById("find-video"), faults = document.getElementById("only-faults");
  const sift = () => {
    const text = video.value.toLowerCase();
    for (const row of rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(text) || (faults.checked && row.classList.contains("whole"));
    }
  };
  video.addEventListener("input", sift);
  faults.addEventListener("change", sift);
})();
