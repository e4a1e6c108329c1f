// Changes that the form makes to the text, one after another: each is of the text that the one before has made.
import {post} from "./api.js";
import {t} from "./words.js";

export class EditQueue {
  /** `text()` of the draft now; `made(text, state)` takes what a change has made of it, `refused(error)` what it could not. `frame`: of the form. */
  constructor({id, frame, text, made, refused}) {
    Object.assign(this, {id, frame, text, made, refused});
    this.last = Promise.resolve();
    this.unmade = 0; // how many could not be made
  }

  add(change) {
    // Other entries have other numbers once one is added or removed: until then, the form takes no further changes.
    const ofList = change.op === "add" || (change.op === "remove" && change.path.endsWith("]"));
    if (ofList) this.frame.inert = true;
    return (this.last = this.last.then(() => this.#apply(change, ofList ? 0 : 3)).catch(() => false).then((made) => {
      if (!made) this.unmade += 1;
      if (ofList) this.frame.inert = false;
    }));
  }

  /** Waits for all. Throws where one that was under way could not be made. */
  async settle(begin) {
    const before = this.unmade;
    begin();
    for (let last = null; last !== this.last;) await (last = this.last);
    if (this.unmade !== before) throw new Error(t("new.edit_not_made"));
  }

  /** Makes a change in the text as it is now; whether it could be made. */
  async #apply(change, tries) {
    const before = this.text();
    try {
      const {text, form} = await post(`/new/${this.id}/edit`, {...change, text: before});
      if (this.text() !== before) {
        if (tries) return await this.#apply(change, tries - 1);
        throw new Error(t("new.edit_not_made"));
      }
      this.made(text, form);
      return true;
    } catch (error) {
      this.refused(error);
      return false;
    }
  }
}
