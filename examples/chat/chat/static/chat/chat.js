"use strict";

// One socket, at the address of this page. The server says what happened as {"event": ..., ...}; every text in it
// comes from somebody, so it enters the page by textContent only.

const REFUSED = 4400; // the server will not have us at this address: trying again would not help
const LONGEST_WAIT = 10_000;
const LONGEST_LOG = 500;

const $ = (id) => document.getElementById(id);
const log = $("log");
const people = new Map(); // id -> name; ids tell two people of one name apart
let me = null;
let socket = null;
let failures = 0;
let retry = null;
let following = true; // the log shows its end

const handlers = {
  welcome({ id, name, process }) {
    me = id;
    showState("open", `Connected to process ${process}`);
    people.clear();
    people.set(id, name);
    showPeople();
  },
  joined({ id, name }) {
    people.set(id, name);
    showPeople();
    if (id === me) addLine("You joined as ", isolated(name));
    else addLine(isolated(name), " joined");
  },
  present({ id, name }) {
    people.set(id, name);
    showPeople();
  },
  left({ id, name }) {
    people.delete(id);
    showPeople();
    addLine(isolated(name), " left");
  },
  message({ id, name, text }) {
    const author = element("div", "author");
    author.append(isolated(name));
    const entry = addEntry(id, author, element("div", "text", text));
    entry.classList.toggle("followup", entry.previousElementSibling?.dataset.author === id);
    entry.dataset.author = id;
    entry.style.setProperty("--hue", hue(name));
  },
  roll({ id, name, dice, rolls, total }) {
    const row = element("div", "dice");
    const who = element("span", "quiet small");
    who.append(id === me ? "You" : isolated(name), ` rolled ${dice}:`);
    row.append(who);
    for (const roll of rolls) row.append(element("span", "die", roll), " ");
    if (rolls.length > 1) row.append(element("span", "total", `= ${total}`));
    addEntry(id, row);
  },
  announcement({ text }) {
    const notice = element("div", "announcement");
    notice.append(element("strong", "", "Announcement"), text);
    add(notice);
  },
  error({ text }) {
    showError(text);
  },
};

function connect() {
  clearTimeout(retry);
  retry = null;
  if (socket !== null && socket.readyState <= WebSocket.OPEN) return;
  showState("connecting", "Connecting");
  const { protocol, host, pathname, search } = location;
  socket = new WebSocket(`${protocol === "https:" ? "wss:" : "ws:"}//${host}${pathname}${search}`);
  socket.onopen = () => {
    failures = 0;
    showState("open", "Connected");
  };
  socket.onmessage = ({ data }) => {
    const { event, ...details } = JSON.parse(data);
    handlers[event]?.(details);
  };
  socket.onclose = ({ code }) => {
    people.clear();
    showPeople();
    if (code === REFUSED) {
      showState("refused", "Refused");
      return;
    }
    // Half of the wait is chance, so that a restarted server does not meet everybody at once.
    const wait = Math.min(LONGEST_WAIT, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
    failures += 1;
    showState("waiting", "Reconnecting…");
    retry = setTimeout(connect, wait);
  };
}

// The network is back, or somebody looks at the page again: no reason to wait.
for (const [target, name] of [[window, "online"], [document, "visibilitychange"]]) {
  target.addEventListener(name, () => {
    if (retry !== null && !document.hidden) connect();
  });
}

// A page that the browser keeps for its back button must not stay in the room.
window.addEventListener("pagehide", () => socket.close());
window.addEventListener("pageshow", ({ persisted }) => {
  if (persisted) connect();
});

$("compose").addEventListener("submit", (submission) => {
  submission.preventDefault();
  const input = $("text");
  const text = input.value.trim();
  if (!text || socket.readyState !== WebSocket.OPEN) return; // what was typed stays
  socket.send(JSON.stringify({ text }));
  input.value = "";
  input.focus();
  showError("");
});

// The newest message stays in sight, also when a keyboard takes half of the screen, unless somebody scrolled up to read.
log.addEventListener("scroll", () => {
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
});
new ResizeObserver(follow).observe(log);

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function add(entry) {
  log.append(entry);
  while (log.childElementCount > LONGEST_LOG) log.firstElementChild.remove();
  follow();
}

function follow() {
  if (following) log.scrollTop = log.scrollHeight;
}

function addLine(...content) {
  const line = element("div", "event");
  line.append(...content);
  add(line);
}

function addEntry(id, ...content) {
  const entry = element("div", "entry");
  entry.classList.toggle("mine", id === me);
  entry.append(...content);
  add(entry);
  return entry;
}

function showPeople() {
  const names = [...people.values()].sort((a, b) => a.localeCompare(b));
  $("count").textContent = names.length ? `(${names.length})` : "";
  $("people").replaceChildren(...names.map((name) => {
    const item = element("li", "");
    const avatar = element("span", "avatar", [...name][0].toUpperCase());
    avatar.setAttribute("aria-hidden", "true");
    avatar.style.setProperty("--hue", hue(name));
    const label = element("span", "name");
    label.append(isolated(name));
    item.append(avatar, label);
    return item;
  }));
}

function showState(state, text) {
  $("state").dataset.state = state;
  $("state").textContent = text;
  $("send").disabled = state !== "open";
}

function showError(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

// A name may be written from right to left; its neighbours are not.
function isolated(name) {
  return element("bdi", "", name);
}

function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 360;
  return sum;
}

connect();
