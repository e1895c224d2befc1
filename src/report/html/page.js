// The script of a heaptriage page: chart, ledger, flame views and table over any pair of snapshots.
//
//   data (columns) -> estimates at two snapshots -> filter -> tree of the view -> canvas, table
//
// Nothing is fetched. Names come from the data as text and only ever become text nodes or canvas text.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // ------------------------------------------------------------------ elements

  function element(name, attributes, ...children) {
    return fill(document.createElement(name), attributes, children);
  }

  function svg(name, attributes, ...children) {
    return fill(document.createElementNS(SVG, name), attributes, children);
  }

  function fill(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === null) continue;
      // States of ARIA say false as well.
      if (key.startsWith("aria-")) node.setAttribute(key, String(value));
      else if (value === false) continue;
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? "" : String(value));
    }
    for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
    return node;
  }

  // ------------------------------------------------------------------ words and figures

  const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

  function bytes(value) {
    let size = Math.abs(value), unit = 0;
    while (size >= 1023.95 && unit + 1 < UNITS.length) { size /= 1024; unit++; }
    const text = unit === 0 ? `${Math.round(size)} B` : `${size.toFixed(1)} ${UNITS[unit]}`;
    return value < 0 && text !== "0 B" ? `-${text}` : text;
  }

  const signedBytes = (value) => (value > 0 && bytes(value) !== "0 B" ? `+${bytes(value)}` : bytes(value));
  const grouped = (value) => Math.round(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  const count = (value) => `${grouped(value)} ${Math.round(value) === 1 ? "object" : "objects"}`;
  const signedCount = (value) => `${value > 0 ? "+" : ""}${grouped(value)}`;
  const percent = (part, total) => (total ? `${((100 * part) / total).toFixed(1)} %` : "-");

  function span(milliseconds) {
    const s = Math.max(0, Math.round(milliseconds / 1000));
    const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
    if (d) return `${d} d ${h} h`;
    if (h) return `${h} h ${m} min`;
    if (m) return `${m} min ${s % 60} s`;
    return `${s} s`;
  }

  function shorten(text, most) {
    return text.length <= most ? text : `${text.slice(0, Math.ceil(most / 3))}…${text.slice(text.length - Math.floor((most * 2) / 3))}`;
  }

  /** The last `parts` segments of a path of names; brackets are not split. */
  function tail(name, parts) {
    let depth = 0;
    for (let i = name.length - 1; i > 0; i--) {
      const c = name[i];
      if (c === ">" && name[i - 1] !== "-" || c === ")" || c === "]" || c === "}") depth++;
      else if (c === "<" || c === "(" || c === "[" || c === "{") depth--;
      else if (c === ":" && name[i - 1] === ":" && depth <= 0 && --parts === 0) return name.slice(i + 1);
    }
    return name;
  }

  // ------------------------------------------------------------------ data

  async function load() {
    const coded = atob($("data").textContent.trim());
    const packed = Uint8Array.from(coded, (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  let data, marks, dumps, frames, stackCount;
  const HIDDEN_ROLES = 3; // allocator, library and runtime come first
  const role = (frame) => frames.role[frame] & 7;
  const text = (id) => (id < 0 ? "" : data.texts[id]);

  function prepare(json) {
    data = json;
    frames = data.frames;
    stackCount = data.stacks.leaf.length;
    dumps = data.dumps;
    for (const dump of dumps) {
      dump.stack = sums(dump.stack);
      if (dump.threads) dump.threads.stack = sums(dump.threads.stack);
    }
    marks = data.marks;
    const timed = marks.every((mark) => mark.ms !== null);
    marks.forEach((mark, i) => {
      mark.x = timed ? mark.ms - marks[0].ms : i;
      mark.label = timed && marks.length > 1 ? span(mark.x) : mark.name;
      // Where a snapshot has no dump, the stacks of the last one before it are shown.
      mark.shows = mark.dump !== null ? mark.dump : nearest(i);
    });
    data.timed = timed;
  }

  function nearest(i) {
    for (let j = i; j >= 0; j--) if (marks[j].dump !== null) return marks[j].dump;
    return marks.find((mark) => mark.dump !== null)?.dump ?? null;
  }

  function sums(steps) {
    let at = 0;
    return Uint32Array.from(steps, (step) => (at += step));
  }

  // ------------------------------------------------------------------ estimates (as analysis/estimate.rs)

  const Z = 1.959963984540054;

  /** Objects, bytes, variance and third moment of the error behind `c` sampled objects of `b` bytes. */
  function unsample(c, b, interval) {
    if (c === 0) return [0, 0, 0, 0];
    if (interval <= 1 || b === 0) return [c, b, 0, 0];
    const x = b / c, p = -Math.expm1(-x / interval), q = Math.exp(-x / interval), f = x / p;
    return [c / p, b / p, c * f * f * q, c * f * f * f * q * q];
  }

  const estimated = new Map();

  /** Dense columns of a dump: objects, bytes, variance, samples; accumulated ones where recorded. */
  function estimates(index) {
    if (index === null) return empty();
    if (estimated.has(index)) return estimated.get(index);
    const dump = dumps[index], columns = empty();
    columns.interval = dump.interval;
    columns.process = dump.process;
    columns.accumulated = !!dump.all_bytes;
    dump.stack.forEach((stack, i) => {
      const [objects, size, variance, third] = unsample(dump.objects[i], dump.bytes[i], dump.interval);
      columns.objects[stack] = objects;
      columns.bytes[stack] = size;
      columns.variance[stack] = variance;
      columns.third[stack] = third;
      columns.samples[stack] = dump.objects[i];
      if (columns.accumulated) {
        const all = unsample(dump.all_objects[i], dump.all_bytes[i], dump.interval);
        columns.allObjects[stack] = all[0];
        columns.allBytes[stack] = all[1];
        columns.allSamples[stack] = dump.all_objects[i];
      }
    });
    if (estimated.size > 40) estimated.delete(estimated.keys().next().value);
    estimated.set(index, columns);
    return columns;
  }

  function empty() {
    const column = () => new Float64Array(stackCount);
    return { objects: column(), bytes: column(), variance: column(), third: column(), samples: column(), allObjects: column(), allBytes: column(), allSamples: column(), interval: 1, process: -1, accumulated: false };
  }

  /** Variance of the change of one stack: objects that live at both times are sampled in both or in neither. */
  function changeVariance(a, b, s) {
    const high = a.variance[s] + b.variance[s];
    if (a.process !== b.process || a.interval !== b.interval) return high;
    const k1 = a.samples[s], k2 = b.samples[s];
    const f2 = Math.max(k1 > 0 ? a.variance[s] / k1 : 0, k2 > 0 ? b.variance[s] / k2 : 0);
    if (!a.accumulated || !b.accumulated) return high;
    const low = Math.min(f2 * Math.abs(k2 - k1), high);
    const births = Math.max(0, b.allSamples[s] - a.allSamples[s]);
    const deaths = Math.max(0, births - (k2 - k1));
    return Math.min(high, Math.max(low, f2 * (Math.min(births, k2) + Math.min(deaths, k1))));
  }

  /** Third moment of the error of the same change: however many came and went, their difference is known. */
  function changeThird(a, b, s) {
    if (a.process !== b.process || a.interval !== b.interval) return b.third[s] - a.third[s];
    const k1 = a.samples[s], k2 = b.samples[s];
    return Math.max(k1 > 0 ? a.third[s] / k1 : 0, k2 > 0 ? b.third[s] / k2 : 0) * (k2 - k1);
  }

  /** What one sampled object of a stack stands for besides itself. */
  function changeUnseen(a, b, s) {
    const unseen = (side) => (side.variance[s] > 0 ? side.third[s] / side.variance[s] : 0);
    return Math.max(unseen(a), unseen(b));
  }

  /** Score interval of a change. */
  function changeInterval(size, variance, third, unseen) {
    const error = Math.sqrt(Math.max(0, variance));
    if (error <= 0) return [size - Z * Z * unseen, size + Z * Z * unseen];
    const skewness = third / error ** 3, shift = ((Z * Z) / 2) * skewness, half = Z * Math.sqrt(1 + (Z * Z * skewness * skewness) / 4);
    return [size + error * (shift - half), size + error * (shift + half)];
  }

  /** Score interval of a sum of stacks. */
  function liveInterval(size, objects, variance, samples) {
    if (samples <= 0 || objects <= 0) return [size, size];
    const p = Math.min(1, samples / objects), q = 1 - p, mean = size / objects;
    const half = Z * Math.sqrt(q) * Math.sqrt(samples + (Z * Z * q) / 4), center = samples + (Z * Z * q) / 2;
    const low = Math.max((center - half) / p, samples) * mean, high = ((center + half) / p) * mean;
    const single = (mean * Math.sqrt(samples * q)) / p;
    const widen = single > 0 ? Math.max(1, Math.sqrt(Math.max(0, variance)) / single) : 1;
    return [Math.max(0, size - (size - low) * widen), size + Math.max(0, high - size) * widen];
  }

  // ------------------------------------------------------------------ state, kept in the address of the page

  const DEFAULTS = { a: "", b: "", mode: "", unit: "bytes", by: "function", focus: "", ignore: "", hide: "", crate: "", frames: "", flip: "", turn: "", colors: "", rows: "", q: "", zoom: "", fn: "", group: "stack", sort: "", dir: "" };
  let state = {};

  function readState() {
    const said = new URLSearchParams(location.hash.slice(1));
    const start = Object.fromEntries(Object.entries(data.start).filter(([, value]) => value));
    state = { ...DEFAULTS, ...start };
    for (const key of Object.keys(DEFAULTS)) if (said.has(key)) state[key] = said.get(key);
    const last = marks.length - 1;
    const index = (value, otherwise) => (/^\d+$/.test(value) && Number(value) <= last ? Number(value) : otherwise);
    state.a = index(state.a, 0);
    state.b = index(state.b, last);
    if (state.a > state.b) [state.a, state.b] = [state.b, state.a];
    const modes = MODES.filter((mode) => mode.is()).map((mode) => mode.id);
    if (!modes.includes(state.mode)) state.mode = modes.includes("growth") ? "growth" : "live";
  }

  function writeState() {
    const said = new URLSearchParams();
    const start = { ...DEFAULTS, ...Object.fromEntries(Object.entries(data.start).filter(([, value]) => value)) };
    for (const key of Object.keys(DEFAULTS)) {
      const value = String(state[key]);
      const usual = key === "a" ? "0" : key === "b" ? String(marks.length - 1) : key === "mode" ? start.mode || (dumps.length > 1 ? "growth" : "live") : start[key];
      if (value !== String(usual)) said.set(key, value);
    }
    const hash = said.toString();
    if (hash === location.hash.slice(1)) return;
    try { history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search); } catch { location.replace(`#${hash}`); }
  }

  /** Changes the state and shows it. */
  function set(change) {
    state = { ...state, ...change };
    if (state.a > state.b) [state.a, state.b] = [state.b, state.a];
    refresh();
  }

  const MODES = [
    { id: "live", label: "Live", is: () => true, says: "Width: live at the second mark" },
    { id: "growth", label: "Growth", is: () => dumps.length > 1, says: "Width: stacks that grew between the marks, by how much" },
    { id: "difference", label: "Difference", is: () => dumps.length > 1, says: "Width: the larger of both marks;" },
    { id: "allocated", label: "Allocated", is: () => dumps.some((dump) => dump.all_bytes), says: "Width: allocated between the marks, freed or not" },
  ];

  // ------------------------------------------------------------------ patterns

  /** A regular expression as the command line takes it; `null` for none, an Error for a bad one. */
  function pattern(source) {
    if (!source) return null;
    const flags = /^\(\?([a-z]+)\)/.exec(source);
    try {
      return flags ? new RegExp(source.slice(flags[0].length), flags[1].replace(/[^imsu]/g, "")) : new RegExp(source);
    } catch (error) {
      return error;
    }
  }

  const matched = new Map();

  /** For each frame whether function, file or module matches. */
  function framesMatching(source) {
    const re = pattern(source);
    if (!re || re instanceof Error) return null;
    if (matched.has(source)) return matched.get(source);
    const texts = new Int8Array(data.texts.length).fill(-1);
    const test = (id) => {
      if (id < 0) return false;
      if (texts[id] < 0) texts[id] = re.test(data.texts[id]) ? 1 : 0;
      return texts[id] === 1;
    };
    const hits = Uint8Array.from(frames.function, (f, i) => (test(f) || test(frames.file[i]) || test(frames.module[i]) ? 1 : 0));
    if (matched.size > 50) matched.clear();
    matched.set(source, hits);
    return hits;
  }

  /** For each stack whether one of its frames matches. */
  function stacksMatching(hits) {
    const { parent, frame } = data.nodes;
    const any = new Uint8Array(parent.length);
    for (let n = 1; n < parent.length; n++) any[n] = any[parent[n]] | hits[frame[n]];
    return Uint8Array.from(data.stacks.leaf, (leaf) => any[leaf]);
  }

  // ------------------------------------------------------------------ the pair, the filter

  let pair;

  function selectPair() {
    const a = estimates(marks[state.a].shows), b = estimates(marks[state.b].shows);
    const change = new Float64Array(stackCount), third = new Float64Array(stackCount), unseen = new Float64Array(stackCount);
    for (let s = 0; s < stackCount; s++) {
      change[s] = changeVariance(a, b, s);
      third[s] = changeThird(a, b, s);
      unseen[s] = changeUnseen(a, b, s);
    }
    const since = state.a === state.b ? null : a;
    const between = (column) => (b.accumulated ? b[column].map((value, s) => Math.max(0, value - (since && since.accumulated ? since[column][s] : 0))) : new Float64Array(stackCount));
    pair = { a, b, change, third, unseen, allBytes: between("allBytes"), allObjects: between("allObjects") };
  }

  let keep;

  function filterStacks() {
    keep = new Uint8Array(stackCount).fill(1);
    const focus = framesMatching(state.focus), ignore = framesMatching(state.ignore);
    if (focus) { const hit = stacksMatching(focus); for (let s = 0; s < stackCount; s++) keep[s] &= hit[s]; }
    if (ignore) { const hit = stacksMatching(ignore); for (let s = 0; s < stackCount; s++) if (hit[s]) keep[s] = 0; }
    if (state.crate) for (let s = 0; s < stackCount; s++) if (crateOf(s) !== state.crate) keep[s] = 0;
  }

  const ownerFrame = (s) => (data.stacks.owner[s] ? data.nodes.frame[data.stacks.owner[s]] : -1);
  const crateOf = (s) => (ownerFrame(s) < 0 ? "" : text(frames.crate[ownerFrame(s)]));

  // ------------------------------------------------------------------ the tree of a view

  const NO_FRAMES = -2; // stands for stacks whose frames are all hidden
  let rows, view;

  /** What is summed: stacks, or their shares by thread. */
  function selectRows() {
    if (state.by !== "thread") {
      rows = { stack: Uint32Array.from({ length: stackCount }, (_, s) => s), thread: null };
      return;
    }
    const known = new Map(), stack = [], thread = [];
    const row = (s, t) => {
      const key = s * (data.threads.length + 1) + t + 1;
      if (!known.has(key)) { known.set(key, stack.length); stack.push(s); thread.push(t); }
      return known.get(key);
    };
    const shares = dumps.map((dump) => {
      const part = new Map(), total = new Map();
      dump.threads?.stack.forEach((s, i) => {
        const r = row(s, dump.threads.thread[i]), b = dump.threads.bytes[i];
        part.set(r, (part.get(r) || 0) + b);
        total.set(s, (total.get(s) || 0) + b);
      });
      for (const s of dump.stack) if (!total.get(s)) part.set(row(s, -1), 1);
      for (const [r, b] of part) part.set(r, total.get(stack[r]) ? b / total.get(stack[r]) : 1);
      return part;
    });
    rows = { stack: Uint32Array.from(stack), thread: Int32Array.from(thread), shares };
  }

  const share = (dump, r) => (rows.thread === null ? 1 : dump === null ? 0 : rows.shares[dump].get(r) || 0);

  /** Merges frames that the view does not tell apart, and leaves out hidden ones. */
  function buildView() {
    selectRows();
    const { parent, frame } = data.nodes;
    const hide = framesMatching(state.hide);
    const all = state.frames === "all";
    const byCrate = state.by === "crate", byLine = state.by === "line";
    const shown = (f) => (all || role(f) >= HIDDEN_ROLES) && !(hide && hide[f]);
    const keyOf = Int32Array.from(frames.function, (f, i) => (!shown(i) ? -1 : byCrate ? (frames.crate[i] < 0 ? f : frames.crate[i]) : byLine ? i : f));
    view = { parent: [-1], key: [-1], frame: [-1], hidden: 0, byLine };
    const width = Math.max(data.texts.length, frames.function.length) + 2;
    const children = new Map();
    const child = (v, key, f) => {
      const id = v * width + key + 2;
      let node = children.get(id);
      if (node === undefined) {
        node = view.parent.length;
        children.set(id, node);
        view.parent.push(v);
        view.key.push(key);
        view.frame.push(f);
      }
      return node;
    };
    const step = (v, f) => (keyOf[f] < 0 || (byCrate && view.key[v] === keyOf[f]) ? v : child(v, keyOf[f], f));
    view.row = new Uint32Array(rows.stack.length);
    if (state.turn) {
      rows.stack.forEach((s, r) => {
        const top = rows.thread === null ? 0 : child(0, -10 - rows.thread[r] - 1, -1);
        let v = top;
        for (let n = data.stacks.leaf[s]; n > 0; n = parent[n]) v = step(v, frame[n]);
        view.row[r] = v === 0 ? child(0, NO_FRAMES, -1) : v;
      });
    } else if (rows.thread === null) {
      const at = new Uint32Array(parent.length);
      for (let n = 1; n < parent.length; n++) at[n] = step(at[parent[n]], frame[n]);
      rows.stack.forEach((s, r) => (view.row[r] = at[data.stacks.leaf[s]] || child(0, NO_FRAMES, -1)));
    } else {
      const memo = new Map();
      const path = [];
      rows.stack.forEach((s, r) => {
        const top = child(0, -10 - rows.thread[r] - 1, -1);
        let n = data.stacks.leaf[s];
        path.length = 0;
        const id = (node) => node * (data.threads.length + 1) + rows.thread[r] + 1;
        while (n && !memo.has(id(n))) { path.push(n); n = parent[n]; }
        let v = n ? memo.get(id(n)) : top;
        for (let i = path.length - 1; i >= 0; i--) { v = step(v, frame[path[i]]); memo.set(id(path[i]), v); }
        view.row[r] = v;
      });
    }
    const functions = new Set();
    frames.function.forEach((f, i) => { if (!shown(i)) functions.add(f); });
    view.hidden = functions.size;
    view.size = view.parent.length;
    view.hash = new Int32Array(view.size);
    const hashes = new Int32Array(width), known = new Uint8Array(width);
    const nameHash = (v) => {
      const key = view.key[v];
      if (key < 0) return hashOf(nodeName(v));
      if (!known[key]) { known[key] = 1; hashes[key] = hashOf(nodeName(v)); }
      return hashes[key];
    };
    for (let v = 1; v < view.size; v++) view.hash[v] = Math.imul(view.hash[view.parent[v]] ^ nameHash(v), 0x01000193) + 1;
  }

  function hashOf(name) {
    let hash = 0x811c9dc5;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    return hash;
  }

  function keyName(key, frame, byLine) {
    if (key === NO_FRAMES) return "[allocator, library and runtime frames only]";
    if (key <= -10) return key === -10 ? "[thread not recorded]" : `thread ${text(data.threads[-key - 11])}`;
    if (key < 0) return "all";
    if (!byLine) return data.texts[key];
    return `${text(frames.function[frame])}${frames.line[frame] ? `:${frames.line[frame]}` : ""}`;
  }

  const nodeName = (v) => keyName(view.key[v], view.frame[v], view.byLine);

  /** Sums values up the tree and orders children by width. */
  function sumView() {
    const n = view.size;
    const column = () => new Float64Array(n);
    const v = (view.values = { bytesA: column(), bytesB: column(), objectsA: column(), objectsB: column(), variance: column(), samples: column(), change: column(), third: column(), unseen: column(), allBytes: column(), allObjects: column(), width: column(), self: column() });
    const { a, b } = pair, dumpA = marks[state.a].shows, dumpB = marks[state.b].shows;
    const objects = state.unit === "objects";
    rows.stack.forEach((s, r) => {
      if (!keep[s]) return;
      const node = view.row[r], inA = share(dumpA, r), inB = share(dumpB, r);
      const bytesA = a.bytes[s] * inA, bytesB = b.bytes[s] * inB, objectsA = a.objects[s] * inA, objectsB = b.objects[s] * inB;
      v.bytesA[node] += bytesA; v.bytesB[node] += bytesB; v.objectsA[node] += objectsA; v.objectsB[node] += objectsB;
      v.variance[node] += b.variance[s] * inB; v.samples[node] += b.samples[s] * inB; v.change[node] += pair.change[s] * Math.max(inA, inB);
      v.third[node] += pair.third[s] * Math.max(inA, inB); v.unseen[node] = Math.max(v.unseen[node], pair.unseen[s] * Math.max(inA, inB));
      v.allBytes[node] += pair.allBytes[s] * inB; v.allObjects[node] += pair.allObjects[s] * inB;
      v.self[node] += widthOf(objects ? objectsA : bytesA, objects ? objectsB : bytesB, (objects ? pair.allObjects : pair.allBytes)[s] * inB);
    });
    v.width.set(v.self);
    for (const name of Object.keys(v)) {
      if (name === "self") continue;
      const values = v[name];
      for (let i = n - 1; i > 0; i--) values[view.parent[i]] += values[i];
    }
    order(view, v.width);
    view.at = new Map();
    for (let i = n - 1; i > 0; i--) if (v.width[i] > 0) view.at.set(view.hash[i], i);
  }

  function widthOf(a, b, all) {
    switch (state.mode) {
      case "growth": return Math.max(0, b - a);
      case "difference": return Math.max(a, b);
      case "allocated": return all;
      default: return b;
    }
  }

  /** Children of each node, widest first. */
  function order(tree, width) {
    const n = tree.parent.length, start = new Uint32Array(n + 1);
    for (let i = 1; i < n; i++) if (width[i] > 0) start[tree.parent[i] + 1]++;
    for (let i = 0; i < n; i++) start[i + 1] += start[i];
    const list = new Uint32Array(start[n]), next = start.slice();
    for (let i = 1; i < n; i++) if (width[i] > 0) list[next[tree.parent[i]]++] = i;
    for (let i = 0; i < n; i++) if (start[i + 1] - start[i] > 1) list.subarray(start[i], start[i + 1]).sort((x, y) => width[y] - width[x] || x - y);
    tree.start = start;
    tree.children = list;
  }

  const childrenOf = (tree, v) => tree.children.subarray(tree.start[v], tree.start[v + 1]);

  // ------------------------------------------------------------------ colors

  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  let hues = new Map();

  /** Distinct hues for the crates that hold the most, in their order; a hash for the rest. */
  function chooseHues() {
    const sizes = new Map();
    for (const dump of [dumps[0], dumps[dumps.length - 1]]) {
      dump?.stack.forEach((s, i) => { const crate = crateOf(s); sizes.set(crate, (sizes.get(crate) || 0) + dump.bytes[i]); });
    }
    const wheel = [28, 205, 140, 265, 48, 180, 330, 95, 235, 300, 65, 160];
    hues = new Map([...sizes].sort((x, y) => y[1] - x[1] || (x[0] < y[0] ? -1 : 1)).slice(0, wheel.length).map(([crate], i) => [crate, wheel[i]]));
  }

  function crateHue(crate) {
    return hues.has(crate) ? hues.get(crate) : (((hashOf(crate) >>> 0) % 72) * 5);
  }

  function crateColor(crate, kind) {
    if (kind === 0 || kind === 2) return dark.matches ? "hsl(220 6% 30%)" : "hsl(220 8% 84%)";
    const hue = crateHue(crate), strong = kind === 4;
    const [s, l] = dark.matches ? [strong ? 46 : 26, strong ? 34 : 29] : [strong ? 72 : 38, strong ? 78 : 85];
    return `hsl(${hue} ${s}% ${l}%)`;
  }

  /** Red for growth and blue for shrinkage; or orange and purple, told apart with any color vision. */
  function changeColor(share) {
    const t = Math.min(1, Math.abs(share)), [grew, shrank] = state.colors ? [30, 272] : [8, 215], hue = share > 0 ? grew : shrank;
    if (Math.abs(share) < 0.005) return dark.matches ? "hsl(220 5% 27%)" : "hsl(220 8% 92%)";
    return dark.matches ? `hsl(${hue} ${20 + 45 * t}% ${27 + 13 * t}%)` : `hsl(${hue} ${40 + 45 * t}% ${92 - 26 * t}%)`;
  }

  // ------------------------------------------------------------------ flame views

  const ROW = 19;

  class Flame {
    constructor(host, label, up) {
      this.up = up;
      this.canvas = element("canvas", { "aria-hidden": true });
      this.item = element("div", { role: "treeitem", id: `active-${label.replace(/\W+/g, "-")}`, class: "hidden" });
      this.box = element("div", { class: "canvas", tabindex: 0, role: "tree", "aria-label": label, "aria-activedescendant": this.item.id }, this.canvas, this.item);
      host.append(this.box);
      this.active = 0;
      this.box.addEventListener("pointermove", (event) => this.hover(event));
      this.box.addEventListener("pointerleave", () => hideTip());
      this.box.addEventListener("click", (event) => this.click(event));
      this.box.addEventListener("keydown", (event) => this.key(event));
      this.box.addEventListener("focus", () => this.tell(this.active || this.root));
    }

    /** `tree` has parent, start, children; `width` its values; the others tell names, colors and words of nodes. */
    show(tree, width, root, look) {
      Object.assign(this, { tree, width, root, look });
      if (!(width[this.active] > 0) || this.active >= tree.parent.length) this.active = root;
      const before = `${this.up} ${this.root} ${this.depth}`;
      this.layout();
      this.draw();
      // The root is in sight: at the bottom where callees stand upon their callers.
      if (this.up && before !== this.seen) this.box.scrollTop = this.box.scrollHeight;
      this.seen = before;
    }

    layout() {
      const { tree, width } = this;
      const total = this.box.clientWidth || 800;
      this.total = total;
      const boxes = [];
      const above = [];
      for (let v = this.root; v >= 0; v = tree.parent[v]) above.unshift(v);
      above.forEach((v, depth) => boxes.push([v, 0, total, depth, depth < above.length - 1]));
      const todo = [[this.root, 0, above.length]];
      const scale = total / (width[this.root] || 1);
      let depth = above.length;
      while (todo.length) {
        const [v, x, level] = todo.pop();
        let at = x;
        for (const c of childrenOf(tree, v)) {
          const w = width[c] * scale;
          if (w < 0.4) break; // Children come widest first.
          boxes.push([c, at, w, level, false]);
          depth = Math.max(depth, level + 1);
          todo.push([c, at, level + 1]);
          at += w;
        }
      }
      this.boxes = boxes;
      this.depth = depth;
      this.byRow = Array.from({ length: depth }, () => []);
      for (const box of boxes) this.byRow[box[3]].push(box);
      for (const row of this.byRow) row.sort((p, q) => p[1] - q[1]);
    }

    top(level) {
      return (this.up ? this.depth - 1 - level : level) * ROW;
    }

    draw() {
      const ratio = window.devicePixelRatio || 1, height = this.depth * ROW + 1;
      this.canvas.width = Math.round(this.total * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${this.total}px`;
      this.canvas.style.height = `${height}px`;
      const c = this.canvas.getContext("2d");
      c.setTransform(ratio, 0, 0, ratio, 0, 0);
      c.clearRect(0, 0, this.total, height);
      const style = getComputedStyle(document.documentElement);
      const ink = style.getPropertyValue("--ink"), accent = style.getPropertyValue("--accent"), hit = style.getPropertyValue("--hit");
      c.font = `12px ${style.getPropertyValue("--mono")}`;
      c.textBaseline = "middle";
      const letter = c.measureText("0").width;
      const searching = this.look.hits !== null;
      for (const [v, x, w, level, outer] of this.boxes) {
        const y = this.top(level), found = searching && this.look.hits(v);
        c.globalAlpha = outer ? 0.55 : searching && !found ? 0.45 : 1;
        c.fillStyle = found ? hit : this.look.color(v);
        c.fillRect(x, y, Math.max(w - (w > 3 ? 1 : 0), 0.4), ROW - 1);
        c.globalAlpha = outer ? 0.75 : 1;
        if (w > 24) {
          const room = Math.floor((w - 8) / letter);
          const label = this.fit(v, room);
          if (label) { c.fillStyle = ink; c.fillText(label, x + 4, y + ROW / 2); }
        }
      }
      c.globalAlpha = 1;
      const active = this.boxes.find((box) => box[0] === this.active);
      if (active && document.activeElement === this.box) {
        c.strokeStyle = accent;
        c.lineWidth = 2;
        c.strokeRect(active[1] + 1, this.top(active[3]) + 1, Math.max(active[2] - 3, 2), ROW - 3);
      }
    }

    fit(v, room) {
      const name = this.look.name(v);
      if (name.length <= room) return name;
      for (const parts of [3, 2, 1]) { const short = tail(name, parts); if (short.length <= room) return short; }
      const short = tail(name, 1);
      return room >= 4 ? `${short.slice(0, room - 1)}…` : "";
    }

    find(event) {
      const area = this.canvas.getBoundingClientRect();
      const x = event.clientX - area.left, row = Math.floor((event.clientY - area.top) / ROW);
      const level = this.up ? this.depth - 1 - row : row;
      return this.byRow?.[level]?.find((box) => x >= box[1] && x < box[1] + box[2])?.[0] ?? -1;
    }

    hover(event) {
      const v = this.find(event);
      this.box.classList.toggle("points", v >= 0);
      if (v < 0) hideTip(); else showTip(event, this.look.words(v));
    }

    click(event) {
      const v = this.find(event);
      if (v < 0) return;
      this.tell(v);
      this.look.choose(v, event);
    }

    tell(v) {
      this.active = v;
      const level = this.boxes.find((box) => box[0] === v)?.[3] ?? 0;
      const siblings = this.tree.parent[v] >= 0 ? childrenOf(this.tree, this.tree.parent[v]) : [v];
      this.item.setAttribute("aria-level", level + 1);
      this.item.setAttribute("aria-setsize", siblings.length);
      this.item.setAttribute("aria-posinset", siblings.indexOf(v) + 1);
      this.item.setAttribute("aria-label", this.look.words(v).map((line) => line.join(" ")).join("; "));
      const y = this.top(level);
      if (document.activeElement === this.box) {
        if (y < this.box.scrollTop) this.box.scrollTop = y;
        if (y + ROW > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = y + ROW - this.box.clientHeight;
      }
      this.draw();
      this.look.tell?.(v);
    }

    key(event) {
      const inner = this.up ? "ArrowUp" : "ArrowDown", outer = this.up ? "ArrowDown" : "ArrowUp";
      const { tree } = this;
      let to = -1;
      const parent = tree.parent[this.active];
      const siblings = parent >= 0 ? childrenOf(tree, parent) : null;
      const position = siblings ? siblings.indexOf(this.active) : 0;
      if (event.key === inner) to = childrenOf(tree, this.active)[0] ?? -1;
      else if (event.key === outer) to = parent;
      else if (event.key === "ArrowRight" && siblings) to = siblings[position + 1] ?? -1;
      else if (event.key === "ArrowLeft" && siblings) to = siblings[position - 1] ?? -1;
      else if (event.key === "Home") to = this.root;
      else if (event.key === "Enter" || event.key === " ") { event.preventDefault(); this.look.choose(this.active, event); return; }
      else if (event.key === "Escape") { event.preventDefault(); this.look.choose(0, event); return; }
      else if (event.key === "s" && !event.ctrlKey && !event.metaKey) { this.look.sandwich?.(this.active); return; }
      else return;
      event.preventDefault();
      if (to < 0) return;
      if (!this.boxes.some((box) => box[0] === to)) { if (tree.parent[to] >= 0) this.look.choose(tree.parent[to], event); }
      this.tell(to);
    }
  }

  // ------------------------------------------------------------------ tooltip

  let tip;

  function showTip(event, words) {
    tip ||= document.body.appendChild(element("div", { class: "tip", role: "presentation" }));
    tip.replaceChildren(...words.map(([label, value], i) => element("div", i === 0 ? { class: "name" } : {}, i === 0 ? shorten(label, 600) : element("span", { class: "label" }, label), i === 0 || value === undefined ? null : value)));
    tip.hidden = false;
    const { innerWidth: w, innerHeight: h } = window, box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, w - box.width - 6))}px`;
    tip.style.top = `${event.clientY + 18 + box.height > h ? Math.max(4, event.clientY - box.height - 12) : event.clientY + 18}px`;
  }

  function hideTip() {
    if (tip) tip.hidden = true;
  }

  /** What is said of a node: pairs of label and value, the name first. */
  function words(values, v, name, frame, parentWidth, totalWidth) {
    const lines = [[name]];
    if (frame >= 0) {
      const place = frames.file[frame] >= 0 ? `${text(frames.file[frame])}${frames.line[frame] ? `:${frames.line[frame]}` : ""}` : text(frames.module[frame]);
      if (place && state.by !== "crate") lines.push(["at ", place]);
    }
    const size = values.bytesB[v], was = values.bytesA[v];
    const [low, high] = liveInterval(size, values.objectsB[v], values.variance[v], values.samples[v]);
    const sampled = values.variance[v] > 0 || values.change[v] > 0;
    const range = (l, h, format) => (sampled ? ` (95 %: ${format(l)} to ${format(h)})` : "");
    const pairs = state.a !== state.b;
    lines.push([pairs ? `live at ${marks[state.b].label}: ` : "live: ", `${bytes(size)}${range(low, high, bytes)}, ${count(values.objectsB[v])}`]);
    if (pairs) {
      const [least, most] = changeInterval(size - was, values.change[v], values.third[v], values.unseen[v]);
      lines.push([`live at ${marks[state.a].label}: `, `${bytes(was)}, ${count(values.objectsA[v])}`]);
      lines.push(["change: ", `${signedBytes(size - was)}${range(least, most, signedBytes)}, ${signedCount(values.objectsB[v] - values.objectsA[v])} objects`]);
    }
    if (values.allBytes[v] > 0) {
      lines.push(["allocated: ", `${bytes(values.allBytes[v])}, ${count(values.allObjects[v])}`]);
    }
    const shown = MODES.find((mode) => mode.id === state.mode).label.toLowerCase();
    lines.push([`share of ${shown}: `, `${percent(values.width[v], totalWidth)} of the total, ${percent(values.width[v], parentWidth)} of the ${state.turn ? "callee" : "caller"}`]);
    if (values.self && values.self[v] > 0 && values.self[v] < values.width[v]) {
      lines.push([state.turn ? "of it here and not further out: " : "of it here and not in a callee: ", state.unit === "bytes" ? bytes(values.self[v]) : count(values.self[v])]);
    }
    return lines;
  }

  // ------------------------------------------------------------------ the main view, sandwich

  let flame, callers, callees, selected = 0;

  function colorOf(tree, values, v) {
    if (state.mode === "difference") {
      const size = Math.max(values.bytesA[v], values.bytesB[v]);
      return changeColor(size ? (values.bytesB[v] - values.bytesA[v]) / size : 0);
    }
    const frame = tree.frame[v];
    return frame < 0 ? crateColor("", 2) : crateColor(text(frames.crate[frame]), state.by === "crate" ? 4 : role(frame));
  }

  function hitsOf(tree) {
    const hits = framesMatching(state.q);
    if (!hits) return null;
    const names = pattern(state.q);
    return (v) => (tree.frame[v] >= 0 && state.by !== "crate" ? hits[tree.frame[v]] === 1 : names.test(keyName(tree.key[v], tree.frame[v], view.byLine)));
  }

  function drawFlame() {
    const values = view.values;
    let root = state.zoom ? view.at.get(Number(state.zoom)) ?? 0 : 0;
    if (!(values.width[root] > 0)) root = 0;
    if (!(selected < view.size && values.width[selected] > 0)) selected = 0;
    flame.up = state.flip === "1";
    flame.show(view, values.width, root, {
      name: nodeName,
      color: (v) => colorOf(view, values, v),
      hits: hitsOf(view),
      words: (v) => words(values, v, nodeName(v), view.frame[v], view.parent[v] < 0 ? values.width[v] : values.width[view.parent[v]], values.width[0]),
      choose: (v, event) => (event.altKey || event.ctrlKey || event.metaKey ? sandwich(v) : zoom(v)),
      tell: (v) => { selected = v; drawDetail(); },
      sandwich,
    });
    drawDetail();
  }

  function zoom(v) {
    selected = v;
    // A second click on what is zoomed zooms out.
    set({ zoom: v > 0 && String(view.hash[v]) !== state.zoom ? String(view.hash[v]) : "" });
  }

  function sandwich(v) {
    if (view.key[v] < 0 && view.key[v] > -10) return;
    set({ fn: nodeName(v) });
    $("sandwich").scrollIntoView({ block: "nearest" });
  }

  /** Trees of callers and callees of every node with this name that is not below another of it. */
  function buildSandwich(name) {
    const values = view.values, n = view.size;
    const isIt = new Uint8Array(n), below = new Uint8Array(n), tops = [];
    for (let v = 1; v < n; v++) {
      isIt[v] = nodeName(v) === name ? 1 : 0;
      below[v] = below[view.parent[v]] | isIt[view.parent[v]];
      if (isIt[v] && !below[v] && values.width[v] > 0) tops.push(v);
    }
    if (!tops.length) return null;
    const kinds = Object.keys(values);
    const make = () => ({ parent: [-1], key: [view.key[tops[0]]], frame: [view.frame[tops[0]]], values: Object.fromEntries(kinds.map((kind) => [kind, [0]])), ids: new Map() });
    const child = (tree, parent, v) => {
      const id = `${parent}/${view.key[v]}`;
      let node = tree.ids.get(id);
      if (node === undefined) {
        node = tree.parent.length;
        tree.ids.set(id, node);
        tree.parent.push(parent); tree.key.push(view.key[v]); tree.frame.push(view.frame[v]);
        for (const kind of kinds) tree.values[kind].push(0);
      }
      return node;
    };
    const add = (tree, node, v) => { for (const kind of kinds) tree.values[kind][node] += values[kind][v]; };
    const up = make(), down = make();
    for (const top of tops) {
      add(up, 0, top);
      add(down, 0, top);
      let node = 0;
      for (let v = view.parent[top]; v > 0; v = view.parent[v]) { node = child(up, node, v); add(up, node, top); }
      const todo = [[top, 0]];
      while (todo.length) {
        const [v, at] = todo.pop();
        for (const c of childrenOf(view, v)) { const node = child(down, at, c); add(down, node, c); todo.push([c, node]); }
      }
    }
    for (const tree of [up, down]) order(tree, tree.values.width);
    return state.turn ? { up: down, down: up } : { up, down };
  }

  function drawSandwich() {
    const host = $("sandwich");
    const trees = state.fn ? buildSandwich(state.fn) : null;
    host.hidden = !state.fn;
    if (!state.fn) { host.replaceChildren(); callers = callees = null; return; }
    const close = element("button", { type: "button", onclick: () => set({ fn: "" }) }, "Close");
    if (!trees) {
      host.replaceChildren(element("div", { class: "row" }, element("h3", {}, shorten(state.fn, 300)), close), element("p", { class: "quiet" }, "It is in none of the stacks shown now."));
      return;
    }
    const { up, down } = trees, total = view.values.width[0], format = state.unit === "bytes" ? bytes : count;
    const self = state.turn ? "" : `; ${format(down.values.self[0])} here and not in a callee`;
    host.replaceChildren(
      element("div", { class: "row" }, element("h3", {}, "Callers and callees of ", element("code", {}, shorten(state.fn, 300))), close),
      element("p", { class: "quiet" }, `${format(down.values.width[0])}, ${percent(down.values.width[0], total)} of the total${self}. Callers stand above, callees below; a click moves on to another function.`),
    );
    const look = (tree) => ({
      name: (v) => keyName(tree.key[v], tree.frame[v], view.byLine),
      color: (v) => colorOf(tree, tree.values, v),
      hits: hitsOf(tree),
      words: (v) => words(tree.values, v, keyName(tree.key[v], tree.frame[v], view.byLine), tree.frame[v], tree.parent[v] < 0 ? tree.values.width[v] : tree.values.width[tree.parent[v]], total),
      choose: (v) => { if (v > 0) set({ fn: keyName(tree.key[v], tree.frame[v], view.byLine) }); },
    });
    callers = new Flame(host, "Callers", true);
    callees = new Flame(host, "Callees", false);
    callers.show(up, up.values.width, 0, look(up));
    callees.show(down, down.values.width, 0, look(down));
    callers.box.scrollTop = callers.box.scrollHeight;
  }

  /** The frames from a node to the root, innermost first. */
  function pathOf(v) {
    const path = [];
    for (let at = v; at > 0; at = view.parent[at]) path.push(at);
    return state.turn ? path.reverse() : path;
  }

  function drawDetail() {
    const host = $("detail");
    if (!host) return;
    const v = selected, values = view.values;
    const lines = words(values, v, nodeName(v), view.frame[v], v ? values.width[view.parent[v]] : values.width[0], values.width[0]);
    const named = view.key[v] >= 0;
    host.replaceChildren(
      element("div", { class: "row" }, element("strong", {}, v ? shorten(nodeName(v), 400) : "All stacks that are shown"),
        named ? element("button", { type: "button", onclick: () => sandwich(v) }, "Callers and callees") : null,
        named ? element("button", { type: "button", onclick: () => set({ focus: exactly(frameName(v)), zoom: "" }) }, "Only stacks with it") : null,
        named ? element("button", { type: "button", onclick: () => set({ ignore: exactly(frameName(v)), zoom: "" }) }, "Without them") : null,
        v ? element("button", { type: "button", onclick: (event) => copy(stackText(pathOf(v).map((at) => [nodeName(at), view.frame[at]]), lines), event.target) }, "Copy stack") : null,
        state.zoom ? element("button", { type: "button", onclick: () => set({ zoom: "" }) }, "Zoom out") : null),
      element("p", {}, lines.slice(1).map((line) => line.join("")).join(" · ")),
    );
  }

  const frameName = (v) => (view.frame[v] >= 0 && state.by !== "crate" ? text(frames.function[view.frame[v]]) : nodeName(v));
  const exactly = (name) => `^${name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;

  function stackText(path, lines) {
    const place = (frame) => (frame >= 0 && frames.file[frame] >= 0 ? `  ${text(frames.file[frame])}${frames.line[frame] ? `:${frames.line[frame]}` : ""}` : "");
    return [...lines.slice(1).map((line) => line.join("")), "", ...path.map(([name, frame]) => `    ${name}${place(frame)}`)].join("\n");
  }

  async function copy(words, button) {
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(words);
    } catch {
      const area = document.body.appendChild(element("textarea", { class: "hidden" }));
      area.value = words;
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
  }

  // ------------------------------------------------------------------ controls

  let controls = {};

  function buildControls() {
    const radio = (name, options, label) => element("fieldset", { class: "segments" }, element("legend", {}, label), options.map(([value, words]) =>
      element("label", {}, element("input", { type: "radio", name, value, onchange: () => set({ [name]: value, zoom: name === "mode" ? state.zoom : "" }) }), element("span", {}, words))));
    const field = (name, label, hint) => {
      const problem = element("span", { class: "problem", role: "alert" });
      const input = element("input", { type: "search", name, placeholder: hint, spellcheck: "false", autocomplete: "off", oninput: debounce(() => set({ [name]: input.value }), 150) });
      controls[name] = { input, problem };
      return element("label", { class: "field" }, element("span", {}, label), input, problem);
    };
    const select = (name, label, options) => {
      const input = element("select", { name, onchange: () => set({ [name]: input.value, zoom: "" }) }, options.map(([value, words]) => element("option", { value }, words)));
      controls[name] = { input };
      return element("label", { class: "field" }, element("span", {}, label), input);
    };
    const check = (name, on, label) => {
      const input = element("input", { type: "checkbox", name, onchange: () => set({ [name]: input.checked ? on : "", zoom: "" }) });
      const words = element("span", {}, label);
      controls[name] = { input, on, words };
      return element("label", { class: "check" }, input, words);
    };
    const crates = [...new Set(Array.from({ length: stackCount }, (_, s) => crateOf(s)))].filter(Boolean).sort();
    const ways = [["function", "function"], ["line", "line"], ["crate", "crate"]];
    if (dumps.some((dump) => dump.threads)) ways.push(["thread", "thread, then function"]);
    const modes = MODES.filter((mode) => mode.is());
    $("controls").replaceChildren(
      element("div", { class: "row" },
        modes.length > 1 ? radio("mode", modes.map((mode) => [mode.id, mode.label]), "Show") : null,
        radio("unit", [["bytes", "Bytes"], ["objects", "Objects"]], "In"),
        select("by", "By", ways),
        field("q", "Search", "regular expression"),
        element("output", { id: "found", class: "quiet", "aria-live": "polite" })),
      element("details", { id: "filters" }, element("summary", {}, "Filters ", element("span", { id: "filtered", class: "quiet" })),
        element("div", { class: "row" },
          field("focus", "Only stacks with", "function, file or module"),
          field("ignore", "Without stacks with", "function, file or module"),
          field("hide", "Hide frames", "function, file or module"),
          crates.length > 1 ? select("crate", "Owner crate", [["", "all"], ...crates.map((crate) => [crate, shorten(crate, 40)])]) : null,
          element("button", { type: "button", onclick: () => set({ focus: "", ignore: "", hide: "", crate: "", q: "", zoom: "", fn: "" }) }, "Clear"))),
      element("div", { class: "row" },
        check("frames", "all", "allocator, library and runtime frames"),
        check("flip", "1", "callers at the bottom"),
        check("turn", "1", "stacks turned round"),
        modes.some((mode) => mode.id === "difference") ? check("colors", "safe", "color-blind safe") : null,
        element("span", { id: "says", class: "quiet" })),
    );
    const host = $("flame");
    flame = new Flame(host, "Flame view: arrow keys move, Enter zooms, s shows callers and callees", false);
    host.append(element("div", { id: "detail", class: "detail" }));
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) { event.preventDefault(); controls.q.input.focus(); }
    });
  }

  function debounce(run, wait) {
    let timer;
    return () => { clearTimeout(timer); timer = setTimeout(run, wait); };
  }

  function drawControls() {
    for (const name of ["mode", "unit"]) for (const input of document.querySelectorAll(`input[name=${name}]`)) input.checked = input.value === state[name];
    for (const [name, { input, problem, on }] of Object.entries(controls)) {
      if (input.type === "checkbox") input.checked = state[name] === on;
      else if (input.value !== state[name]) input.value = state[name];
      if (problem) {
        const re = pattern(state[name]);
        problem.textContent = re instanceof Error ? re.message.replace(/^Invalid regular expression: /, "") : "";
        input.setAttribute("aria-invalid", re instanceof Error);
      }
    }
    controls.frames.words.textContent = `allocator, library and runtime frames${state.frames === "all" ? "" : ` (${grouped(view.hidden)} functions hidden)`}`;
    const swatch = (share) => { const chip = element("span", { class: "chip", "aria-hidden": true }); chip.style.background = changeColor(share); return chip; };
    const [grew, shrank] = state.colors ? ["orange", "purple"] : ["red", "blue"];
    const legend = state.mode === "difference" ? [" ", swatch(1), `${grew} grew, `, swatch(-1), `${shrank} shrank`] : [];
    const says = dumps.length > 1 ? MODES.find((mode) => mode.id === state.mode).says : `Width: ${state.mode === "allocated" ? "allocated since the start" : "live"}`;
    $("says").replaceChildren(says, ...legend);
    if (controls.colors) controls.colors.input.parentElement.hidden = state.mode !== "difference";
    if (state.focus || state.ignore || state.hide || state.crate) $("filters").open = true;
    let kept = 0, size = 0, total = 0;
    for (let s = 0; s < stackCount; s++) { total += pair.b.bytes[s]; if (keep[s]) { kept++; size += pair.b.bytes[s]; } }
    $("filtered").textContent = kept === stackCount ? "" : `${grouped(kept)} of ${grouped(stackCount)} stacks, ${bytes(size)} of ${bytes(total)} live`;
    drawFound();
  }

  /** Share of the stacks with a match, each counted once. */
  function drawFound() {
    const hits = hitsOf(view);
    const found = $("found");
    if (!hits) { found.textContent = ""; return; }
    const under = new Uint8Array(view.size), values = view.values;
    let sum = 0, frames_ = 0;
    for (let v = 1; v < view.size; v++) {
      const hit = hits(v);
      if (hit && values.width[v] > 0) { frames_++; if (!under[view.parent[v]]) sum += values.width[v]; }
      under[v] = hit || under[view.parent[v]] ? 1 : 0;
    }
    const format = state.unit === "bytes" ? bytes : count;
    found.textContent = frames_ ? `${percent(sum, values.width[0])} found: ${format(sum)} in ${grouped(frames_)} frames` : "nothing found";
  }

  // ------------------------------------------------------------------ table

  const LINE = 30;
  let table;

  const COLUMNS = [
    { id: "name", label: "Owner", of: (row) => row.name, words: true },
    { id: "live", label: "Live", of: (row) => row.bytesB, show: (row) => bytes(row.bytesB) },
    { id: "growth", label: "Change", of: (row) => row.bytesB - row.bytesA, show: (row) => signedBytes(row.bytesB - row.bytesA), pairs: true },
    { id: "interval", label: "95 % of the change", of: (row) => rowInterval(row)[0], show: (row) => intervalText(row), pairs: true },
    { id: "objects", label: "Objects", of: (row) => row.objectsB, show: (row) => grouped(row.objectsB) },
    { id: "size", label: "Mean size", of: (row) => (row.objectsB > 0 ? row.bytesB / row.objectsB : 0), show: (row) => (row.objectsB > 0 ? bytes(row.bytesB / row.objectsB) : "-") },
    { id: "trend", label: "Trend", show: null, pairs: true },
  ];

  function rowInterval(row) {
    return changeInterval(row.bytesB - row.bytesA, row.change, row.third, row.unseen);
  }

  function intervalText(row) {
    const [low, high] = rowInterval(row);
    return high > low ? `${signedBytes(low)} to ${signedBytes(high)}` : "exact";
  }

  function buildTable() {
    const groups = [["stack", "stack"], ["owner", "owner function"], ["crate", "owner crate"]];
    const select = element("select", { name: "group", onchange: () => set({ group: select.value }) }, groups.map(([value, words]) => element("option", { value }, words)));
    const columns = COLUMNS.filter((column) => dumps.length > 1 || !column.pairs);
    const head = element("tr", {}, columns.map((column) => element("th", { scope: "col", class: column.id }, column.show === null ? column.label : element("button", { type: "button", onclick: () => sortBy(column.id) }, column.label))));
    const body = element("tbody", {});
    const scroller = element("div", { class: "rows", tabindex: 0, role: "region", "aria-labelledby": "table-heading" }, element("table", { class: "stacks" }, element("thead", {}, head), body));
    const says = element("p", { class: "quiet", "aria-live": "polite" });
    const detail = element("div", { class: "detail", id: "row-detail" });
    $("table").replaceChildren(element("div", { class: "row" }, element("label", { class: "field" }, element("span", {}, "One row a"), select), says), scroller, detail);
    table = { select, head, body, scroller, says, detail, columns, rows: [], chosen: null };
    scroller.addEventListener("scroll", () => drawRows());
  }

  function sortBy(id) {
    const current = state.sort || (dumps.length > 1 ? "growth" : "live");
    set({ sort: id, dir: current === id && state.dir !== "up" ? "up" : "" });
  }

  function groupRows() {
    const key = { stack: (s) => s, owner: (s) => (ownerFrame(s) < 0 ? -1 : frames.function[ownerFrame(s)]), crate: (s) => (ownerFrame(s) < 0 ? -1 : frames.crate[ownerFrame(s)]) }[state.group] || ((s) => s);
    const { a, b } = pair, grouped_ = new Map();
    for (let s = 0; s < stackCount; s++) {
      if (!keep[s] || (b.objects[s] === 0 && a.objects[s] === 0)) continue;
      const id = key(s);
      let row = grouped_.get(id);
      if (!row) grouped_.set(id, (row = { id, stacks: [], bytesA: 0, bytesB: 0, objectsA: 0, objectsB: 0, change: 0, third: 0, unseen: 0 }));
      row.stacks.push(s);
      row.bytesA += a.bytes[s]; row.bytesB += b.bytes[s]; row.objectsA += a.objects[s]; row.objectsB += b.objects[s]; row.change += pair.change[s];
      row.third += pair.third[s]; row.unseen = Math.max(row.unseen, pair.unseen[s]);
    }
    const list = [...grouped_.values()];
    for (const row of list) row.name = rowName(row);
    const column = COLUMNS.find((column) => column.id === state.sort && column.of) || COLUMNS.find((column) => column.id === (dumps.length > 1 ? "growth" : "live"));
    const sign = (state.dir === "up") !== !!column.words ? 1 : -1;
    list.sort((p, q) => { const x = column.of(p), y = column.of(q); return (x < y ? -1 : x > y ? 1 : 0) * sign || p.stacks[0] - q.stacks[0]; });
    return { list, column };
  }

  function rowName(row) {
    const s = row.stacks[0], owner = ownerFrame(s);
    if (state.group === "crate") return owner < 0 ? "[no crate]" : text(frames.crate[owner]) || "[no crate]";
    return owner < 0 ? "[no stack]" : text(frames.function[owner]);
  }

  /** Callers of the owner that are not hidden, for the second line of a row. */
  function callersOf(s) {
    const names = [];
    for (let n = data.nodes.parent[data.stacks.owner[s]]; n > 0 && names.length < 4; n = data.nodes.parent[n]) {
      if (role(data.nodes.frame[n]) >= HIDDEN_ROLES) names.push(tail(text(frames.function[data.nodes.frame[n]]), 2));
    }
    return names.length ? ` ← ${names.join(" ← ")}` : "";
  }

  function drawTable() {
    const { list, column } = groupRows();
    table.rows = list;
    table.select.value = state.group;
    table.columns.forEach((c, i) => { const sort = c.id === column.id ? ((state.dir === "up") !== !!c.words ? "ascending" : "descending") : null; if (sort) table.head.children[i].setAttribute("aria-sort", sort); else table.head.children[i].removeAttribute("aria-sort"); });
    let live = 0, change = 0;
    for (const row of list) { live += row.bytesB; change += row.bytesB - row.bytesA; }
    const what = { stack: "stacks", owner: "owner functions", crate: "owner crates" }[state.group];
    table.says.textContent = `${grouped(list.length)} ${what}, ${bytes(live)} live${dumps.length > 1 && state.a !== state.b ? `, ${signedBytes(change)} from ${marks[state.a].label} to ${marks[state.b].label}` : ""}`;
    if (table.chosen !== null && !list.some((row) => row.id === table.chosen)) table.chosen = null;
    drawRows();
    drawRowDetail();
  }

  /** Only the rows in sight are elements. */
  function drawRows(all) {
    const { scroller, body, rows: list, columns } = table;
    const first = all ? 0 : Math.max(0, Math.floor(scroller.scrollTop / LINE) - 5);
    const last = all ? Math.min(list.length, 40) : Math.min(list.length, first + Math.ceil((scroller.clientHeight || 480) / LINE) + 12);
    const spacer = (n) => { const row = element("tr", { "aria-hidden": true }); row.style.height = `${n * LINE}px`; return row; };
    scroller.firstChild.setAttribute("aria-rowcount", list.length + 1);
    const shown = list.slice(first, last).map((row, i) => element("tr", { "aria-rowindex": first + i + 2, class: row.id === table.chosen ? "chosen" : null },
      columns.map((column) => {
        if (column.id === "name") {
          const more = state.group === "stack" ? callersOf(row.stacks[0]) : ` (${grouped(row.stacks.length)} ${row.stacks.length === 1 ? "stack" : "stacks"})`;
          const chip = element("span", { class: "chip" });
          chip.style.background = crateColor(crateOf(row.stacks[0]), 4);
          return element("th", { scope: "row" }, element("button", { type: "button", title: shorten(row.name, 600), "aria-expanded": row.id === table.chosen, onclick: () => { table.chosen = table.chosen === row.id ? null : row.id; drawRows(); drawRowDetail(); } }, chip, tail(row.name, 3), element("span", { class: "quiet" }, more)));
        }
        return element("td", { class: column.id }, column.id === "trend" ? spark(row) : column.show(row));
      })));
    body.replaceChildren(...(all ? shown : [spacer(first), ...shown, spacer(list.length - last)]));
  }

  /** Live bytes of a row at up to 60 dumps. */
  function levels(row) {
    const step = Math.max(1, Math.ceil(dumps.length / 60)), out = [];
    for (let d = dumps.length - 1; d >= 0; d -= step) {
      let sum = 0;
      for (const s of row.stacks.length > 200 ? row.stacks.slice(0, 200) : row.stacks) sum += levelOf(dumps[d], s);
      out.unshift(sum);
    }
    return out;
  }

  function levelOf(dump, s) {
    let low = 0, high = dump.stack.length;
    while (low < high) { const middle = (low + high) >> 1; if (dump.stack[middle] < s) low = middle + 1; else high = middle; }
    return dump.stack[low] === s ? unsample(dump.objects[low], dump.bytes[low], dump.interval)[1] : 0;
  }

  function spark(row) {
    const values = levels(row), most = Math.max(...values, 1);
    const points = values.map((value, i) => `${((i * 86) / Math.max(1, values.length - 1) + 2).toFixed(1)},${(20 - (17 * value) / most).toFixed(1)}`).join(" ");
    return svg("svg", { class: "spark", viewBox: "0 0 90 22", width: 90, height: 22, "aria-hidden": true }, svg("polyline", { points }));
  }

  function drawRowDetail() {
    const row = table.rows.find((row) => row.id === table.chosen);
    if (!row) { table.detail.replaceChildren(); return; }
    const biggest = row.stacks.reduce((best, s) => (Math.abs(pair.b.bytes[s] - pair.a.bytes[s]) > Math.abs(pair.b.bytes[best] - pair.a.bytes[best]) ? s : best), row.stacks[0]);
    const items = [], path = [];
    let hidden = 0;
    for (let n = data.stacks.leaf[biggest]; n > 0; n = data.nodes.parent[n]) {
      const frame = data.nodes.frame[n], owner = n === data.stacks.owner[biggest];
      path.push([text(frames.function[frame]), frame]);
      if (role(frame) < HIDDEN_ROLES && state.frames !== "all" && !owner) { hidden++; continue; }
      const place = frames.file[frame] >= 0 ? `${text(frames.file[frame])}${frames.line[frame] ? `:${frames.line[frame]}` : ""}` : text(frames.module[frame]);
      items.push(element("li", { class: owner ? "owner" : null }, element("code", {}, shorten(text(frames.function[frame]), 2000)), " ", element("span", { class: "place" }, place), owner ? element("strong", { class: "mark" }, "owner") : null));
    }
    if (hidden) items.push(element("li", { class: "quiet" }, `${hidden} allocator, library and runtime frames hidden`));
    const lines = [[""], ["live: ", `${bytes(row.bytesB)}, ${count(row.objectsB)}`], ["change: ", `${signedBytes(row.bytesB - row.bytesA)} (${intervalText(row)})`]];
    table.detail.replaceChildren(
      element("div", { class: "row" }, element("strong", {}, row.stacks.length > 1 ? `The stack of ${grouped(row.stacks.length)} that changed most` : "Stack"),
        element("button", { type: "button", onclick: (event) => copy(stackText(path, lines), event.target) }, "Copy as text"),
        element("button", { type: "button", onclick: () => { set({ focus: exactly(row.name), zoom: "" }); $("explore").scrollIntoView(); } }, "Only this owner in the flame view")),
      element("ol", { class: "stack" }, items));
  }

  // ------------------------------------------------------------------ chart

  const KINDS = { live: 205, sampling_overhead: 190, tcache: 265, fragmentation: 45, metadata: 300, dirty: 20, lazy_free: 340, untouched: 220, huge_pages: 95, foreign_heap: 130, thread_stacks: 165, file_mapped: 60, shared_memory: 280, other_anonymous: 240, unattributed: 0 };

  function kindColor(kind, nth) {
    if (kind === "unattributed" || kind === "untouched") return dark.matches ? "hsl(220 5% 45%)" : "hsl(220 6% 70%)";
    const hue = KINDS[kind] ?? 0, shift = (nth % 4) * 8;
    return dark.matches ? `hsl(${hue} 45% ${42 + shift}%)` : `hsl(${hue} 60% ${60 + shift / 1.5}%)`;
  }

  /** Areas over the marks: rows of the ledger, else live bytes of the profile. */
  function areas() {
    if (data.ledger && data.ledger.at.length) {
      const seen = {};
      return data.ledger.rows.map((row) => {
        const nth = (seen[row.kind] = (seen[row.kind] ?? -1) + 1);
        return { label: row.label, kind: row.kind, basis: row.basis, nth, at: data.ledger.at, values: row.bytes };
      });
    }
    const at = marks.map((_, i) => i).filter((i) => marks[i].dump !== null);
    return [{ label: "live heap", kind: "live", basis: "estimated", nth: 0, at, values: at.map((i) => total(marks[i].dump)) }];
  }

  const totals = new Map();

  function total(dump) {
    if (!totals.has(dump)) {
      let sum = 0;
      const d = dumps[dump];
      for (let i = 0; i < d.stack.length; i++) sum += unsample(d.objects[i], d.bytes[i], d.interval)[1];
      totals.set(dump, sum);
    }
    return totals.get(dump);
  }

  /** A round step for about `wanted` ticks up to `most`, in powers of two times 1, 2, 5 of an IEC unit. */
  function tickStep(most, wanted) {
    const unit = 1024 ** Math.floor(Math.log(Math.max(most, 1)) / Math.log(1024)), raw = most / wanted / unit;
    const power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find((s) => s * power >= raw) * power;
    return step * unit;
  }

  function timeStep(most, wanted) {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400].map((s) => s * 1000);
    return steps.find((step) => most / step <= wanted) ?? 86400000 * Math.ceil(most / wanted / 86400000);
  }

  let chart, lit = -1;

  function buildChart() {
    const select = (name, label) => {
      const input = element("select", { id: `mark-${name}`, onchange: () => set({ [name]: Number(input.value), zoom: state.zoom }) }, marks.map((mark, i) => element("option", { value: i }, `${i + 1}: ${mark.label}${mark.dump === null ? " (no dump)" : ""}`)));
      return [element("label", { class: "field" }, element("span", {}, label), input), input];
    };
    const [from, fromInput] = select("a", "From"), [to, toInput] = select("b", "To");
    $("pair").replaceChildren(from, to);
    if (marks.length > 2) {
      $("pair").append(
        element("button", { type: "button", onclick: () => set({ a: 0, b: marks.length - 1 }) }, "Whole capture"),
        element("button", { type: "button", onclick: () => set({ a: Math.max(0, state.b - 1) }) }, "Last step only"));
    }
    chart = { fromInput, toInput, areas: areas(), host: $("chart") };
    $("time").hidden = false;
  }

  function drawChart() {
    const { host } = chart, list = chart.areas;
    chart.fromInput.value = state.a;
    chart.toInput.value = state.b;
    const width = Math.max(320, host.clientWidth || 900), height = 260, left = 74, right = 16, top = 26, bottom = 40;
    const at = list[0].at, first = marks[0].x, length = Math.max(1, marks[marks.length - 1].x - first);
    const x = (i) => left + ((marks[i].x - first) / length) * (width - left - right);
    let most = 1, least = 0;
    const high = at.map((_, i) => list.reduce((sum, area) => sum + Math.max(0, area.values[i]), 0));
    const low = at.map((_, i) => list.reduce((sum, area) => sum + Math.min(0, area.values[i]), 0));
    const line = data.ledger && data.ledger.rss.length ? data.ledger.rss : null;
    most = Math.max(1, ...high, ...(line || []));
    least = Math.min(0, ...low);
    const y = (value) => top + ((most - value) / (most - least)) * (height - top - bottom);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": chartWords(list, line) });
    const step = tickStep(most - least, 5);
    for (let value = Math.ceil(least / step) * step; value <= most; value += step) {
      drawing.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), svg("text", { class: "tick", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, bytes(value)));
    }
    if (data.timed) {
      const gap = timeStep(length, Math.max(2, Math.floor(width / 130)));
      for (let t = 0; t <= length; t += gap) drawing.append(svg("text", { class: "tick", x: left + (t / length) * (width - left - right), y: height - 8, "text-anchor": "middle" }, span(t)));
    } else {
      const gap = Math.max(1, Math.ceil(marks.length / Math.max(2, Math.floor(width / 160))));
      for (let i = 0; i < marks.length; i += gap) drawing.append(svg("text", { class: "tick", x: x(i), y: height - 8, "text-anchor": i === 0 ? "start" : i === marks.length - 1 ? "end" : "middle" }, shorten(marks[i].label, 22)));
    }
    const up = at.map(() => 0), down = at.map(() => 0);
    list.forEach((area, k) => {
      const edge = [], back = [];
      area.values.forEach((value, i) => {
        const base = value >= 0 ? up : down, from = value === 0 ? up[i] : base[i];
        base[i] += value;
        edge.push(`${x(at[i]).toFixed(1)},${y(from + value).toFixed(1)}`);
        back.unshift(`${x(at[i]).toFixed(1)},${y(from).toFixed(1)}`);
      });
      const fill_ = kindColor(area.kind, area.nth);
      drawing.append(svg("polygon", { points: [...edge, ...back].join(" "), fill: fill_, stroke: fill_, "stroke-width": 0.75, class: lit >= 0 && lit !== k ? "dim" : null }));
    });
    if (line) drawing.append(svg("polyline", { class: "rss", points: line.map((value, i) => `${x(at[i]).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }));
    drawing.append(...areaLabels(list, line, at, x, y, width - right));
    const [xa, xb] = [x(state.a), x(state.b)];
    drawing.append(...outside(xa, xb, left, width - right, top, height - bottom));
    const dense = (width - left - right) / marks.length < 5;
    marks.forEach((mark, i) => { if (!dense || i === state.a || i === state.b) drawing.append(svg("circle", { class: mark.dump === null ? "snap bare" : "snap", cx: x(i), cy: height - bottom + 9, r: 3.2 })); });
    drawing.append(handle("a", "From", xa, top, height - bottom), handle("b", "To", xb, top, height - bottom));
    const closest = (event) => {
      const area = drawing.getBoundingClientRect(), px = ((event.clientX - area.left) / area.width) * width;
      return marks.reduce((best, _, i) => (Math.abs(x(i) - px) < Math.abs(x(best) - px) ? i : best), 0);
    };
    drawing.addEventListener("click", (event) => { const i = closest(event); set(event.shiftKey ? { a: i } : { b: i }); });
    drawing.addEventListener("pointermove", (event) => showTip(event, instantWords(list, line, closest(event))));
    drawing.addEventListener("pointerleave", hideTip);
    const held = document.activeElement?.getAttribute("data-handle");
    host.replaceChildren(drawing, element("figcaption", { class: "quiet" }, "Click sets the second mark, shift-click the first; the handles also take arrow keys. Everything below follows the marks."));
    if (held) host.querySelector(`[data-handle=${held}]`)?.focus();
  }

  /** Names inside of the areas that have room for them at the right edge, and that of the line. */
  function areaLabels(list, line, at, x, y, edge) {
    const last = at.length - 1, labels = [];
    let up = 0, down = 0;
    for (const area of list) {
      const value = area.values[last], from = value >= 0 ? up : down;
      if (value >= 0) up += value; else down += value;
      const [top, bottom] = [y(Math.max(from, from + value)), y(Math.min(from, from + value))];
      if (bottom - top >= 15) labels.push({ text: shorten(area.label, 40), y: (top + bottom) / 2 + 4, class: "area" });
    }
    if (line) {
      const at_ = y(line[last]);
      // Beside the line, where no other label stands.
      const free = (where) => labels.every((label) => Math.abs(label.y - where) > 13);
      const where = [at_ - 5, at_ + 14].find((where) => free(where) && where > 20);
      const label = { text: `RSS ${bytes(line[last])}`, class: "area strong" };
      if (where !== undefined) labels.push({ ...label, y: where });
      else {
        // Thin areas take the edge: above the line further left, where there are no names.
        const middle = last >> 1, over = y(line[middle]) - 6;
        labels.push({ ...label, x: x(at[middle]), y: over > 20 ? over : y(line[middle]) + 15, anchor: "middle" });
      }
    }
    return labels.map((label) => svg("text", { class: label.class, x: label.x ?? edge - 14, y: label.y, "text-anchor": label.anchor ?? "end" }, label.text));
  }

  /** What lies outside of the pair is veiled. */
  function outside(from, to, left, right, top, bottom) {
    return [[left, from], [to, right]].filter(([x1, x2]) => x2 > x1).map(([x1, x2]) => svg("rect", { class: "outside", x: x1, y: top, width: x2 - x1, height: bottom - top }));
  }

  function handle(name, label, px, top, bottom) {
    const i = state[name], last = marks.length - 1;
    const node = svg("g", { class: "handle", "data-handle": name, tabindex: 0, role: "slider", "aria-label": `${label} snapshot`, "aria-valuemin": 1, "aria-valuemax": last + 1, "aria-valuenow": i + 1, "aria-valuetext": `snapshot ${i + 1} of ${last + 1}, ${marks[i].label}` },
      svg("line", { x1: px, x2: px, y1: top - 6, y2: bottom }), svg("circle", { cx: px, cy: top - 12, r: 9 }), svg("text", { x: px, y: top - 8, "text-anchor": "middle" }, name.toUpperCase()));
    const move = (to) => { const other = name === "a" ? state.b : state.a; const clamped = Math.max(0, Math.min(last, to)); set({ [name]: name === "a" ? Math.min(clamped, other) : Math.max(clamped, other) }); };
    node.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: i - 1, ArrowDown: i - 1, ArrowRight: i + 1, ArrowUp: i + 1, PageDown: i - 10, PageUp: i + 10, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      move(to);
    });
    return node;
  }

  function chartWords(list, line) {
    const firstTotal = line ? line[0] : list[0].values[0], lastTotal = line ? line[line.length - 1] : list[0].values[list[0].values.length - 1];
    return `${line ? "RSS" : "Live heap"} over ${marks.length} snapshots, from ${bytes(firstTotal)} to ${bytes(lastTotal)}`;
  }

  function instantWords(list, line, i) {
    const index = list[0].at.indexOf(i), out = [[`snapshot ${i + 1}: ${marks[i].label}${marks[i].label === marks[i].name ? "" : ` (${marks[i].name})`}`]];
    if (index < 0) return out;
    if (line) out.push(["RSS: ", bytes(line[index])]);
    for (const area of list) if (Math.abs(area.values[index]) >= 1024) out.push([`${shorten(area.label, 60)}: `, bytes(area.values[index])]);
    return out.slice(0, 18);
  }

  // ------------------------------------------------------------------ ledger of the pair

  function drawLedger() {
    const host = $("ledger");
    if (!host || !data.ledger) return;
    const { at, rss } = data.ledger, list = chart.areas;
    const place = (i) => { let best = 0; at.forEach((snapshot, k) => { if (snapshot <= i) best = k; }); return best; };
    const [i, j] = [place(state.a), place(state.b)];
    const change = (rss[j] ?? 0) - (rss[i] ?? 0);
    // Rows that hold little and changed little are one, unless asked for; parts still add up to the whole.
    const least = Math.max(rss[i] ?? 0, rss[j] ?? 0, 1) / 100;
    const small = list.filter((area) => area.kind !== "unattributed" && Math.abs(area.values[i]) < least && Math.abs(area.values[j]) < least);
    const folds = small.length > 2 && !state.rows;
    const head = ["Where the memory is", `A: ${marks[at[i]].label}`, `B: ${marks[at[j]].label}`, "change", rss.length ? "share of change" : "", ""];
    const cells = (label, a, b, basis) => [label, bytes(a), bytes(b), signedBytes(b - a), rss.length && change ? percent(b - a, change) : "-", basis];
    const body = list.map((area, k) => {
      if (folds && small.includes(area)) return null;
      const [label, ...others] = cells(area.label, area.values[i], area.values[j], area.basis);
      const chip = element("span", { class: "chip" });
      chip.style.background = kindColor(area.kind, area.nth);
      const light = (on) => { lit = on ? k : -1; drawChart(); };
      return element("tr", { onpointerenter: () => light(true), onpointerleave: () => light(false) }, element("th", { scope: "row" }, chip, label), others.map((cell) => element("td", {}, cell)));
    });
    if (small.length > 2) {
      const sum = (at) => small.reduce((sum, area) => sum + area.values[at], 0);
      const toggle = element("button", { type: "button", class: "fold", "aria-expanded": !folds, onclick: () => set({ rows: folds ? "all" : "" }) }, folds ? `${small.length} small rows` : `Fold ${small.length} small rows`);
      const others = folds ? cells("", sum(i), sum(j), "").slice(1) : ["", "", "", "", ""];
      const row = element("tr", {}, element("th", { scope: "row" }, toggle), others.map((cell) => element("td", {}, cell)));
      const last = body.length - (list[list.length - 1].kind === "unattributed" ? 1 : 0);
      body.splice(last, 0, row);
    }
    if (rss.length) body.push(element("tr", { class: "total" }, cells("RSS", rss[i], rss[j], host.querySelector(".total td:last-child")?.textContent ?? "").map((cell, c) => element(c ? "td" : "th", c ? {} : { scope: "row" }, cell))));
    const held = document.activeElement?.classList.contains("fold");
    host.replaceChildren(element("div", { class: "scroll" }, element("table", { class: "ledger" }, element("thead", {}, element("tr", {}, head.map((cell) => element("th", { scope: "col" }, cell)))), element("tbody", {}, body.filter(Boolean)))));
    if (held) host.querySelector("button.fold")?.focus();
  }

  // ------------------------------------------------------------------ suspects

  function buildSuspects() {
    for (const section of document.querySelectorAll(".suspect")) {
      const index = Number(section.dataset.suspect), course = data.suspects[index];
      const actions = section.querySelector(".actions");
      actions.hidden = false;
      actions.querySelector(".copy").addEventListener("click", (event) => copy(section.querySelector(".ticket").textContent, event.target));
      const explore = actions.querySelector(".explore");
      if (!course || !course.owner || !stackCount) explore.remove();
      else explore.addEventListener("click", () => { set({ focus: exactly(course.owner), zoom: "", mode: dumps.length > 1 ? "growth" : "live" }); $("explore").scrollIntoView(); });
    }
  }

  function drawSuspects() {
    for (const section of document.querySelectorAll(".suspect")) {
      const course = data.suspects[Number(section.dataset.suspect)], figure = section.querySelector(".trend");
      if (!course || course.levels.length < 2) continue;
      const at = marks.map((_, i) => i).filter((i) => marks[i].dump !== null);
      figure.hidden = false;
      const width = Math.max(280, figure.clientWidth || 700), height = 120, left = 74, right = 12, top = 8, bottom = 20;
      const first = marks[0].x, length = Math.max(1, marks[marks.length - 1].x - first);
      const most = Math.max(1, ...course.high), x = (i) => left + ((marks[i].x - first) / length) * (width - left - right), y = (v) => top + (1 - v / most) * (height - top - bottom);
      const points = (values) => at.map((i) => `${x(i).toFixed(1)},${y(values[marks[i].dump] ?? 0).toFixed(1)}`);
      const level = (mark) => course.levels[marks[mark].shows] ?? 0;
      const change = level(state.b) - level(state.a);
      const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Live bytes of this suspect, from ${bytes(course.levels[0])} to ${bytes(course.levels[course.levels.length - 1])}` },
        );
      for (const value of [0, most / 2, most]) drawing.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), svg("text", { class: "tick", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, bytes(value)));
      drawing.append(svg("polygon", { class: "band", points: [...points(course.high), ...points(course.low).reverse()].join(" ") }), svg("polyline", { class: "level", points: points(course.levels).join(" ") }));
      drawing.append(...outside(x(state.a), x(state.b), left, width - right, top, height - bottom));
      for (const i of at) drawing.append(svg("circle", { class: "snap", cx: x(i), cy: y(course.levels[marks[i].dump] ?? 0), r: 2.6 }));
      figure.replaceChildren(drawing, element("figcaption", { class: "quiet" }, `Live bytes of its stacks with their 95 % interval. From ${marks[state.a].label} to ${marks[state.b].label}: ${signedBytes(change)}.`));
    }
  }

  // ------------------------------------------------------------------ all together

  const shown = {};

  /** Whether any of these parts of the state changed since it was asked last. */
  function changed(what, ...keys) {
    const now = JSON.stringify(keys.map((key) => state[key]));
    const is = shown[what] !== now;
    shown[what] = now;
    return is;
  }

  function refresh() {
    if (stackCount) {
      const newPair = changed("pair", "a", "b"), newKeep = changed("keep", "focus", "ignore", "crate"), newView = changed("view", "by", "frames", "hide", "turn");
      if (newPair) selectPair();
      if (newKeep) filterStacks();
      if (newView) buildView();
      if (changed("sum", "mode", "unit") || newPair || newKeep || newView) sumView();
      drawControls();
      drawFlame();
      drawSandwich();
      drawTable();
    }
    if (chart) { drawChart(); drawLedger(); }
    drawSuspects();
    writeState();
    document.documentElement.dataset.ready = String(Number(document.documentElement.dataset.ready || 0) + 1);
  }

  async function start() {
    prepare(await load());
    readState();
    if (marks.length > 1) buildChart();
    if (stackCount) {
      chooseHues();
      $("explore").hidden = false;
      buildControls();
      buildTable();
    }
    buildSuspects();
    refresh();
    addEventListener("resize", debounce(refresh, 100));
    addEventListener("hashchange", () => { readState(); refresh(); });
    dark.addEventListener("change", refresh);
    addEventListener("beforeprint", () => { if (table) drawRows(true); });
    addEventListener("afterprint", () => { if (table) drawRows(); });
  }

  start().catch((error) => {
    const trouble = $("trouble");
    trouble.hidden = false;
    trouble.textContent = `The charts of this page could not be drawn: ${error.message}. Its words and tables are complete.`;
    throw error;
  });
})();
