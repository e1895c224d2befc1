
"use strict";
(function () {
  var W = 1180, M = 10, LETTER = 6.7;
  var svg = document.documentElement;
  var byId = function (id) { return document.getElementById(id); };
  var frames = Array.prototype.slice.call(document.querySelectorAll("g.f")).map(function (g) {
    var title = g.querySelector("title").textContent;
    return {
      g: g, rect: g.querySelector("rect"), text: g.querySelector("text"), title: title, name: title.split("\n")[0],
      x: +g.dataset.x, w: +g.dataset.w, d: +g.dataset.d, fill: g.querySelector("rect").getAttribute("fill")
    };
  });
  if (!frames.length) return;
  var found = null;

  function label(f, width) {
    var letters = Math.floor((width - 4) / LETTER);
    if (letters < 3) { if (f.text) f.text.textContent = ""; return; }
    if (!f.text) {
      f.text = document.createElementNS("http://www.w3.org/2000/svg", "text");
      f.text.setAttribute("y", +f.rect.getAttribute("y") + 12);
      f.g.appendChild(f.text);
    }
    var name = f.name, at;
    while (name.length > letters && (at = segment(name)) > 0) name = name.slice(at);
    f.text.textContent = name.length <= letters ? name : name.slice(0, letters - 1) + "\u2026";
  }

  // Where the second segment of a path of names begins; what stands in brackets is not split.
  function segment(name) {
    for (var i = 0, depth = 0; i < name.length; i++) {
      var c = name[i], before = i ? name[i - 1] : " ";
      if ("<([{".indexOf(c) >= 0) depth++;
      else if ((c === ">" && before !== "-") || ")]}".indexOf(c) >= 0) depth--;
      else if (c === ":" && before === ":" && depth === 0) return i + 1;
    }
    return 0;
  }

  function zoom(to) {
    var end = to.x + to.w, tiny = 1e-7;
    frames.forEach(function (f) {
      var below = f.d < to.d && f.x <= to.x + tiny && f.x + f.w >= end - tiny;
      var inside = f.d >= to.d && f.x >= to.x - tiny && f.x + f.w <= end + tiny;
      f.g.classList.toggle("gone", !below && !inside);
      f.g.classList.toggle("dim", below);
      if (!below && !inside) return;
      var x = below ? 0 : (f.x - to.x) / to.w, w = below ? 1 : f.w / to.w;
      f.rect.setAttribute("x", M + x * W);
      f.rect.setAttribute("width", Math.max(w * W, 0.3));
      label(f, w * W);
      if (f.text) f.text.setAttribute("x", M + x * W + 3);
    });
    byId("reset").classList.toggle("gone", to.d === 0);
  }

  function search(term) {
    var re = null;
    if (term) { try { re = new RegExp(term, "i"); } catch (e) { window.alert("Not a regular expression: " + term); return; } }
    found = re;
    var spans = [];
    frames.forEach(function (f) {
      var hit = re !== null && re.test(f.title);
      f.rect.setAttribute("fill", hit ? "#c026d3" : f.fill);
      if (hit) spans.push([f.x, f.x + f.w]);
    });
    spans.sort(function (a, b) { return a[0] - b[0]; });
    var covered = 0, reached = -1;
    spans.forEach(function (s) {
      var from = Math.max(s[0], reached);
      if (s[1] > from) { covered += s[1] - from; reached = s[1]; }
    });
    byId("search").textContent = re ? "Clear" : "Search";
    byId("matched").textContent = re ? "Matched: " + (100 * covered).toFixed(1) + " %" : " ";
  }

  frames.forEach(function (f) {
    f.g.addEventListener("mouseover", function () { byId("details").textContent = f.title.split("\n").join("  "); });
    f.g.addEventListener("mouseout", function () { byId("details").textContent = " "; });
    f.g.addEventListener("click", function () { zoom(f); });
  });
  byId("reset").addEventListener("click", function () { zoom(frames[0]); });
  function ask() {
    if (found) { search(""); return; }
    var term = window.prompt("Search for a regular expression in names and places", "");
    if (term) search(term);
  }
  byId("search").addEventListener("click", ask);
  window.addEventListener("keydown", function (e) {
    if (e.key === "F3" || ((e.ctrlKey || e.metaKey) && e.key === "f")) { e.preventDefault(); ask(); }
    if (e.key === "Escape") { zoom(frames[0]); search(""); }
  });
  svg.heaptriage = { search: search, zoom: function (name) { zoom(frames.filter(function (f) { return f.name === name; })[0] || frames[0]); } };
})();
