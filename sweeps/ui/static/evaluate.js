// The page of evaluations.
import {byId} from "./dom.js";
import {readOptions, runForm} from "./command_form.js";
import {ModelPicker} from "./model_picker.js";
import {t} from "./words.js";

const model = new ModelPicker(byId("model"), {label: t("evaluate.model")});
const other = new ModelPicker(byId("other"), {label: t("evaluate.other"), optional: true});
const asked = new URL(location.href).searchParams;

byId("start").disabled = true; // until the menus show what is chosen
Promise.allSettled([model.fill(asked.get("model") ?? ""), other.fill(asked.get("other") ?? "")]).then(() => { byId("start").disabled = false; });
runForm("/evaluate", () => ({model: model.value, other: other.value || null, options: readOptions(byId("form"))}));
