// Sizes of files and models, which may be small: below 0.1 GiB in MiB.
import {gib} from "./units.js";

export const size = (bytes) => typeof bytes === "number" && bytes < 2 ** 30 / 10 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : gib(bytes);
