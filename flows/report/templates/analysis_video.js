"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page").textContent), at = (id) => document.getElementById(id);
  const player = at("player"), canvas = at("overlay"), shown = at("faces"), curves = at("curves");
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // The container's own integers, so that a frame is found by its exact time.
  const [numerator, denominator] = page.clock.base, instants = [page.clock.first];
  for (const [step, count] of page.clock.runs) {
    for (let i = 0; i < count; i++) instants.push(instants[instants.length - 1] + step);
  }
  const starts = instants.map((one) => one * numerator / denominator), end = starts.pop(), last = starts.length - 1;
  const ROUNDING_S = 1e-4; // players tell times in microseconds
  const frameAt = (time) => {
    let low = 0, high = last;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= time + ROUNDING_S) low = middle; else high = middle - 1;
    }
    return low;
  };

  const faces = page.faces.map((one) => {
    const seen = bytes(one.seen), rows = new Int32Array(Math.ceil(starts.length / page.step)).fill(-1);
    let row = 0;
    rows.forEach((_, i) => { if (seen[i >> 3] >> (i & 7) & 1) rows[i] = row++; });
    return {subject: one.subject, rows, boxes: new Int16Array(bytes(one.boxes).buffer), marks: bytes(one.marks), said: bytes(one.said)};
  });
  const COLOURS = ["#ffb000", "#5ad1ff", "#8dff7a", "#ff8fd0", "#ffffff", "#c9a6ff"];
  const draw = (frame) => {
    const box = canvas.getBoundingClientRect(), dense = devicePixelRatio || 1;
    canvas.width = Math.round(box.width * dense);
    canvas.height = Math.round(box.height * dense);
    const pen = canvas.getContext("2d");
    if (!shown.checked || !box.width) return;
    const [width, height] = page.size, scale = Math.min(canvas.width / width, canvas.height / height);
    pen.translate((canvas.width - width * scale) / 2, (canvas.height - height * scale) / 2);
    pen.lineWidth = 2 * dense;
    pen.font = `${13 * dense}px system-ui, sans-serif`;
    faces.forEach((face, number) => {
      const row = face.rows[Math.floor(frame / page.step)];
      if (row < 0) return;
      const [x0, y0, x1, y1] = Array.from(face.boxes.subarray(4 * row, 4 * row + 4), (one) => one * page.scale);
      pen.strokeStyle = pen.fillStyle = COLOURS[number % COLOURS.length];
      pen.strokeRect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
      for (let i = 10 * row; i < 10 * row + 10; i += 2) {
        const x = x0 + (x1 - x0) * (face.marks[i] / 170 - 0.25), y = y0 + (y1 - y0) * (face.marks[i + 1] / 170 - 0.25);
        pen.beginPath();
        pen.arc(x * scale, y * scale, 2 * dense, 0, 7);
        pen.fill();
      }
      const said = page.classes[face.said[row]], text = said ? `${face.subject}: ${said}` : face.subject;
      const wide = pen.measureText(text).width + 6 * dense, tall = 17 * dense;
      const left = Math.max(0, Math.min(x0 * scale, width * scale - wide)), top = Math.max(0, y0 * scale - tall);
      pen.fillRect(left, top, wide, tall);
      pen.fillStyle = "#000";
      pen.fillText(text, left + 3 * dense, top + 13 * dense);
    });
  };

  let frame = 0, begun = false;
  const charts = [...document.querySelectorAll(".chart")];
  const show = (wanted) => {
    frame = Math.max(0, Math.min(last, wanted));
    const time = starts[frame], words = `frame ${frame} of 0 to ${last}, ${time.toFixed(3)} s`;
    curves.style.setProperty("--at", `${100 * (time - starts[0]) / (end - starts[0] || 1)}%`);
    at("where").textContent = words;
    if (player.paused) {
      for (const chart of charts) {
        chart.setAttribute("aria-valuenow", frame);
        chart.setAttribute("aria-valuetext", words);
      }
    }
    draw(frame);
  };
  // Browsers reckon with durations that files state wrongly, so a frame may be shown by one instant of its time and not
  // by another. What the picture shows is what is drawn; what was asked for is tried again elsewhere within its frame.
  let asked = null;
  const seek = (wanted, part) => {
    const next = wanted < last ? starts[wanted + 1] : end;
    player.currentTime = Math.max(0, starts[wanted] + part * (next - starts[wanted]) - page.begins);
  };
  const go = (wanted) => {
    begun = true;
    show(wanted);
    asked = {frame, parts: [0.9, 0.1]};
    if (player.readyState) seek(frame, 0.5);
  };
  const step = (count) => go((asked ? asked.frame : frame) + count);
  const presented = (time) => {
    const found = frameAt(time + page.begins);
    if (!player.paused) asked = null;
    if (found !== frame) show(found);
    if (asked && found !== asked.frame && asked.parts.length) seek(asked.frame, asked.parts.shift());
  };
  if (player.requestVideoFrameCallback) {
    const each = (_, facts) => { presented(facts.mediaTime); player.requestVideoFrameCallback(each); };
    player.requestVideoFrameCallback(each);
  } else {
    const tick = () => { presented(player.currentTime); if (!player.paused) requestAnimationFrame(tick); };
    player.addEventListener("play", tick);
    player.addEventListener("seeked", () => presented(player.currentTime));
  }
  player.addEventListener("pause", () => show(frame));
  player.addEventListener("error", () => { at("unplayable").hidden = false; });
  at("file").addEventListener("change", (event) => {
    if (!event.target.files.length) return;
    player.src = URL.createObjectURL(event.target.files[0]);
    at("stage").hidden = false;
    at("unplayable").hidden = true;
  });
  new ResizeObserver(() => draw(frame)).observe(canvas);
  shown.addEventListener("change", () => draw(frame));

  const compared = page.compared.map(([subject, name, found]) => found.map((one) => [...one, subject, name]));
  const which = at("which"), told = at("told");
  const chosen = () => (which.value ? compared[which.value] : compared.flat()).slice().sort((a, b) => a[0] - b[0]);
  const disagree = (turn) => {
    const all = chosen(), firsts = [...new Set(all.map((one) => one[0]))];
    if (!all.length) { told.textContent = "No disagreement."; return; }
    const ahead = firsts.filter((first) => turn > 0 ? first > frame || (!begun && first === frame) : first < frame);
    const first = turn > 0 ? (ahead.length ? ahead[0] : firsts[0]) : (ahead.length ? ahead : firsts).slice(-1)[0];
    player.pause();
    go(first);
    const here = all.filter((one) => one[0] === first);
    const words = here.map(([, frames, label, prediction, subject, name]) => `${subject}, ${name}: label ${label}, predicted ${prediction}${frames > 1 ? ` (${frames} frames)` : ""}`);
    told.textContent = `${firsts.indexOf(first) + 1} of ${firsts.length}: ${words.join("; ")}`;
  };
  if (which) {
    at("next").addEventListener("click", () => disagree(1));
    at("previous").addEventListener("click", () => disagree(-1));
  }
  at("back").addEventListener("click", () => step(-1));
  at("on").addEventListener("click", () => step(1));

  for (const chart of charts) {
    chart.addEventListener("click", (event) => {
      const box = chart.getBoundingClientRect();
      go(frameAt(starts[0] + (end - starts[0]) * (event.clientX - box.left) / box.width));
    });
  }
  document.querySelectorAll("[data-time]").forEach((face) => face.addEventListener("click", () => go(frameAt(Number(face.dataset.time)))));

  const second = (turn) => go(frameAt(starts[frame] + turn));
  const keys = {
    ArrowLeft: (event) => event.shiftKey ? second(-1) : step(-1),
    ArrowRight: (event) => event.shiftKey ? second(1) : step(1),
    " ": () => { if (player.paused) player.play().catch(() => {}); else player.pause(); },
    d: () => which && disagree(1),
    D: () => which && disagree(-1),
    o: () => { shown.checked = !shown.checked; draw(frame); },
  };
  const onChart = {ArrowDown: keys.ArrowLeft, ArrowUp: keys.ArrowRight, Home: () => go(0), End: () => go(last)};
  document.addEventListener("keydown", (event) => {
    const from = event.target, own = onChart[event.key] && from.closest(".chart");
    const act = own ? onChart[event.key] : keys[event.key];
    if (!act || event.ctrlKey || event.altKey || event.metaKey || from.closest("select, .scroll, input[type=file]")) return;
    if (event.key === " " && from.closest("button, input, summary, a")) return;
    event.preventDefault();
    act(event);
  });
  show(0);
})();
