"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const UNITS = 4000;
  const SVG = document.querySelector("svg").namespaceURI;
  const charts = document.querySelector(".charts");

  const sums = (differences) => { let at = 0; return differences.map((d) => (at += d)); };
  const names = (rows) => { let last = ""; return rows.map((row) => (last = last.slice(0, parseInt(row.slice(0, 2), 36)) + row.slice(2))); };
  for (const table of ["ops", "tensors"]) data[table] = names(data[table]);
  const workspace = sums(data.workspace);
  const runs = data.runs.map((run) => {
    const start = sums(run.start);
    const kind = [...run.kind].map(Number);
    return {
      ...run, live: sums(run.live), start, kind,
      stop: start.map((s, i) => s + run.length[i]),
      repeated: new Set(run.again),
    };
  });
  const most = Math.max(1, ...runs.map((run) => run.live.length));
  if (!runs[1].live.length) return;

  const whole = (n) => n.toLocaleString("en-US");
  const size = (n) => {
    if (n < 10240) return `${whole(n)} B`;
    const power = Math.min(Math.floor(Math.log2(n) / 10 + 1e-12), 4);
    return `${(n / 1024 ** power).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })} ${"KMGT"[power - 1]}iB`;
  };

  // The tensors of a block: the one that is in it at a step, and all of them in order of birth.
  const chain = (run, i) => {
    const kept = run.tensors[i];
    if (kept === -1) return [[null, run.start[i]]];
    if (typeof kept === "number") return [[kept, run.start[i]]];
    const found = [[kept[0], run.start[i]]];
    for (let k = 1; k < kept.length; k += 2) found.push([kept[k], kept[k + 1]]);
    return found;
  };
  const nameOf = (run, i, step) => {
    let found = null;
    for (const [tensor, birth] of chain(run, i)) if (found === null || birth <= step) found = tensor;
    return found === null ? `workspace of ${data.ops[run.ops[run.start[i]]]}` : data.tensors[found];
  };
  const liveAt = (run, step) => {
    const found = [];
    for (let i = 0; i < run.start.length && run.start[i] <= step; i++) if (step < run.stop[i]) found.push(i);
    return found.sort((a, b) => run.bytes[b] - run.bytes[a] || a - b);
  };

  let which = 1;
  let step = runs[1].peak_step;
  let pinned = null; // the block that was chosen
  let view = [0, most];

  const slider = $("step");
  const shapes = ["live", "arena"].map((name) => $(`shapes-${name}`));
  const draw = (name, parent, attributes) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  };
  const cursors = shapes.map((svg) => draw("rect", svg, { class: "cursor", y: 0, width: 1, height: UNITS }));
  const mark = draw("rect", shapes[1], { class: "mark", visibility: "hidden" });
  const hover = draw("rect", shapes[1], { class: "mark", visibility: "hidden" });

  const outline = (rect, i) => {
    const run = runs[which];
    if (i === null || run.offset[i] < 0) return rect.setAttribute("visibility", "hidden");
    const top = Number($("plot-arena").dataset.top);
    const height = Math.max((UNITS * run.bytes[i]) / top, 0.5);
    rect.setAttribute("x", run.start[i]);
    rect.setAttribute("width", run.length[i]);
    rect.setAttribute("y", UNITS * (1 - run.offset[i] / top) - height);
    rect.setAttribute("height", height);
    return rect.setAttribute("visibility", "visible");
  };
  // A name inside a sentence, which does not reorder the words around it.
  const bdi = (name) => {
    const made = document.createElement("bdi");
    made.dir = "ltr";
    made.textContent = name;
    return made;
  };
  const told = (i) => {
    const run = runs[which];
    const kind = data.block_kinds[run.kind[i]];
    const tensors = chain(run, i).map(([tensor]) => tensor);
    const made = tensors[0] !== null;
    const found = [bdi(nameOf(run, i, run.start[i]))];
    if (made) found.push(` ${data.types[data.type_of[tensors[0]]]}`);
    tensors.slice(1, 4).forEach((tensor, k) => found.push(k ? ", " : ", then in its place ", bdi(data.tensors[tensor])));
    if (tensors.length > 4) found.push(" and more");
    const steps = run.length[i] === 1 ? `step ${whole(run.start[i])}` : `steps ${whole(run.start[i])} to ${whole(run.stop[i] - 1)}`;
    const place = run.offset[i] < 0 || !data.arena ? "" : `, at offset ${whole(run.offset[i])}`;
    found.push(`: ${whole(run.bytes[i])} bytes (${kind}), live in ${steps}${place}.`);
    if (made) found.push(" Made by ", kind === "input" ? "the caller" : bdi(data.ops[run.ops[run.start[i]]]), ".");
    return found;
  };
  const tell = (i) => $("chosen").replaceChildren(...(i === null ? [] : told(i)));

  const choose = (i) => {
    pinned = i;
    outline(mark, i);
    tell(i);
    for (const button of $("tensors").querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(Number(button.value) === i));
  };

  const show = () => {
    const run = runs[which];
    step = Math.max(0, Math.min(step, run.live.length - 1));
    slider.max = run.live.length - 1;
    slider.value = step;
    const live = run.live[step] ?? 0;
    const op = data.ops[run.ops[step]] ?? "";
    const again = run.repeated.has(step) ? ", runs again" : "";
    const peak = live === run.peak ? " (the peak)" : "";
    slider.setAttribute("aria-valuetext", `step ${step} of ${run.live.length}, ${op}${again}, ${size(live)} live${peak}`);
    for (const cursor of cursors) cursor.setAttribute("x", step);
    $("which").textContent = `${which ? "after" : "before"} · step ${whole(step)} of ${whole(run.live.length)}${step === run.peak_step ? " · the peak" : ""}`;
    $("op").textContent = op;
    $("kind").textContent = `${data.kinds[run.kinds[step]] ?? ""}${again}`;
    const share = document.createElement("small");
    share.textContent = ` live, ${Math.round((100 * live) / Math.max(run.peak, 1))} % of the peak`;
    $("live").replaceChildren(size(live), share);
    $("meter").style.width = `${(100 * live) / Math.max(run.peak, 1)}%`;
    const blocks = liveAt(run, step);
    const shown = blocks.slice(0, 14);
    const items = shown.map((i) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const swatch = document.createElement("span");
      const name = document.createElement("b");
      const bytes = document.createElement("span");
      button.type = "button";
      button.value = i;
      button.setAttribute("aria-pressed", String(i === pinned));
      swatch.className = `swatch kind-${data.block_kinds[run.kind[i]].replace(" ", "-")}`;
      name.title = nameOf(run, i, step);
      const letters = [...name.title];
      name.textContent = letters.length > 60 ? `${letters.slice(0, 16).join("")}…${letters.slice(-43).join("")}` : name.title;
      bytes.textContent = size(run.bytes[i]);
      button.append(swatch, name, bytes);
      item.append(button);
      return item;
    });
    const total = (found) => found.reduce((sum, i) => sum + run.bytes[i], 0);
    const rest = total(blocks.slice(14));
    const others = live - total(blocks); // of blocks that the page's data leaves out
    for (const text of [rest && `${whole(blocks.length - 14)} more, ${size(rest)}`, others && `others, ${size(others)}`]) {
      if (!text) continue;
      const item = document.createElement("li");
      item.className = "rest";
      item.textContent = text;
      items.push(item);
    }
    $("tensors").replaceChildren(...items);
    if (step < view[0] || step >= view[1]) look(step - (view[1] - view[0]) / 2, view[1] - view[0]);
  };

  const look = (from, span) => {
    const wide = Math.max(Math.min(span, most), Math.min(8, most));
    const left = Math.max(0, Math.min(Math.round(from), most - wide));
    view = [left, left + Math.round(wide)];
    for (const svg of shapes) svg.setAttribute("viewBox", `${view[0]} 0 ${view[1] - view[0]} ${UNITS}`);
    let distance = 1;
    for (let k = 0; (view[1] - view[0]) / distance > 8; k++) distance *= k % 3 === 1 ? 2.5 : 2;
    for (const name of ["live", "arena"]) {
      const marks = $(`marks-${name}`);
      marks.replaceChildren();
      for (let at = Math.ceil(view[0] / distance) * distance; at <= view[1]; at += distance) {
        const text = draw("text", marks, { x: `${(100 * (at - view[0])) / (view[1] - view[0])}%`, y: 13 });
        text.textContent = whole(at);
      }
    }
    for (const [id, off] of [["zoom-out", view[1] - view[0] >= most], ["zoom-all", view[1] - view[0] >= most]])
      $(id).setAttribute("aria-disabled", String(off));
  };
  const zoom = (factor) => {
    const span = (view[1] - view[0]) * factor;
    look(step + 0.5 - span / 2, span);
  };
  const select = (number) => {
    which = number;
    pinned = null;
    outline(mark, null);
    outline(hover, null);
    charts.classList.toggle("see-before", which === 0);
    tell(null);
    document.querySelector(`input[name=run][value="${which}"]`).checked = true;
    show();
  };
  const goTo = (number) => { step = number; show(); };

  // ---------------------------------------------------------------- pointer
  const at = (event, svg) => {
    const box = svg.getBoundingClientRect();
    return {
      step: Math.floor(view[0] + ((view[1] - view[0]) * (event.clientX - box.left)) / box.width),
      share: 1 - (event.clientY - box.top) / box.height,
    };
  };
  const blockAt = (event) => {
    const { step: where, share } = at(event, shapes[1]);
    const run = runs[which];
    const address = share * Number($("plot-arena").dataset.top);
    for (let i = 0; i < run.start.length && run.start[i] <= where; i++)
      if (where < run.stop[i] && run.offset[i] >= 0 && run.offset[i] <= address && address < run.offset[i] + run.bytes[i]) return i;
    return null;
  };
  let pressed = false;
  for (const svg of shapes) {
    const plot = svg.parentElement;
    plot.addEventListener("pointerdown", (event) => {
      pressed = true;
      goTo(at(event, svg).step);
      if (svg === shapes[1]) choose(blockAt(event));
    });
    plot.addEventListener("pointermove", (event) => {
      if (svg === shapes[1]) {
        const i = blockAt(event);
        outline(hover, i);
        if (!pressed) tell(i ?? pinned);
        svg.style.cursor = i === null ? "" : "pointer";
      }
      if (pressed || (svg === shapes[0] && event.pointerType === "mouse")) goTo(at(event, svg).step);
    });
    plot.addEventListener("pointerleave", () => {
      outline(hover, null);
      tell(pinned);
    });
  }
  addEventListener("pointerup", () => { pressed = false; });
  addEventListener("pointercancel", () => { pressed = false; });

  // ---------------------------------------------------------------- keyboard
  slider.addEventListener("input", () => goTo(Number(slider.value)));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const inside = charts.contains(event.target) || event.target === document.body;
    if (!inside) return;
    const far = Math.max(1, Math.round(runs[which].live.length / 20));
    const onSlider = event.target === slider;
    const radio = event.target.type === "radio";
    const actions = {
      p: () => goTo(runs[which].peak_step), b: () => select(1 - which),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => look(0, most),
    };
    // Without the focus on something that uses them, arrows work everywhere in the charts.
    if (onSlider || (!radio && event.target.tagName !== "SUMMARY")) {
      Object.assign(actions, { ArrowLeft: () => goTo(step - 1), ArrowRight: () => goTo(step + 1) });
    }
    if (onSlider) {
      Object.assign(actions, {
        PageUp: () => goTo(step + far), PageDown: () => goTo(step - far),
        Home: () => goTo(0), End: () => goTo(runs[which].live.length - 1),
      });
    }
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    const held = document.activeElement?.closest("#tensors") ? [...$("tensors").children].indexOf(document.activeElement.parentElement) : -1;
    action();
    if (held >= 0) $("tensors").children[Math.min(held, $("tensors").children.length - 1)]?.querySelector("button")?.focus();
    event.preventDefault();
  });
  $("tensors").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(Number(button.value) === pinned ? null : Number(button.value));
  });
  for (const radio of document.querySelectorAll("input[name=run]"))
    radio.addEventListener("change", () => select(Number(radio.value)));
  $("zoom-in").addEventListener("click", () => zoom(0.5));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("zoom-all").addEventListener("click", () => look(0, most));

  // ---------------------------------------------------------------- the table of all steps
  $("all").addEventListener("toggle", () => {
    if (!$("all").open || $("all").querySelector("table")) return;
    const run = runs[1];
    const table = document.createElement("table");
    table.createCaption().textContent = "The planned execution";
    const head = table.createTHead().insertRow();
    for (const title of ["step", "op", "kind", "live bytes", "workspace"]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = title;
      head.append(cell);
    }
    const body = table.createTBody();
    run.live.forEach((live, i) => {
      const row = body.insertRow();
      const kind = data.kinds[run.kinds[i]] + (run.repeated.has(i) ? " (again)" : "");
      for (const text of [whole(i), data.ops[run.ops[i]], kind, whole(live), whole(workspace[i])])
        row.insertCell().textContent = text;
    });
    const box = document.createElement("div");
    box.className = "scroll";
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "Every step");
    box.append(table);
    $("all").append(box);
  });

  for (const each of document.querySelectorAll(".charts [hidden]")) each.hidden = false;
  charts.classList.add("alive");
  select(1);
})();
