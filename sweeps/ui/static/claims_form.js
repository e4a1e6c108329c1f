// The claims of a spec in its form: each is a text in YAML, and new ones begin with the first cells of the spec.
import {el} from "./dom.js";
import {named, PLAIN} from "./field_control.js";
import {t, wordsOr} from "./words.js";

/** The part of the form with the claims; `form` is the SpecForm that it belongs to. */
export function claimsPart(form) {
  const {claims = {}} = form.fields;
  const written = form.tree.claims;
  const details = form.details("claims", t("new.part_claims"), written !== undefined);
  details.append(el("p", {class: "facts"}, t("new.claims_help")));
  const list = Array.isArray(written) ? written : [];
  list.forEach((claim, index) => {
    const frame = form.control({...PLAIN, name: claim?.kind ?? "?", kind: "yaml", help: claims[claim?.kind]?.help ?? ""}, `claims[${index}]`);
    frame.classList.add("wide-field");
    details.append(frame);
  });
  const add = el("select", {class: "add-setting", "aria-label": t("new.add_claims"), onchange: () => {
    form.change({op: "add", path: "claims", value: newClaim(claims[add.value], form.tree)});
    add.value = "";
  }}, el("option", {value: ""}, t("new.add_claims")), ...Object.entries(claims).map(([kind, {help}]) => el("option", {value: kind, title: help}, named(kind, wordsOr(`fields.kind_${kind}`, "")))));
  details.append(add);
  return details;
}

function newClaim({cells, value}, tree) {
  const names = (Array.isArray(tree.methods) ? tree.methods : []).map((method) => method?.name ?? method?.kind ?? "").slice(0, 2);
  const about = Object.fromEntries(cells.map((key) => [key, key === "of" ? names : names[key === "a" ? 0 : 1] ?? ""]));
  const {kind, ...rest} = value;
  return {kind, ...about, ...rest};
}
