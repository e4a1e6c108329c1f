// Signs in by a key.
import {href, post} from "./api.js";
import {byId, setMessage} from "./dom.js";

byId("sign-in")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await post("/sign-in/key", {key: byId("key").value});
    location.href = href("/");
  } catch (error) {
    setMessage(byId("error"), error.message);
    byId("error").hidden = false;
  }
});
