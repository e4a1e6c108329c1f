// What every page has: the language, a link for another browser.
import {href, post} from "./api.js";
import {byId, el, toast} from "./dom.js";
import {t} from "./words.js";

byId("language").addEventListener("change", async (event) => {
  await post("/sign-in/language", {language: event.target.value});
  location.reload();
});

byId("new-link")?.addEventListener("click", async () => {
  try {
    const {path} = await post("/links");
    const address = location.origin + path;
    const dialog = el("dialog", {"aria-label": t("common.other_browser")},
      el("p", {}, t("common.link_once")),
      el("pre", {class: "command", tabindex: "0"}, address),
      el("form", {method: "dialog"}, el("button", {class: "button primary"}, t("common.close"))));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  } catch (error) {
    if (error.status === 401) location.href = href("/sign-in");
    else toast(error.message, "error");
  }
});
