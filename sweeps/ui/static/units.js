// Numbers as the report writes them: a period, no thousands separators, units in words that every language shares.

export const MISSING = "–";
export const GIB = 2 ** 30;

export function gib(bytes) {
  if (bytes === null || bytes === undefined) return MISSING;
  const value = bytes / GIB;
  return `${value.toFixed(value < 10 ? 2 : 1)} GiB`;
}

/** The size of a file or a model, which may be small. */
export function size(bytes) {
  if (typeof bytes !== "number" || bytes >= GIB / 10) return gib(bytes);
  return bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 1024).toFixed(1)} KiB`;
}

export function seconds(value) {
  if (value === null || value === undefined) return MISSING;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d`;
}

/** Four significant digits. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return MISSING;
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}

/** Whether a quality of a unit is a share of the rows, whose differences are in points. */
export const isShare = (unit) => unit === "fraction";

/** A quality by its unit: shares in percent, all else as a number. */
export function quality(value, unit) {
  if (value === null || value === undefined) return MISSING;
  return isShare(unit) ? `${(100 * value).toFixed(1)} %` : number(value);
}

/** The time of day of seconds since 1970, as hh:mm:ss. */
export const clock = (when) => new Date(when * 1000).toTimeString().slice(0, 8);

/** The day and time of seconds since 1970, in the same form in all languages: 2026-01-31 14:05. */
export function moment(when) {
  const date = new Date(when * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
