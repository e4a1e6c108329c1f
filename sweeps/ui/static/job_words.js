// How a job is named: its kind, its state, how long it took.
import {el} from "./dom.js";
import {seconds} from "./units.js";
import {t} from "./words.js";

const KINDS = new Set(["add", "evaluate", "export", "fetch", "report", "resume", "run", "settle", "stop", "try", "wandb"]);
// The colours of states are those of runs.
const COLOURS = {cancelling: "stopping", cancelled: "stopped"};

export const kindOf = (job) => KINDS.has(job.kind) ? t(`jobs.kind_${job.kind}`) : job.kind;

export const stateTag = (job) => el("span", {class: `tag state-${COLOURS[job.state] ?? job.state}`}, t(`jobs.state_${job.state}`));

export const durationOf = (job) => seconds(Math.max(0, (job.ended_at ?? Date.now() / 1000) - job.started_at));
