// The page of one job.
import {byId} from "./dom.js";
import {showJob} from "./job_view.js";

showJob(byId("job"), byId("job").dataset.job);
