// The conversation of this tab, which the browser keeps until the tab is closed.
const KEY = "paretune-chat";

const empty = () => ({chat: null, columns: [], system: "", sampling: {}, history: true});

export function load() {
  try {
    return {...empty(), ...JSON.parse(sessionStorage.getItem(KEY) ?? "{}")};
  } catch {
    return empty();
  }
}

let timer = null;

/** Saves soon: an answer has many pieces. */
export function save(conversation) {
  timer ??= setTimeout(() => { timer = null; saveNow(conversation); }, 300);
}

export function saveNow(conversation) {
  try { sessionStorage.setItem(KEY, JSON.stringify(conversation)); } catch { /* full: the page goes on without */ }
}

const exported = ({role, content, thoughts, state, message}) => role === "user" ? {role, content} : {role, content, thoughts: thoughts || null, state, error: message ?? null};

/** Has the browser save the conversation as a file. */
export function download({columns, system, sampling}) {
  const value = {
    saved_at: new Date().toISOString(),
    system: system || null,
    sampling,
    models: columns.map(({label, messages}) => ({model: label, messages: messages.map(exported)})),
  };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], {type: "application/json"}));
  link.download = `chat-${value.saved_at.slice(0, 19).replaceAll(":", "")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** A name that no other answer has. `crypto.randomUUID` needs HTTPS. */
export const newId = () => [...crypto.getRandomValues(new Uint8Array(12))].map((each) => each.toString(16).padStart(2, "0")).join("");
