// Asks the agent for page.json every two seconds, and shows it. Texts of the cluster only ever become text nodes.
"use strict";

const EVERY_MS = 2000;
const POINTS = 60;
const SHOWN = 200;

/** What is known of a Service's port from earlier answers: {at, connections, rates}. */
const before = new Map();
let latest = null;
let isPaused = false;

const byId = (id) => document.getElementById(id);
const plain = (number) => number.toLocaleString("en");
const counted = (number, noun) => `${plain(number)} ${noun}${number === 1 ? "" : "s"}`;

function element(name, text, classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

function row(cells) {
  const made = element("tr");
  for (const cell of cells) {
    made.append(cell instanceof Node ? cell : element("td", cell));
  }
  return made;
}

function number(value, classes = "") {
  const text = typeof value === "number" ? plain(value) : value;
  return element("td", text, `number ${value ? classes : ""}`);
}

function sparkline(rates) {
  const [width, height] = [120, 22];
  const most = Math.max(1, ...rates);
  const points = rates.map((rate, index) => {
    const x = width - (rates.length - 1 - index) * (width / (POINTS - 1));
    return `${x.toFixed(1)},${(height - 1 - (rate / most) * (height - 2)).toFixed(1)}`;
  });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `up to ${most.toFixed(1)} new connections a second`);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.join(" "));
  svg.append(line);
  const cell = element("td");
  cell.append(svg);
  return cell;
}

/** Adds the rate since the last answer to a Service's history, and returns the history. */
function learn(service, at) {
  const key = [service.namespace, service.name, service.port, service.protocol].join("/");
  const known = before.get(key);
  const rates = known ? known.rates : [];
  if (known && at > known.at) {
    const more = Math.max(0, service.connections - known.connections);
    rates.push((more * 1000) / (at - known.at));
    if (rates.length > POINTS) rates.shift();
  }
  before.set(key, { at, connections: service.connections, rates });
  return rates;
}

function card(label, value, classes = "") {
  const made = element("div", undefined, "card");
  made.append(element("b", typeof value === "number" ? plain(value) : value, classes), element("span", label));
  return made;
}

function showSummary(status) {
  byId("node").textContent = `${status.nodeName} · ${status.version}`;
  document.title = `socklb ${status.nodeName}`;
  const troubled = status.source.watches.filter((watch) => watch.trouble);
  const state = byId("state");
  if (!status.ready) {
    state.textContent = "not ready: the source is not in effect yet";
    state.className = "bad";
  } else if (troubled.length > 0) {
    state.textContent = troubled.map((watch) => `${watch.kind}: ${watch.trouble}`).join("; ");
    state.className = "warn";
  } else {
    state.textContent = `ready · ${status.source.kind} · ${status.source.from}`;
    state.className = "good";
  }
  const repairs = Object.values(status.drift.repairs).reduce((sum, some) => sum + some, 0);
  const refused = status.refusedNoBackend + status.refusedUnknownPort + status.refusedUnknownAddress;
  byId("cards").replaceChildren(
    card("Services", status.services),
    card("frontends", status.frontends),
    card("backends", status.backends),
    card("refused calls", refused, refused ? "warn" : ""),
    card("repairs", repairs, repairs ? "warn" : ""),
    card("packets", status.packetPath ? counted(status.packetPath.devices.length, "device") : "off"),
  );
  const problems = [...status.problems, ...status.drift.trouble, ...(status.packetPath ? status.packetPath.trouble : [])];
  byId("problems-section").hidden = problems.length === 0;
  byId("problem-count").textContent = problems.length;
  byId("problems").replaceChildren(...problems.map((problem) => element("li", problem)));
}

function showServices(page) {
  const wanted = byId("filter").value.trim().toLowerCase();
  const services = page.services.filter((service) => `${service.namespace}/${service.name}`.includes(wanted));
  byId("service-count").textContent =
    page.services.length < page.serviceCount ? `${page.services.length} of ${page.serviceCount}` : page.serviceCount;
  const rows = services.slice(0, SHOWN).map((service) => {
    const rates = service.rates;
    const rate = rates.length > 0 ? rates[rates.length - 1] : 0;
    return row([
      service.namespace,
      service.name,
      service.port || service.protocol,
      number(service.backends, ""),
      number(service.active),
      number(rate.toFixed(1)),
      sparkline(rates),
      number(service.refused, "warn"),
      number(service.failed, "bad"),
      number(service.rttMicros === null ? "" : `${(service.rttMicros / 1000).toFixed(2)} ms`),
    ]);
  });
  byId("services").tBodies[0].replaceChildren(...rows);
}

function showTables(status) {
  const rows = status.tables.map((table) => {
    const meter = element("meter");
    meter.max = table.capacity;
    meter.high = table.capacity * 0.9;
    meter.value = table.used;
    const cell = element("td");
    cell.append(meter);
    return row([table.table, cell, number(`${plain(table.used)} of ${plain(table.capacity)}`)]);
  });
  byId("tables").tBodies[0].replaceChildren(...rows);
  byId("hooks").tBodies[0].replaceChildren(...status.hooks.map((hook) => row([hook.hook, `program ${hook.programId}`])));
}

function showEvents(events) {
  const classes = { info: "", warn: "warn", error: "bad" };
  const rows = events.map((event) => {
    const fields = Object.entries(event.fields).map(([name, value]) => `${name}=${value}`);
    return row([
      new Date(event.time).toLocaleTimeString("en-GB"),
      element("td", event.event, classes[event.level]),
      `${event.message} ${fields.join(" ")}`,
    ]);
  });
  byId("events").tBodies[0].replaceChildren(...rows.reverse());
}

function show(page) {
  showSummary(page.status);
  showServices(page);
  showTables(page.status);
  showEvents(page.events);
}

async function refresh() {
  try {
    const answer = await fetch("page.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`the agent answers ${answer.status}`);
    const page = await answer.json();
    const at = performance.now();
    for (const service of page.services) service.rates = learn(service, at);
    latest = page;
    if (!isPaused) show(page);
  } catch (error) {
    const state = byId("state");
    state.textContent = `no answer from the agent: ${error.message}`;
    state.className = "bad";
  }
  setTimeout(refresh, EVERY_MS);
}

byId("filter").addEventListener("input", () => latest && showServices(latest));
byId("pause").addEventListener("click", (event) => {
  isPaused = !isPaused;
  event.target.setAttribute("aria-pressed", String(isPaused));
  event.target.textContent = isPaused ? "Go on" : "Pause";
  if (!isPaused && latest) show(latest);
});
refresh();
