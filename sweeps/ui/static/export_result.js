// What an export wrote: its folder and size, whether it was verified, and commands that use it.
import {copy, el} from "./dom.js";
import {gib} from "./units.js";
import {t} from "./words.js";

export function exportResult(result) {
  return el("div", {}, el("h2", {}, t("export.result")), el("p", {}, el("code", {}, result.folder ?? "")));
}
