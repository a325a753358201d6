const player = document.getElementById("player"), end = Number(document.getElementById("curves").dataset.end);
const show = time => document.querySelectorAll(".now").forEach(line => { line.style.left = 100 * Math.min(1, time / end) + "%"; });
const go = time => { show(time); if (player) player.currentTime = time; };
if (player) player.addEventListener("timeupdate", () => show(player.currentTime));
document.querySelectorAll(".chart").forEach(chart => chart.addEventListener("click", event => {
  const box = chart.getBoundingClientRect();
  go(end * (event.clientX - box.left) / box.width);
}));
document.querySelectorAll("[data-time]").forEach(face => face.addEventListener("click", () => go(Number(face.dataset.time))));
