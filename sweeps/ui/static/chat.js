// The chat of this tab: its columns, what is asked of them, and what the server pushes.
import {get, post} from "./api.js";
import {Column} from "./chat_column.js";
import {download, load, newId, save, saveNow} from "./chat_store.js";
import {byId, setMessage, setText} from "./dom.js";
import {follow} from "./live.js";
import {size} from "./units.js";
import {t, worded} from "./words.js";

const MAX_COLUMNS = 4;
const conversation = load();
const columns = [];
let models = new Map();
let leave = null;
const asking = new Set(); // ids of answers whose request is under way: the server may not know them yet

const isOpen = (message) => message?.state === "waiting" || message?.state === "running";
const openAnswers = () => columns.map((column) => column.last).filter(isOpen);

function addColumn(data = {choice: "", label: "", messages: []}) {
  if (!conversation.columns.includes(data)) conversation.columns.push(data);
  const column = new Column(data, {load: loadModel, unload: unloadModel, remove: removeColumn});
  columns.push(column);
  byId("columns").append(column.element);
  showButtons();
}

async function removeColumn(column) {
  await unloadModel(column);
  columns.splice(columns.indexOf(column), 1);
  conversation.columns.splice(conversation.columns.indexOf(column.data), 1);
  column.element.remove();
  if (!columns.length) addColumn();
  saveNow(conversation);
  showButtons();
}

/** The chat of this tab; a new one if it has none, or if the server has ended it. */
async function ensureChat() {
  if (conversation.chat && !(await get(`/chats/${conversation.chat}`).catch((error) => { if (error.status === 404) forget(); else throw error; }))) conversation.chat = null;
  if (!conversation.chat) {
    conversation.chat = (await post("/chats")).chat;
    saveNow(conversation);
  }
  if (!leave) followChat();
  return conversation.chat;
}

async function loadModel(column) {
  const taken = columns.some((each) => each !== column && each.data.choice === column.data.choice && each.model);
  if (taken) return showError(t("chat.twice"));
  await attempt(async () => {
    column.showModel({state: "loading"});
    try {
      const chat = await ensureChat();
      await post(`/chats/${chat}/models`, {model: column.data.choice});
    } catch (error) {
      column.showModel(null);
      throw error;
    }
    saveNow(conversation);
  });
}

async function unloadModel(column) {
  if (!column.model || !conversation.chat) return;
  await attempt(() => post(`/chats/${conversation.chat}/unload`, {model: column.data.choice}).catch((error) => { if (error.status !== 404) throw error; }));
}

async function ask(wanted) {
  const answers = wanted.map((column) => {
    const answer = {role: "assistant", content: "", id: newId(), state: "waiting"};
    const before = conversation.history ? column.data.messages : column.data.messages.slice(-1);
    const messages = [
      ...(conversation.system.trim() ? [{role: "system", content: conversation.system}] : []),
      // An answer that failed before its first word is no part of a conversation.
      ...before.filter((each) => each.role === "user" || each.content).map(({role, content}) => ({role, content})),
    ];
    column.data.messages.push(answer);
    column.show();
    return {id: answer.id, model: column.data.choice, messages};
  });
  showButtons();
  for (const {id} of answers) asking.add(id);
  try {
    const {refused} = await post(`/chats/${conversation.chat}/answers`, {answers, sampling: conversation.sampling});
    for (const id of refused) update({id, state: "failed", message: t("chat.not_ready")});
  } catch (error) {
    for (const {id} of answers) update({id, state: "failed", message: error.message});
    showError(error.message);
  }
  for (const {id} of answers) asking.delete(id);
  saveNow(conversation);
}

function send(event) {
  event?.preventDefault();
  const text = byId("prompt").value.trim();
  const ready = columns.filter((column) => column.ready);
  if (!text) return byId("prompt").focus();
  if (!ready.length) return showError(t("chat.load_first"));
  if (openAnswers().length) return undefined;
  showError("");
  if (!readSettings()) return undefined;
  for (const column of ready) { column.data.messages.push({role: "user", content: text}); column.show(); }
  byId("prompt").value = "";
  return ask(ready);
}

function regenerate() {
  const wanted = columns.filter((column) => column.ready && column.last?.role === "assistant");
  if (!wanted.length || openAnswers().length || !readSettings()) return undefined;
  for (const column of wanted) { column.data.messages.pop(); column.show(); }
  return ask(wanted);
}

/** Takes what the server says of an answer; `text` is all of it, `piece` the next part. */
function update({id, piece, thinking, text, ...rest}) {
  for (const column of columns) {
    const message = column.data.messages.find((each) => each.id === id);
    if (!message) continue;
    if (text !== undefined) message.content = text;
    if (piece !== undefined) {
      if (thinking) message.thoughts = (message.thoughts ?? "") + piece;
      else message.content += piece;
      message.state = "running";
    }
    Object.assign(message, rest);
    column.showMessage(message);
  }
  save(conversation);
  showButtons();
}

const takeAnswer = ({id, text, thoughts, state, facts, ...said}) => update({id, text, thoughts, state, message: worded(said), facts});

function takeModels(list) {
  models = new Map(list.map((each) => [each.id, each]));
  for (const column of columns) column.showModel(models.get(column.data.choice));
  showButtons();
}

const takeMemory = ({process_bytes: held, available_bytes: free}) => setText(byId("memory"),
  held === null ? t("chat.memory_free", {free: size(free)}) : t("chat.memory", {held: size(held), free: size(free)}));

function followChat() {
  leave = follow(`/chats/${conversation.chat}/events`, {
    state(all) {
      takeModels(all.models);
      all.answers.forEach(takeAnswer);
      const known = new Set(all.answers.map((each) => each.id));
      for (const message of openAnswers()) if (!known.has(message.id) && !asking.has(message.id)) update({id: message.id, state: "failed", message: t("chat.lost")});
      takeMemory(all.memory);
    },
    models: (part) => takeModels(part.models),
    token: ({id, text, thinking}) => update({id, piece: text, thinking}),
    answer: takeAnswer,
    memory: takeMemory,
    ended: forget,
    connection(open) { if (!open) setTimeout(check, 1500); },
  });
}

/** After a lost connection: the browser connects again by itself, but not to a chat that is gone. */
async function check() {
  if (!conversation.chat) return;
  try { await get(`/chats/${conversation.chat}`); } catch (error) { if (error.status === 404) forget(); }
}

function forget() {
  leave?.();
  leave = null;
  conversation.chat = null;
  takeModels([]);
  for (const message of openAnswers()) update({id: message.id, state: "failed", message: t("chat.lost")});
  setText(byId("memory"), "");
  saveNow(conversation);
}

function readSettings() {
  conversation.system = byId("system").value;
  conversation.history = byId("history").checked;
  conversation.sampling = {};
  for (const input of document.querySelectorAll("[data-sampling]")) {
    if (!input.checkValidity()) { byId("ask").querySelector("details").open = true; input.reportValidity(); return false; }
    if (input.value !== "") conversation.sampling[input.id] = Number(input.value);
  }
  const stops = byId("stop_texts").value.split(",").map((each) => each.trim()).filter(Boolean);
  if (stops.length) conversation.sampling.stop = stops;
  save(conversation);
  return true;
}

function fillSettings() {
  byId("system").value = conversation.system;
  byId("history").checked = conversation.history;
  for (const input of document.querySelectorAll("[data-sampling]")) if (input.id in conversation.sampling) input.value = conversation.sampling[input.id];
  byId("stop_texts").value = (conversation.sampling.stop ?? []).join(", ");
}

async function attempt(action) {
  showError("");
  try { await action(); } catch (error) { showError(error.message); }
}

function showError(message) {
  byId("error").hidden = !message;
  setMessage(byId("error"), message);
}

function showButtons() {
  const open = openAnswers().length > 0;
  byId("send").disabled = open;
  byId("stop").disabled = !open;
  byId("regenerate").disabled = open || !columns.some((column) => column.ready && column.last?.role === "assistant");
  byId("add-model").disabled = columns.length >= MAX_COLUMNS;
}

function clearConversation() {
  for (const column of columns) { column.data.messages.length = 0; column.show(); column.showHead(); }
  saveNow(conversation);
  showButtons();
}

function start() {
  const asked = new URL(location.href).searchParams.getAll("model").slice(0, MAX_COLUMNS);
  const known = new Set(conversation.columns.map((each) => each.choice));
  const saved = conversation.columns.filter((each) => each.choice || each.messages.length);
  const added = asked.filter((choice) => !known.has(choice)).map((choice) => ({choice, label: "", messages: []}));
  conversation.columns = [...saved, ...added].slice(-MAX_COLUMNS);
  if (!conversation.columns.length) addColumn();
  else [...conversation.columns].forEach(addColumn);
  fillSettings();
  if (conversation.chat) check().then(() => conversation.chat && followChat());
  else for (const message of openAnswers()) update({id: message.id, state: "failed", message: t("chat.lost")});
  showButtons();
}

byId("ask").addEventListener("submit", send);
byId("prompt").addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event); });
byId("stop").addEventListener("click", () => attempt(() => post(`/chats/${conversation.chat}/stop`, {ids: openAnswers().map((each) => each.id)})));
byId("regenerate").addEventListener("click", regenerate);
byId("clear").addEventListener("click", clearConversation);
byId("download").addEventListener("click", () => { readSettings(); download(conversation); });
byId("add-model").addEventListener("click", () => addColumn());
byId("ask").addEventListener("change", () => readSettings());
window.addEventListener("pagehide", () => saveNow(conversation));
start();
