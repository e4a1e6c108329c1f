// The form of a command: reads its options, starts it as a job, and shows the job below.
import {post} from "./api.js";
import {byId, setMessage} from "./dom.js";
import {showJob} from "./job_view.js";
import {t} from "./words.js";

/** The options that were changed, by name. */
export function readOptions(form) {
  const options = {};
  for (const input of form.querySelectorAll("[data-option]")) {
    const {option, kind} = input.dataset;
    if (kind === "switch") options[option] = input.checked;
    else if (kind === "tristate") { if (input.value) options[option] = input.value === "true"; }
    else if (kind === "list") options[option] = input.value.split(",").map((each) => each.trim()).filter(Boolean);
    else if (input.value.trim()) options[option] = input.value.trim();
    // A number that is none has no value, but something is written there.
    else if (input.validity?.badInput) options[option] = "?";
  }
  return options;
}

let leave = () => {};

/** Starts what the form asks for at `path`; `body()` gives the request. */
export function runForm(path, body) {
  const form = byId("form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    showError(null);
    byId("start").disabled = true;
    try {
      const {job} = await post(path, body());
      const address = new URL(location.href);
      address.searchParams.set("job", job);
      history.replaceState(null, "", address);
      follow(job);
      byId("job").scrollIntoView({behavior: "smooth", block: "nearest"});
    } catch (error) {
      showError(error);
    }
    byId("start").disabled = false;
  });
  // A reload shows the same job; one that was removed meanwhile shows nothing.
  const job = new URL(location.href).searchParams.get("job");
  if (job && /^[0-9a-f]{16}$/.test(job)) follow(job);
}

function follow(job) {
  leave();
  byId("job").hidden = false;
  leave = showJob(byId("job"), job);
}

function showError(error) {
  for (const wrong of document.querySelectorAll(".wrong")) wrong.classList.remove("wrong");
  byId("error").hidden = error === null;
  if (error === null) return;
  setMessage(byId("error"), error.message || t("common.error"));
  const field = byId(`option-${error.key}`) ?? byId(error.key === "path" ? "out" : error.key);
  if (!field?.matches("input, select")) return;
  field.closest("details")?.setAttribute("open", "");
  field.classList.add("wrong");
  field.focus();
}
