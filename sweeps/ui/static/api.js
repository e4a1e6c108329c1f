// Requests to the server. Everything that changes something is a POST or DELETE with our own header.
import {rootPath, worded} from "./words.js";

export const href = (path) => rootPath + path;

/** What the server refused, in its words or those of the page's language. `key` is a stable name of the error, `answer` the whole JSON. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer?.error ? worded(answer.error) : `HTTP ${status}`);
    this.status = status;
    this.key = answer?.error?.key;
    this.answer = answer;
  }
}

async function send(method, path, body, signal, type = "application/json") {
  const response = await fetch(href(path), {
    method,
    signal,
    headers: {"X-Paretune": "1", Accept: "application/json", ...(body === undefined ? {} : {"Content-Type": type})},
    body,
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

export const get = (path, {signal} = {}) => send("GET", path, undefined, signal);
export const post = (path, body = {}, {signal} = {}) => send("POST", path, JSON.stringify(body), signal);
export const remove = (path, {signal} = {}) => send("DELETE", path, undefined, signal);
export const upload = (path, blob, {signal} = {}) => send("POST", path, blob, signal, "application/octet-stream");
