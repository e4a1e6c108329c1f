// The page of evaluations.
import {byId} from "./dom.js";
import {readOptions, runForm} from "./command_form.js";
import {ModelPicker} from "./model_picker.js";
import {t} from "./words.js";

const model = new ModelPicker(byId("model"), {label: t("evaluate.model")});
const other = new ModelPicker(byId("other"), {label: t("evaluate.other"), optional: true});
const asked = new URL(location.href).searchParams;

model.fill(asked.get("model") ?? "");
other.fill(asked.get("other") ?? "");
runForm("/evaluate", () => ({model: model.value, other: other.value || null, options: readOptions(byId("form"))}));
