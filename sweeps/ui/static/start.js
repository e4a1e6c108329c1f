// The start of a sweep: the exact command, and what becomes of it until its run is there.
import {get, href, post} from "./api.js";
import {byId, copy, el, english, message as shownMessage, setMessage, setText} from "./dom.js";
import {seconds} from "./units.js";
import {t} from "./words.js";

const POLL = 1000;

export class StartPanel {
  /** `version()` of the draft; `ready()` waits until all is kept; `blocked()` says whether the text has errors. */
  constructor(frame, {id, version, ready, blocked}) {
    Object.assign(this, {frame, id, version, ready, blocked});
    this.button = byId("start-button");
    this.button.addEventListener("click", () => this.start(false));
    byId("copy-command").addEventListener("click", () => copy(byId("command").textContent, byId("copy-command"), t("common.copied")));
    for (const name of ["output", "address"]) byId(name)?.addEventListener("change", () => this.update());
    this.busy = false;
    this.shows = 0;
  }

  get settings() {
    return {output: Number(byId("output")?.value ?? 0), address: byId("address").value.trim()};
  }

  async update() {
    this.button.disabled = this.busy || this.blocked();
    byId("start-blocked").hidden = !this.blocked();
    const turn = (this.shows += 1);
    try {
      const {command} = await post(`/new/${this.id}/command`, this.settings);
      if (turn !== this.shows) return; // it is asked for again: the settings may be others
      setText(byId("command"), command);
      if (this.ofCommand) this.say(null); // what a start has said stays
    } catch (error) {
      if (turn !== this.shows || this.busy) return;
      this.say(error.message, "error");
      this.ofCommand = true;
    }
  }

  say(text, kind = "notice") {
    const line = byId("start-said");
    line.hidden = text === null;
    line.className = kind;
    setMessage(line, text ?? "");
    this.ofCommand = false;
  }

  async start(replace) {
    this.busy = true;
    this.button.disabled = true;
    this.say(null); // of an earlier start
    try {
      await this.ready();
      await this.follow(await post(`/new/${this.id}/start`, {...this.settings, version: this.version(), replace}));
    } catch (error) {
      if (error.key === "exists") this.ask(error.message);
      else this.say(error.message, "error");
    }
    this.busy = false;
    this.button.disabled = this.blocked();
  }

  ask(message) {
    const dialog = el("dialog", {"aria-label": message}, shownMessage("p", {}, message), el("p", {}, t("new.replace_or_rename")),
      el("form", {method: "dialog", class: "buttons"},
        el("button", {class: "button danger", value: "replace"}, t("new.replace_file")), el("button", {class: "button", value: ""}, t("common.cancel"))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (dialog.returnValue === "replace") this.start(true);
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  /** Waits until the run is there, and goes to its page; a start that fails says why. */
  async follow({job, run, existed}) {
    const begun = Date.now();
    for (;;) {
      const state = await get(`/new/${this.id}/started/${job}`);
      if (state.job.state === "done" || (state.known && !existed && state.job.state === "running")) {
        location.href = href(`/runs/${run}`);
        return;
      }
      if (state.job.state !== "running") {
        this.say(t("new.start_failed"), "error");
        byId("start-said").append("\n", english(state.log.trim()));
        return;
      }
      this.say(t("new.starting", {time: seconds((Date.now() - begun) / 1000)}));
      await new Promise((resolve) => setTimeout(resolve, POLL));
    }
  }
}
