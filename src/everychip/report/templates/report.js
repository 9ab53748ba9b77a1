// What the page does beyond Vega: draw its charts, choose methods, move the target. Texts stay texts.
const main = document.querySelector("main");
const style = JSON.parse(main.dataset.style);
style.font = getComputedStyle(document.body).fontFamily;
style.legend = { disable: true };
// Hundreds of ticks would be read out one by one; the tables say the same in order.
style.tick = { aria: false };

const views = [];
const hidden = new Set();

/** Every layer that knows methods shows the chosen ones only. */
function choosable(spec, methods) {
  spec.params = [...(spec.params ?? []), { name: "shown", value: methods }];
  for (const layer of spec.layer) {
    if (JSON.stringify(layer.encoding ?? {}).includes('"method"')) {
      layer.transform = [{ filter: "indexof(shown, datum.method) >= 0" }, ...(layer.transform ?? [])];
    }
  }
}

async function draw(panel) {
  const place = panel.querySelector(".vega");
  const spec = JSON.parse(panel.querySelector("script").textContent);
  spec.width = "container";
  spec.autosize = { type: "fit-x", contains: "padding" };
  spec.description = place.getAttribute("aria-label");
  const methods = JSON.parse(panel.closest("figure").dataset.methods);
  if (methods.length) choosable(spec, methods);
  place.removeAttribute("role");
  const { view } = await vegaEmbed(place, spec, {
    config: style, renderer: "svg", logLevel: 1,
    actions: { export: true, source: false, compiled: false, editor: false },
  });
  views.push({ view, methods, aims: spec.layer.some((layer) => layer.data?.name === "target") });
  const menu = place.querySelector("summary");
  if (menu) menu.setAttribute("aria-label", "Save this chart");
}

function show() {
  for (const button of document.querySelectorAll("button[data-method]")) {
    button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.method)));
  }
  for (const row of document.querySelectorAll(".yields tr[data-method]")) {
    row.hidden = hidden.has(row.dataset.method);
  }
  for (const { view, methods } of views) {
    if (methods.length) view.signal("shown", methods.filter((name) => !hidden.has(name))).runAsync();
  }
}

/** A click hides or shows a method; a double click, or Shift, shows that one alone. */
function choose(event) {
  const { method } = event.currentTarget.dataset;
  const every = event.currentTarget.closest(".legend").querySelectorAll("button");
  if (event.shiftKey || event.detail === 2) {
    for (const { dataset } of every) hidden.add(dataset.method);
    hidden.delete(method);
  } else if (!hidden.delete(method)) {
    hidden.add(method);
  }
  if ([...every].every(({ dataset }) => hidden.has(dataset.method))) hidden.clear();
  show();
}

/** The slider chooses one of the targets whose yields were counted when the page was written. */
function slide(box) {
  const slider = box.querySelector("input");
  const { targets, labels, shares } = JSON.parse(box.dataset.yields);
  const rows = [...box.querySelectorAll("tbody tr")];
  function move() {
    const place = Number(slider.value);
    slider.setAttribute("aria-valuetext", labels[place]);
    box.querySelector("output").textContent = labels[place];
    box.querySelector("th.share").textContent = `yield, ${labels[place]}`;
    rows.forEach((row, index) => { row.querySelector("td.share").textContent = shares[index][place]; });
    for (const { view, aims } of views) {
      if (aims) view.data("target", [{ target: targets[place] }]).runAsync();
    }
  }
  slider.addEventListener("input", move);
  box.querySelector(".slider").hidden = false;
}

/** A table that is wider than the page says so, and can be scrolled by keys. */
function scrolls() {
  for (const box of document.querySelectorAll(".scroll")) {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("wide", wide);
    if (wide) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

for (const button of document.querySelectorAll("button[data-method]")) {
  button.disabled = false;
  button.addEventListener("click", choose);
}
for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;
document.querySelectorAll(".yields").forEach(slide);
document.querySelectorAll("details").forEach((one) => one.addEventListener("toggle", scrolls));
addEventListener("resize", scrolls);
scrolls();
Promise.all([...document.querySelectorAll(".panel")].map(draw)).then(() => { main.dataset.ready = "yes"; });
