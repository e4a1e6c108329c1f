// The page of exports.
import {byId} from "./dom.js";
import {readOptions, runForm} from "./command_form.js";
import {ModelPicker} from "./model_picker.js";
import {t} from "./words.js";

const model = new ModelPicker(byId("model"), {label: t("evaluate.model"), changed: proposeFolder});
let typed = false;

/** A folder named for the model, until somebody types another one. */
function proposeFolder() {
  if (typed || !model.value) return;
  byId("out").value = `exports/${model.label.replace(/[^A-Za-z0-9._-]+/g, "-")}`;
}

byId("out").addEventListener("input", () => (typed = true));
byId("start").disabled = true; // until the menus show what is chosen
model.fill(new URL(location.href).searchParams.get("model") ?? "").finally(() => { byId("start").disabled = false; });
runForm("/export", () => ({model: model.value, out: byId("out").value, options: readOptions(byId("form"))}));
