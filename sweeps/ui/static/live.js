// What the server pushes. A reload and a reconnection are the same: the whole state first, then changes.
import {href} from "./api.js";

/**
 * Follows an event stream: `follow("/events", {state(all) {}, changes(part) {}, connection(open) {}, ...})`.
 * Further handlers are called by the names of their events. Returns a function that ends it.
 */
export function follow(path, handlers) {
  const source = new EventSource(href(path));
  for (const [name, handler] of Object.entries(handlers)) {
    if (name !== "connection") source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
  }
  source.addEventListener("open", () => handlers.connection?.(true));
  source.addEventListener("error", () => handlers.connection?.(false)); // the browser connects again by itself
  const stop = () => source.close();
  window.addEventListener("pagehide", stop);
  return stop;
}
