// Where a draft begins.
import {get, href, post, remove, upload} from "./api.js";
import {byId, el, setMessage} from "./dom.js";
import {t} from "./words.js";

function say(text) {
  byId("said").hidden = !text;
  setMessage(byId("said"), text ?? "");
}

async function make(button, create) {
  const before = button.textContent;
  button.disabled = true;
  say(null);
  try {
    const {path} = await create();
    location.href = href(path);
  } catch (error) {
    say(error.message);
    button.textContent = before;
    button.disabled = false;
  }
}

/** The data that there is comes after the page: a folder of many files takes a while to walk. */
async function offerData() {
  const {files, registered, embedded} = await get("/new/data").catch(() => ({files: [], registered: [], embedded: []}));
  byId("data-list").replaceChildren(...[...files, ...registered, ...embedded].map((name) => el("option", {value: name})));
}

offerData();
for (const button of document.querySelectorAll("[data-spec]")) {
  button.addEventListener("click", () => make(button, () => post("/new", {from: "spec", name: button.dataset.spec})));
}
byId("empty").addEventListener("click", (event) => make(event.currentTarget, () => post("/new", {from: "empty"})));
byId("from-run")?.addEventListener("submit", (event) => {
  event.preventDefault();
  make(event.submitter, () => post("/new", {from: "run", name: byId("run").value}));
});
byId("from-data").addEventListener("submit", (event) => {
  event.preventDefault();
  const minutes = byId("minutes").valueAsNumber;
  const body = {from: "data", name: byId("data").value.trim(), model: byId("model").value.trim(), stage: byId("stage").value,
    minutes: Number.isFinite(minutes) ? minutes : null};
  const button = event.submitter;
  make(button, () => { button.textContent = t("new.init_running"); return post("/new", body); });
});
byId("file").addEventListener("change", (event) => {
  const file = event.currentTarget.files[0];
  if (file) make(event.currentTarget, () => upload(`/new/upload?name=${encodeURIComponent(file.name)}`, file));
});
for (const button of document.querySelectorAll("[data-remove]")) {
  button.addEventListener("click", async () => {
    if (!confirm(t("new.discard_sure"))) return;
    await remove(`/new/${button.dataset.remove}`);
    button.closest("tr").remove();
  });
}
