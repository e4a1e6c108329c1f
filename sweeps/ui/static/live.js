// What the server pushes. A reload and a reconnection are the same: the whole state first, then changes.
import {href} from "./api.js";

const HIDDEN_MS = 5000; // a page that is hidden as long gives its connection back: browsers have six for one server
const AGAIN_MS = 5000;

/**
 * Follows an event stream: `follow("/events", {state(all) {}, changes(part) {}, connection(open) {}, ...})`.
 * Further handlers are called by the names of their events. Returns a function that ends it.
 */
export function follow(path, handlers) {
  let source = null;
  let timer = null;
  let ended = false;

  function open() {
    clearTimeout(timer);
    if (source !== null || ended || document.hidden) return;
    source = new EventSource(href(path));
    for (const [name, handler] of Object.entries(handlers)) {
      if (name !== "connection") source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
    }
    source.addEventListener("open", () => handlers.connection?.(true));
    source.addEventListener("error", lost);
  }

  function lost() {
    handlers.connection?.(false);
    if (source?.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
    close();
    timer = setTimeout(open, AGAIN_MS); // it does not after an answer that is an error
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function seen() {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(close, HIDDEN_MS);
    else open();
  }

  function stop() {
    ended = true;
    close();
    document.removeEventListener("visibilitychange", seen);
  }

  document.addEventListener("visibilitychange", seen);
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open); // a page that comes back out of the browser's cache
  open();
  return stop;
}
